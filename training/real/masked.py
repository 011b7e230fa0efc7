"""Data sets of images and masks in two folders: paired by name, never by the order of a listing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from training.real import nifti
from training.real.records import (
    Case,
    DataError,
    Fault,
    Loaded,
    classes_of_labels,
    classes_of_slices,
)

_SUFFIXES = (".nii.gz", ".nii")


def paired(images: Path, masks: Path) -> tuple[dict[str, tuple[Path, Path]], list[Fault]]:
    """Pair the NIfTI files of two folders.

    Returns
    -------
    pairs, faults
        Image and mask by their common name, sorted; a fault for each file without a fellow.

    Raises
    ------
    DataError
        A folder is not there or holds no NIfTI file.
    """
    one, other = _named(images), _named(masks)
    pairs = {name: (one[name], other[name]) for name in sorted(set(one) & set(other))}
    faults = [
        Fault(name, f"{there}/{name} has no fellow of that name in {missing}; download it again")
        for ours, theirs, there, missing in (
            (one, other, images.name, masks.name),
            (other, one, masks.name, images.name),
        )
        for name in sorted(set(ours) - set(theirs))
    ]
    return pairs, faults


def load(case: Case, table: Mapping[int, int]) -> Loaded:
    """Load a scan whose mask says all that is known of it.

    Parameters
    ----------
    table
        The label of each value of the mask; 0 is none.

    Raises
    ------
    DataError
        Image and mask do not fit together, or the mask holds another value.
    """
    if case.mask is None:
        raise DataError(f"{case.name} has no mask")
    scan = nifti.read_ct(case.images[0])
    labels = nifti.labels_of(nifti.read_mask(case.mask, case.images[0]), table, case.mask)
    of_slices = classes_of_labels(labels)
    return Loaded(scan.hu, scan.spacing_mm, labels, of_slices, classes_of_slices(of_slices))


def _named(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise DataError(f"{folder} is not there; give the folder as the data set was unpacked")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        suffix = next((end for end in _SUFFIXES if path.name.endswith(end)), None)
        if suffix is None:
            continue
        name = path.name.removesuffix(suffix)
        if name in found:
            raise DataError(f"{folder} holds {found[name].name} and {path.name}; remove one")
        found[name] = path
    if not found:
        raise DataError(f"{folder} holds no NIfTI file; give the folder as it was unpacked")
    return found
