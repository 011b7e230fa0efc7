"""The classes the network knows and every coded concept the node writes: one table.

SNOMED CT codes are checked by their Verhoeff digit in the tests. A site's clinician signs this
table; the intraventricular code is marked below as not verified.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

# A mask holds 0 for no bleed and 1 + the index into SUBTYPES for a bleed.
SUBTYPES = (
    "epidural",
    "subdural",
    "subarachnoid",
    "intraparenchymal",
    "intraventricular",
)
CLASSES = ("any", *SUBTYPES)

# Coding scheme of the few concepts for which no public code was found.
OWN_SCHEME = "99ICHNODE"


class Concept(NamedTuple):
    """A coded concept: Code Value, Coding Scheme Designator and Code Meaning (PS3.3 8.8)."""

    value: str
    scheme: str
    meaning: str


class ClassCodes(NamedTuple):
    """How one class is written.

    Parameters
    ----------
    name
        Words for people.
    finding
        The disorder: Segmented Property Type in the SEG, Finding in the SR.
    site
        Anatomic Region in the SEG, Finding Site in the SR.
    cielab
        Recommended Display CIELab Value (PS3.3 C.10.7.1.1): three 16-bit numbers.
    """

    name: str
    finding: Concept
    site: Concept
    cielab: tuple[int, int, int]


INTRACRANIAL = Concept("1101003", "SCT", "Intracranial")
BRAIN = Concept("12738006", "SCT", "Brain")
BRAIN_VENTRICLE = Concept("35764002", "SCT", "Brain ventricle")
SUBARACHNOID_SPACE = Concept("33930006", "SCT", "Cranial subarachnoid space")

OF_CLASS: Mapping[str, ClassCodes] = MappingProxyType(
    {
        "any": ClassCodes(
            "Intracranial haemorrhage",
            Concept("1386000", "SCT", "Intracranial hemorrhage"),
            INTRACRANIAL,
            (43166, 32897, 32894),
        ),
        "epidural": ClassCodes(
            "Epidural haemorrhage",
            Concept("82999001", "SCT", "Epidural intracranial hemorrhage"),
            INTRACRANIAL,
            (43941, 43904, 51921),
        ),
        "subdural": ClassCodes(
            "Subdural haemorrhage",
            Concept("35486000", "SCT", "Subdural intracranial hemorrhage"),
            INTRACRANIAL,
            (31481, 51939, 48875),
        ),
        "subarachnoid": ClassCodes(
            "Subarachnoid haemorrhage",
            Concept("21454007", "SCT", "Subarachnoid intracranial hemorrhage"),
            SUBARACHNOID_SPACE,
            (57791, 31753, 55518),
        ),
        "intraparenchymal": ClassCodes(
            "Intraparenchymal haemorrhage",
            Concept("274100004", "SCT", "Cerebral hemorrhage"),
            BRAIN,
            (29742, 52549, 25044),
        ),
        # 23276006 is UNVERIFIED: its check digit is right, its meaning was not seen in any release
        # of SNOMED CT. To be confirmed in a SNOMED browser before clinical use.
        "intraventricular": ClassCodes(
            "Intraventricular haemorrhage",
            Concept("23276006", "SCT", "Intraventricular hemorrhage"),
            BRAIN_VENTRICLE,
            (41707, 32764, 18350),
        ),
    }
)

MORPHOLOGICALLY_ABNORMAL_STRUCTURE = Concept(
    "49755003", "SCT", "Morphologically Abnormal Structure"
)
PRESENCE = Concept("705057003", "SCT", "Presence")
PRESENT = Concept("52101004", "SCT", "Present")
ABSENT = Concept("272519000", "SCT", "Absent")
INDETERMINATE = Concept("82334004", "SCT", "Indeterminate")

VOLUME = Concept("118565006", "SCT", "Volume")
VOLUME_METHOD = Concept("126030", "DCM", "Sum of segmented voxel volumes")
MILLILITRE = Concept("mL", "UCUM", "milliliter")
CERTAINTY = Concept("111012", "DCM", "Certainty of Finding")
PERCENT = Concept("%", "UCUM", "percent")

PROCESSING_EQUIPMENT = Concept("109102", "DCM", "Processing Equipment")
ARTIFICIAL_INTELLIGENCE = Concept("123110", "DCM", "Artificial Intelligence")
ALGORITHM_NAME = Concept("111001", "DCM", "Algorithm Name")
ALGORITHM_VERSION = Concept("111003", "DCM", "Algorithm Version")
ALGORITHM_PARAMETERS = Concept("111002", "DCM", "Algorithm Parameters")

IMAGING_MEASUREMENT_REPORT = Concept("126000", "DCM", "Imaging Measurement Report")
# A document of evaluations only. The other titles of CID 7021 belong to oncology, PET and perfusion
# MR, and those of CID 7000 would let an archive take it for the radiologist's own report.
EVALUATION_REPORT = Concept(
    "EVALUATION", OWN_SCHEME, "Head CT haemorrhage evaluation, research use"
)
PROCEDURE_REPORTED = Concept("121058", "DCM", "Procedure reported")
CT_PROCEDURE = Concept("25045-6", "LN", "CT unspecified body region")
IMAGE_LIBRARY = Concept("111028", "DCM", "Image Library")
IMAGE_LIBRARY_GROUP = Concept("126200", "DCM", "Image Library Group")
IMAGING_MEASUREMENTS = Concept("126010", "DCM", "Imaging Measurements")
QUALITATIVE_EVALUATIONS = Concept("C0034375", "UMLS", "Qualitative Evaluations")
SOURCE_OF_MEASUREMENT = Concept("121112", "DCM", "Source of Measurement")
SOURCE_IMAGE = Concept("121322", "DCM", "Source image for image processing operation")
FINDING = Concept("121071", "DCM", "Finding")
CONCLUSION = Concept("121077", "DCM", "Conclusion")
COMMENT = Concept("121106", "DCM", "Comment")
NOT_ANALYSED = Concept("NOT_ANALYSED", OWN_SCHEME, "Reason for not being analysed")


def of_reason(reason: str) -> Concept:
    """Return the code of a reason for which a series was not analysed."""
    return Concept(reason, OWN_SCHEME, reason.replace("_", " ").capitalize())
