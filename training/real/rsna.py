"""RSNA 2019 Brain CT Hemorrhage Challenge (Kaggle, stage 2): subtypes of every slice, no masks.

::

    DIR/stage_2_train.csv              ID,Label: six rows an image, ID_<hex>_<subtype>,0|1
    DIR/stage_2_train/ID_<hex>.dcm     one slice a file, of all patients together

As published, the table repeats rows of four images. Patient, series and place of a slice stand in
its header only; as the participants describe it, headers keep few elements (no SOP Class UID), all
identifiers are of the form ID_<hex>, SOP Instance UID is the file's name, some 12-bit images are
labelled unsigned and hold signed values, and the pixels of ID_6431af929 are cut off.

Flanders AE et al., Radiology: Artificial Intelligence 2020;2(3):e190211.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pydicom
from pydicom.uid import CTImageStorage

from ich_node.assemble.source import SourceImage, number, read, text
from ich_node.codes import CLASSES
from ich_node.errors import SeriesRefused
from training.real import tables
from training.real.dicom import pile_of
from training.real.progress import tracked
from training.real.records import (
    Case,
    DataError,
    Fault,
    Found,
    Loaded,
    Row,
    check_row,
    classes_of_slices,
    sift,
)

NAME = "rsna"
TABLE, IMAGES = "stage_2_train.csv", "stage_2_train"
# Its pixel data end early in every copy of the data set.
CORRUPT = frozenset({"ID_6431af929"})
_ID = re.compile(rf"(ID_[0-9a-f]+)_({'|'.join(CLASSES)})")
_SHOWN = 5


class _Slice(NamedTuple):
    series: str
    patient: str
    path: Path


def find(folder: Path) -> Found:
    """List the series of the training images; reads the table and every header.

    Raises
    ------
    DataError
        The table or the folder of images is missing, or the table contradicts itself.
    """
    if not (folder / IMAGES).is_dir():
        raise DataError(f"{folder / IMAGES} is not there; unpack the images beside {TABLE}")
    rows, faults = _complete(read_table(folder / TABLE))
    paths = [path for path in sorted((folder / IMAGES).glob("*.dcm")) if path.stem not in CORRUPT]
    there = {path.stem for path in paths}
    faults += _unpaired(set(rows) - there, f"have rows in {TABLE} and no file: the download is cut")
    faults += _unpaired(there - set(rows), f"have a file and no rows in {TABLE}")
    slices, unread = _headers([path for path in paths if path.stem in rows])
    series = {
        uid: list(group) for uid, group in groupby(sorted(slices), key=lambda each: each.series)
    }
    return sift(series, lambda uid: _case(uid, series[uid], rows), [*faults, *unread])


def load(case: Case) -> Loaded:
    """Load one series, its slices in their order in space.

    Raises
    ------
    DataError
        The slices are no scan, or a file is damaged.
    """
    with pydicom.config.disable_value_validation():  # ID_<hex> is no UID
        try:
            images = read(case.images)
        except SeriesRefused as refused:
            raise DataError(refused.text) from refused
        for image in images:
            _repair(image)
        pile = pile_of(images)
    of_file = dict(zip((path.name for path in case.images), case.slice_classes or (), strict=True))
    classes = np.array([of_file[name] for name in pile.names], np.float32)
    return Loaded(pile.hu, pile.spacing_mm, None, classes, classes_of_slices(classes))


def read_table(path: Path) -> dict[str, list[int | None]]:
    """Read the labels: of each image 0 or 1 in the order of `codes.CLASSES`, None without a row.

    Raises
    ------
    DataError
        A row has another form, or two rows of one image and class differ.
    """
    labels: dict[str, list[int | None]] = {}
    places = {name: index for index, name in enumerate(CLASSES)}
    for line, values in tables.rows(path, ("ID", "Label")):
        parts = _ID.fullmatch(values["ID"])
        if parts is None:
            raise DataError(
                f"{path.name} line {line}: ID is {values['ID']!r}, expected ID_<hex>_ and one of "
                f"{', '.join(CLASSES)}"
            )
        image, name = parts.groups()
        label = tables.binary(path, line, values, "Label")
        row = labels.setdefault(image, [None] * len(CLASSES))
        if row[places[name]] not in (None, label):
            raise DataError(
                f"{path.name} line {line}: {values['ID']} is {label}, an earlier row says "
                f"{1 - label}; find out which is right, and remove the other"
            )
        row[places[name]] = label
    return labels


def _complete(labels: Mapping[str, Sequence[int | None]]) -> tuple[dict[str, Row], list[Fault]]:
    """Return the row of each image that has all six labels, and faults for the others."""
    rows, faults = {}, []
    for image, found in labels.items():
        missing = [name for name, label in zip(CLASSES, found, strict=True) if label is None]
        if missing:
            faults.append(Fault(image, f"{TABLE} has no row for {', '.join(missing)}"))
            continue
        row = tuple(float(label or 0) for label in found)
        try:
            check_row(row)
        except DataError as error:
            faults.append(Fault(image, f"{TABLE} {error}"))
            continue
        rows[image] = row
    return rows, faults


def _unpaired(names: Iterable[str], text: str) -> list[Fault]:
    found = sorted(set(names) - CORRUPT)
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return [Fault(f"{', '.join(found[:_SHOWN])}{more}", text)] if found else []


def _headers(paths: Sequence[Path]) -> tuple[list[_Slice], list[Fault]]:
    """Read patient and series of every file."""
    slices, faults = [], []
    with pydicom.config.disable_value_validation():
        for path in tracked(paths, "headers"):
            try:
                slices.append(_header(path))
            except DataError as error:
                faults.append(Fault(path.stem, str(error)))
    return slices, faults


def _header(path: Path) -> _Slice:
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True)
    except Exception as error:  # a damaged file can fail anywhere in the parser
        raise DataError(f"{path.name} is no DICOM file ({error}); download it again") from error
    patient, series = text(header, "PatientID"), text(header, "SeriesInstanceUID")
    if not (patient and series):
        raise DataError(f"{path.name} has no Patient ID or no Series Instance UID; leave it out")
    if text(header, "SOPInstanceUID") != path.stem:
        raise DataError(
            f"{path.name} holds SOP Instance UID {text(header, 'SOPInstanceUID')}; a file is named "
            "by it, so the labels of this one cannot be told"
        )
    return _Slice(series, patient, path)


def _case(uid: str, slices: Sequence[_Slice], rows: Mapping[str, Row]) -> Case:
    patients = sorted({each.patient for each in slices})
    if len(patients) > 1:
        raise DataError(f"its images are of patients {', '.join(patients)}; leave it out")
    paths = tuple(sorted(each.path for each in slices))
    of_slices = tuple(rows[path.stem] for path in paths)
    return Case(NAME, uid, patients[0], paths, slice_classes=of_slices)


def _repair(image: SourceImage) -> None:
    """Supply the SOP class, and the sign of 12-bit images that hold HU and are said to be unsigned.

    Such an image has an intercept near 0, so its air, at -1000, can only be a signed value.
    """
    dataset = image.dataset
    if not text(dataset, "SOPClassUID") and text(dataset, "Modality") == "CT":
        dataset.SOPClassUID = CTImageStorage
    intercept = number(dataset, "RescaleIntercept")
    twelve_bits = number(dataset, "BitsStored") == 12
    if twelve_bits and number(dataset, "PixelRepresentation") == 0 and (intercept or 0.0) > -100:
        dataset.PixelRepresentation = 1
