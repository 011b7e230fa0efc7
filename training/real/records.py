"""What the loaders hand on: a case as it is listed, the same case loaded, and what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ich_node.codes import CLASSES, SUBTYPES

# Label of a voxel that bleeds where the data set does not say which subtype it is. The bleeds of
# any labels are `labels > 0`.
UNTYPED = 255

Labels = npt.NDArray[np.uint8]
Classes = npt.NDArray[np.float32]
Row = tuple[float, ...]


class DataError(Exception):
    """Files of a data set that cannot be used: which, what was found, expected, and what to do."""


@dataclass(frozen=True)
class Case:
    """One scan as the data set lists it; nothing of its voxels has been read.

    Parameters
    ----------
    dataset
        Name of the data set, one of `sources.SOURCES`.
    name
        Unique in the data set, fit to name a file.
    patient
        The same for all scans of a patient, also over data sets that share patients.
    images
        The NIfTI file, the DICOM files, or the folder that holds the patient's DICOM files.
    mask
        The NIfTI file of the mask, or None.
    slice_classes
        A row of `codes.CLASSES` (0 or 1) for each of the ``images`` or for each slice of the one
        file, in its order; None where the data set has no table of slices.
    classes
        One such row for the scan; None where the data set has no table of scans.
    """

    dataset: str
    name: str
    patient: str
    images: tuple[Path, ...]
    mask: Path | None = None
    slice_classes: tuple[Row, ...] | None = None
    classes: Row | None = None


@dataclass(frozen=True)
class Loaded:
    """One scan with all that is known of it. Classes are in the order of `codes.CLASSES`.

    Parameters
    ----------
    hu
        float32 (slice, row, column), HU, nothing below -1024; inferior to superior, anterior to
        posterior, the patient's right to left.
    spacing_mm
        Distance between neighbours along the three axes, mm.
    labels
        uint8, shape of ``hu``: 0, 1 + index into `codes.SUBTYPES`, or `UNTYPED`. None where there
        is no mask.
    slice_classes
        float32 (slice, 6): 0, 1, or NaN where it is not known. None where there is nothing known
        of single slices.
    classes
        float32 (6,): the same for the scan.
    """

    hu: npt.NDArray[np.float32]
    spacing_mm: tuple[float, float, float]
    labels: Labels | None
    slice_classes: Classes | None
    classes: Classes


@dataclass(frozen=True)
class Fault:
    """Something of a data set that was left out: where, and why with what to do."""

    where: str
    text: str


@dataclass(frozen=True)
class Found:
    """The cases of a data set that can be loaded, and what was left out."""

    cases: tuple[Case, ...]
    faults: tuple[Fault, ...]


def sift(
    names: Iterable[str], case_of: Callable[[str], Case], faults: Iterable[Fault] = ()
) -> Found:
    """Make the case of each name; those that raise `DataError` become faults beside the given."""
    cases, wrong = [], list(faults)
    for name in names:
        try:
            cases.append(case_of(name))
        except DataError as error:
            wrong.append(Fault(name, str(error)))
    return Found(tuple(cases), tuple(wrong))


def classes_of_labels(labels: Labels) -> Classes:
    """Return what each slice holds as far as its labels say.

    Parameters
    ----------
    labels
        As in `Loaded`.

    Returns
    -------
    ndarray
        float32 (slice, 6). A subtype without a voxel is NaN where the slice has untyped ones.
    """
    flat = labels.reshape(len(labels), -1)
    held = np.stack([(flat == 1 + index).any(1) for index in range(len(SUBTYPES))], 1)
    subtypes = np.where(~held & (flat == UNTYPED).any(1)[:, None], np.nan, held)
    return np.column_stack([flat.any(1), subtypes]).astype(np.float32)


def classes_of_slices(slice_classes: Classes) -> Classes:
    """Return the classes of a scan: 1 where a slice has it, NaN where one might, else 0."""
    present = (slice_classes == 1).any(0)
    unknown = np.isnan(slice_classes).any(0)
    return np.where(present, 1, np.where(unknown, np.nan, 0)).astype(np.float32)


def check_row(row: Row) -> None:
    """A subtype is a bleed: where one is present, `any` is.

    Raises
    ------
    DataError
        It is not.
    """
    if row[0] == 0 and any(row[1:]):
        held = [name for name, value in zip(CLASSES[1:], row[1:], strict=True) if value]
        raise DataError(
            f"says no bleed and yet {', '.join(held)}; correct the table by the images, or take "
            "the scan out of it"
        )
