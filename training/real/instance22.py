"""INSTANCE 2022, the Intracranial Hemorrhage Segmentation Challenge: masks of one class.

::

    DIR/train_2/data/NNN.nii.gz
    DIR/train_2/label/NNN.nii.gz     0 and 1

As described by the challenge: 100 patients, HU, 0.42 x 0.42 x 5 mm. A bleed is `records.UNTYPED`.

Li X et al., arXiv 2301.03281.
"""

from __future__ import annotations

from pathlib import Path

from training.real import masked, nifti
from training.real.records import UNTYPED, Case, Found, Loaded, sift

NAME = "instance22"


def find(folder: Path) -> Found:
    """List the training scans; reads headers only.

    Raises
    ------
    DataError
        A folder is not there.
    """
    root = folder / "train_2" if (folder / "train_2").is_dir() else folder
    pairs, faults = masked.paired(root / "data", root / "label")

    def case_of(name: str) -> Case:
        image, mask = pairs[name]
        nifti.check_pair(image, mask)
        return Case(NAME, name, f"instance22-{name}", (image,), mask)

    return sift(pairs, case_of, faults)


def load(case: Case) -> Loaded:
    """Load one scan.

    Raises
    ------
    DataError
        Image and mask do not fit together, or the mask holds another value than 0 and 1.
    """
    return masked.load(case, {1: UNTYPED})
