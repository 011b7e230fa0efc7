"""Series as scanners and PACS send them: each with the verdict that the node must give.

The verdict is ``analysed``, or the code of the reason.
"""

from dataclasses import dataclass

from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MRImageStorage,
    RLELossless,
    SecondaryCaptureImageStorage,
)

from ich_node.geometry import PlaneMap
from tests.support.mutations import BROKEN, PLACED, SOUND
from tests.support.series import (
    Mutation,
    Series,
    angled,
    head_hu,
    localizer_of,
    set_each,
    set_hu,
    turned,
)

ANALYSED = "analysed"
# Nobody would expect these to be read: the PACS is told nothing.
SILENT = ("not_ct", "localizer", "dose_report", "not_original", "not_head")


@dataclass(frozen=True)
class Variant:
    """One series: how it differs from a good one, and what must come of it."""

    name: str
    verdict: str
    mutate: Mutation
    syntax: str = ExplicitVRLittleEndian

    @property
    def is_told(self) -> bool:
        """Tell whether the PACS gets a report."""
        return self.verdict not in SILENT


def _said(**values: object) -> Mutation:
    return set_each(**values)


def _broken(name: str) -> Mutation:
    return BROKEN[name][1]


def _only_localizers(datasets: Series) -> Series:
    return [localizer_of(dataset) for dataset in datasets[:2]]


def _bright_vessels(datasets: Series) -> Series:
    """No header says a word of contrast medium, and the pixels hold it."""
    hu = head_hu(len(datasets))
    for row, column in ((25, 34), (30, 22), (30, 46), (40, 26), (40, 42), (46, 34)):
        hu[2:-2, row, column] = 250
    return set_hu(datasets, hu)


VARIANTS = (
    # Sound ones, however unusual.
    Variant("as built", ANALYSED, SOUND["as built"]),
    Variant("numbered backwards", ANALYSED, SOUND["numbered backwards"]),
    Variant("rescaled slice by slice", ANALYSED, SOUND["rescaled slice by slice"]),
    Variant("padded below air", ANALYSED, SOUND["padded below"]),
    Variant("a localizer inside", ANALYSED, SOUND["localizer inside"]),
    Variant("no slice thickness", ANALYSED, SOUND["no numbers"]),
    Variant("feet first", ANALYSED, lambda one: turned(one, PlaneMap(), feet_first=True)),
    Variant("prone", ANALYSED, lambda one: turned(one, PlaneMap(False, True, True))),
    Variant("angled, not tilted", ANALYSED, lambda one: angled(one, 15)),
    Variant("RLE", ANALYSED, SOUND["as built"], RLELossless),
    Variant("big endian", ANALYSED, SOUND["as built"], ExplicitVRBigEndian),
    Variant("implicit VR", ANALYSED, SOUND["as built"], ImplicitVRLittleEndian),
    Variant("eighteen years old", ANALYSED, _said(PatientAge="018Y")),
    Variant("no contrast, said so", ANALYSED, _said(ContrastBolusAgent="NONE")),
    Variant("a kernel of no known name", ANALYSED, _said(ConvolutionKernel="NEW 7")),
    # Not meant to be read, by their headers.
    Variant("seventeen years old", "child", _said(PatientAge="017Y")),
    Variant("born ten years ago", "child", _said(PatientBirthDate="20160101")),
    Variant("bone kernel", "bone_kernel", _said(ConvolutionKernel="BONEPLUS")),
    Variant("bone kernel of two values", "bone_kernel", _said(ConvolutionKernel=["Hr64h", "3"])),
    Variant("an agent named", "contrast", _said(ContrastBolusAgent="OMNIPAQUE 350")),
    Variant("angiography", "contrast", _said(SeriesDescription="CTA HEAD 0.75")),
    Variant("bright vessels", "contrast", _bright_vessels),
    Variant("perfusion", "perfusion", _said(SeriesDescription="HEAD PERFUSION 5.0")),
    Variant("too thin", "thickness", _said(SliceThickness="0.3")),
    Variant("too thick", "thickness", _said(SliceThickness="12")),
    Variant(
        "a chest by its header", "not_head", _said(BodyPartExamined="CHEST", SeriesDescription="5")
    ),
    Variant("a reformat", "not_original", _said(ImageType=["DERIVED", "SECONDARY", "MPR"])),
    Variant("a reformat by name", "not_original", _said(SeriesDescription="HEAD COR 3.0")),
    Variant("localizers", "localizer", _only_localizers),
    Variant("a topogram by name", "localizer", _said(SeriesDescription="Topogram 0.6")),
    Variant("a dose report", "dose_report", _said(SeriesDescription="DOSE REPORT")),
    Variant("MR", "not_ct", _said(SOPClassUID=MRImageStorage, Modality="MR")),
    Variant("captures", "not_ct", _said(SOPClassUID=SecondaryCaptureImageStorage)),
    Variant("seven slices", "too_few_slices", _broken("seven slices")),
    # Placed by their true geometry, or refused for it.
    Variant("gantry tilt", ANALYSED, PLACED["tilt of 20 degrees"][1]),
    Variant("thin below, thick above", ANALYSED, PLACED["spacing changes"][1]),
    Variant("one slice missing", ANALYSED, PLACED["a slice missing"][1]),
    Variant("two slices missing", "missing_slices", _broken("two slices missing")),
    Variant("two acquisitions", ANALYSED, SOUND["a second acquisition"]),
    Variant("multi-frame without its groups", "multiframe", _broken("enhanced")),
    # Refused for good.
    Variant("coronal", "not_axial", _broken("coronal")),
    Variant("one slice turned", "mixed_orientation", _broken("one slice turned")),
    Variant("one slice cropped", "mixed_matrix", _broken("one matrix differs")),
    Variant("no position", "no_position", _broken("no position")),
    Variant("two patients", "mixed_patients", _broken("two patient ids")),
    Variant("no rescale", "not_hu", _broken("no rescale")),
    Variant("MONOCHROME1", "monochrome1", _broken("MONOCHROME1")),
    Variant("pixel data breaks off", "unreadable", _broken("pixel data breaks off")),
    Variant("no pixel data", "no_pixel_data", _broken("no pixel data")),
    Variant("water in plastic", "not_a_head", _broken("water phantom")),
    Variant("a chest by its pixels", "not_a_head", _broken("chest")),
)
