"""BHSD, the Brain Hemorrhage Segmentation Dataset: masks of the five subtypes.

::

    DIR/label_192/images/ID_<patient>_ID_<study>.nii.gz
    DIR/label_192/ground truths/ID_<patient>_ID_<study>.nii.gz

Mask values by the data set's own dataset.json. By the form of their names the scans are of RSNA's
patients, and some patients have two: the first half of a name is the patient, so that a split puts
a patient into the same part of both data sets. The volumes of ``unlabel_2000`` are not read.

Wu B et al., MLMI 2023, doi 10.1007/978-3-031-45673-2_15.
"""

from __future__ import annotations

import re
from pathlib import Path

from ich_node.codes import SUBTYPES
from training.real import masked, nifti
from training.real.records import Case, DataError, Found, Loaded, sift

NAME = "bhsd"
_VALUES = ("epidural", "intraparenchymal", "intraventricular", "subarachnoid", "subdural")
LABELS = {value: 1 + SUBTYPES.index(name) for value, name in enumerate(_VALUES, start=1)}
_PATIENT = re.compile(r"(ID_[0-9a-f]+)_ID_[0-9a-f]+")


def find(folder: Path) -> Found:
    """List the scans with masks; reads headers only.

    Raises
    ------
    DataError
        A folder is not there.
    """
    root = folder / "label_192" if (folder / "label_192").is_dir() else folder
    pairs, faults = masked.paired(root / "images", root / "ground truths")

    def case_of(name: str) -> Case:
        parts = _PATIENT.fullmatch(name)
        if parts is None:
            raise DataError(
                f"{name} is not of the form ID_<patient>_ID_<study>, so its patient cannot be told"
            )
        image, mask = pairs[name]
        nifti.check_pair(image, mask)
        return Case(NAME, name, parts[1], (image,), mask)

    return sift(pairs, case_of, faults)


def load(case: Case) -> Loaded:
    """Load one scan.

    Raises
    ------
    DataError
        Image and mask do not fit together, or the mask holds another value than 0 to 5.
    """
    return masked.load(case, LABELS)
