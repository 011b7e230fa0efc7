"""PhysioNet ct-ich 1.3.1: masks of bleeds, and the subtypes of every slice in a table.

::

    DIR/ct_scans/NNN.nii                     NNN is PatientNumber, one scan a patient
    DIR/masks/NNN.nii                        0, and 255 (or 1) where there is a bleed
    DIR/hemorrhage_diagnosis_raw_ct.csv      PatientNumber, SliceNumber from 1 on, ...

The mask has one class. A slice of exactly one subtype gives it to its mask; in a slice of several
the mask is `records.UNTYPED`. SliceNumber n is taken to be index n - 1 of the file's last axis, as
in the authors' own script, and that is checked: the slices that the table calls bleeding must be
those that have a mask.

Hssayeni M et al., Data 2020;5(1):14.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ich_node.codes import SUBTYPES
from training.real import nifti, tables
from training.real.records import (
    UNTYPED,
    Case,
    Classes,
    DataError,
    Fault,
    Found,
    Labels,
    Loaded,
    Row,
    classes_of_slices,
    sift,
)

NAME = "physionet"
TABLE = "hemorrhage_diagnosis_raw_ct.csv"
_PATIENT, _SLICE, _NONE = "PatientNumber", "SliceNumber", "No_Hemorrhage"
_COLUMNS = tuple(name.capitalize() for name in SUBTYPES)
_SHOWN = 8

# Of each slice of a patient by SliceNumber: the line of the table, and the row of classes.
_Slices = Mapping[int, tuple[int, Row]]


def find(folder: Path) -> Found:
    """List the scans; reads the table and the headers of scans and masks.

    Raises
    ------
    DataError
        The table is missing, lacks a column or holds a value of another kind.
    """
    table = read_table(folder / TABLE)
    scans = {path.stem for path in (folder / "ct_scans").glob("*.nii")}
    listed = {f"{patient:03d}": slices for patient, slices in table.items()}
    faults = [
        Fault(name, f"ct_scans/{name}.nii has no rows in {TABLE}; its slices cannot be labelled")
        for name in sorted(scans - set(listed))
    ]
    return sift(listed, partial(_case, folder, listed), faults)


def load(case: Case) -> Loaded:
    """Load one scan.

    Raises
    ------
    DataError
        Image and mask do not fit together, or mask and table contradict each other.
    """
    if case.mask is None or case.slice_classes is None:
        raise DataError(f"{case.name} has no mask or no rows")
    scan = nifti.read_ct(case.images[0])
    values = nifti.read_mask(case.mask, case.images[0])
    mask = nifti.labels_of(values, {1: UNTYPED, 255: UNTYPED}, case.mask)
    if scan.file_axis != 2:
        raise DataError(
            f"{case.images[0].name}: its slices lie along axis {scan.file_axis} of the file, "
            f"{TABLE} counts them along the last; turn image and mask alike"
        )
    classes = np.array(case.slice_classes, np.float32)[list(scan.file_slices)]
    _check_order(case, np.any(mask, axis=(1, 2)), classes[:, 0] > 0, scan.file_slices)
    labels = _typed(mask, classes)
    return Loaded(scan.hu, scan.spacing_mm, labels, classes, classes_of_slices(classes))


def read_table(path: Path) -> dict[int, dict[int, tuple[int, Row]]]:
    """Read the classes of every slice, by PatientNumber and SliceNumber, with the line.

    Raises
    ------
    DataError
        A column is missing, a value is of another kind, a slice is listed twice, or a row
        contradicts itself.
    """
    patients: dict[int, dict[int, tuple[int, Row]]] = {}
    for line, values in tables.rows(path, (_PATIENT, _SLICE, *_COLUMNS, _NONE)):
        patient, number = (tables.whole(path, line, values, name) for name in (_PATIENT, _SLICE))
        subtypes = [tables.binary(path, line, values, name) for name in _COLUMNS]
        if tables.binary(path, line, values, _NONE) == max(subtypes):
            raise DataError(
                f"{path.name} line {line}: {_NONE} is {max(subtypes)} and so is a subtype, or none "
                "is; correct the row by the images"
            )
        slices = patients.setdefault(patient, {})
        if number in slices:
            raise DataError(
                f"{path.name} line {line}: slice {number} of patient {patient} was in line "
                f"{slices[number][0]} already; remove one"
            )
        slices[number] = line, tuple(map(float, (max(subtypes), *subtypes)))
    return patients


def _case(folder: Path, listed: Mapping[str, _Slices], name: str) -> Case:
    image, mask = (folder / part / f"{name}.nii" for part in ("ct_scans", "masks"))
    nifti.check_pair(image, mask)
    slices, count = listed[name], nifti.shape_of(image)[2]
    if set(slices) != set(range(1, count + 1)):
        raise DataError(
            f"{image.name} has {count} slices, {TABLE} lists {len(slices)} from {min(slices)} to "
            f"{max(slices)}; expected each of 1 to {count} once"
        )
    rows = tuple(slices[number][1] for number in range(1, count + 1))
    return Case(NAME, name, f"physionet-{name}", (image,), mask, slice_classes=rows)


def _check_order(
    case: Case,
    masked: npt.NDArray[np.bool_],
    listed: npt.NDArray[np.bool_],
    file_slices: Iterable[int],
) -> None:
    """The slices with a mask are those that the table calls bleeding."""
    apart = masked != listed
    if not apart.any():
        return
    numbers = sorted(index + 1 for index, wrong in zip(file_slices, apart, strict=True) if wrong)
    shown = ", ".join(map(str, numbers[:_SHOWN])) + (", ..." if len(numbers) > _SHOWN else "")
    turned = int((masked != listed[::-1]).sum())
    advice = (
        "in reverse order all agree: number the slices of this patient from the other end"
        if turned == 0
        else f"in reverse order {turned} would; look at them, correct {TABLE} or leave the scan out"
    )
    raise DataError(
        f"mask {case.name}.nii and {TABLE} disagree on whether there is a bleed in {len(numbers)} "
        f"of {len(apart)} slices ({_SLICE} {shown}); {advice}"
    )


def _typed(mask: Labels, classes: Classes) -> Labels:
    """Give the mask of each slice of exactly one subtype that subtype's label."""
    labels = mask.copy()
    for plane, row in zip(labels, classes, strict=True):
        held = np.flatnonzero(row[1:])
        if len(held) == 1:
            plane[plane > 0] = 1 + held[0]
    return labels
