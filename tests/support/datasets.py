"""Tiny copies of the five data sets, written in the layouts they are published in.

Volumes are (slice, row, column) as everywhere: inferior to superior, anterior to posterior, right
to left; no two slices and no two turns of them are equal.
"""

import csv
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pydicom
from pydicom import Dataset
from pydicom.uid import CTImageStorage

from ich_node.codes import CLASSES, SUBTYPES
from ich_node.selftest.series import save
from tests import identity
from tests.support.series import head_hu, head_series

SPACING_MM = (5.0, 3.0, 2.5)
SHAPE = (6, 24, 20)

RSNA_PATIENT, RSNA_SERIES = "ID_b81a287f", "ID_15dcd6057a"
# What the challenge left in its headers.
_RSNA_KEPT = (
    *("SOPInstanceUID", "Modality", "PatientID", "StudyInstanceUID", "SeriesInstanceUID"),
    *("StudyID", "ImagePositionPatient", "ImageOrientationPatient", "SamplesPerPixel"),
    *("PhotometricInterpretation", "Rows", "Columns", "PixelSpacing", "BitsAllocated"),
    *("BitsStored", "HighBit", "PixelRepresentation", "WindowCenter", "WindowWidth"),
    *("RescaleIntercept", "RescaleSlope", "PixelData"),
)

PHYSIONET_COLUMNS = (
    *("PatientNumber", "SliceNumber", "Intraventricular", "Intraparenchymal", "Subarachnoid"),
    *("Epidural", "Subdural", "No_Hemorrhage", "Fracture_Yes_No"),
)
CQ500_FINDINGS = ("ICH", "IPH", "IVH", "SDH", "EDH", "SAH", "BleedLocation-Left", "Fracture")


def tiny_hu(shape: tuple[int, int, int] = SHAPE) -> npt.NDArray[np.float32]:
    """Whole HU of a head of these dimensions."""
    return head_hu(*_split(shape), spacing_mm=(10.0, 9.0, 9.0))


def _split(shape: tuple[int, int, int]) -> tuple[int, tuple[int, int]]:
    return shape[0], (shape[1], shape[2])


def save_nifti(
    volume: npt.NDArray[np.generic],
    path: Path,
    axes: str = "LAS",
    spacing_mm: Sequence[float] = SPACING_MM,
) -> Path:
    """Write a volume so that the file's axes run in these directions (nibabel's letters)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.diag([-spacing_mm[2], -spacing_mm[1], spacing_mm[0], 1.0])  # LPS
    affine[:3, 3] = 11, 23, -7
    image = nib.Nifti1Image(np.ascontiguousarray(volume.transpose(2, 1, 0)), affine)
    turn = nib.orientations.ornt_transform(
        nib.io_orientation(affine), nib.orientations.axcodes2ornt(tuple(axes))
    )
    nib.save(image.as_reoriented(turn), path)
    return path


def write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def rsna_id(index: int) -> str:
    """Names whose order is not that of the slices."""
    return f"ID_{(index * 7919 + 12345) % 65521:09x}"


def rsna_slices() -> list[Dataset]:
    """Nine slices as the challenge's headers have them, inferior slice first."""
    made = head_series(slices=9)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ID_<hex> is no UID
        for index, dataset in enumerate(made):
            dataset.SOPInstanceUID = rsna_id(index)
            dataset.PatientID, dataset.SeriesInstanceUID = RSNA_PATIENT, RSNA_SERIES
            dataset.StudyInstanceUID = "ID_dd37ba3adb"
            for element in list(dataset):
                if element.keyword not in _RSNA_KEPT:
                    del dataset[element.tag]
    return made


def _save_rsna(datasets: Sequence[Dataset], folder: Path) -> None:
    """Write slices under their names; the SOP class stands in the file meta information alone."""
    (folder / "stage_2_train").mkdir(parents=True, exist_ok=True)
    with pydicom.config.disable_value_validation():
        for dataset in datasets:
            identity.register(dataset)
            path = folder / "stage_2_train" / f"{dataset.SOPInstanceUID}.dcm"
            whole = Dataset()
            whole.update(dataset)
            whole.SOPClassUID = CTImageStorage
            save(whole, path)
            stored = pydicom.dcmread(path)
            del stored.SOPClassUID
            stored.save_as(path, enforce_file_format=False)


def rsna_rows(labels: Mapping[str, Sequence[str]]) -> list[list[object]]:
    """Six rows for each image, whose subtypes are given, in the challenge's order of classes."""
    order = ["epidural", "intraparenchymal", "intraventricular", "subarachnoid", "subdural", "any"]
    return [
        [f"{image}_{name}", int(name in held or (name == "any" and bool(held)))]
        for image, held in labels.items()
        for name in order
    ]


def write_rsna(
    folder: Path, held: Mapping[int, Sequence[str]], datasets: Sequence[Dataset] | None = None
) -> Path:
    """One series, of these slices or sound ones; ``held`` gives a slice's subtypes by its index."""
    datasets = rsna_slices() if datasets is None else datasets
    _save_rsna(datasets, folder)
    labels = {str(each.SOPInstanceUID): held.get(i, ()) for i, each in enumerate(datasets)}
    write_csv(folder / "stage_2_train.csv", ["ID", "Label"], rsna_rows(labels))
    return folder


def physionet_rows(patient: int, held: Sequence[Sequence[str]]) -> list[list[object]]:
    """The rows of one patient; ``held`` gives the subtypes of each slice in the file's order."""
    names = [name.lower() for name in PHYSIONET_COLUMNS[2:7]]
    return [
        [patient, number, *(int(name in subtypes) for name in names), int(not subtypes), 0]
        for number, subtypes in enumerate(held, start=1)
    ]


def write_physionet(
    folder: Path,
    patients: Mapping[int, Sequence[Sequence[str]]],
    axes: str = "LAS",
    value: int = 255,
) -> Path:
    """Scans whose slices (inferior first) have these subtypes, all in a mask of one class."""
    rows: list[list[object]] = []
    for patient, held in patients.items():
        mask = np.zeros((len(held), *SHAPE[1:]), np.uint8)
        for index, subtypes in enumerate(held):
            mask[index, 8 : 10 + index, 9:12] = value * bool(subtypes)
        hu = tiny_hu(mask.shape).astype(np.int16)
        save_nifti(hu, folder / "ct_scans" / f"{patient:03d}.nii", axes)
        save_nifti(mask, folder / "masks" / f"{patient:03d}.nii", axes)
        rows += physionet_rows(patient, held[::-1] if axes[2] == "I" else held)
    write_csv(folder / "hemorrhage_diagnosis_raw_ct.csv", PHYSIONET_COLUMNS, rows)
    return folder


def write_masked(
    images: Path, masks: Path, scans: Mapping[str, npt.NDArray[np.uint8]], axes: str = "LAS"
) -> None:
    """Images and masks of the same names in two folders."""
    for name, mask in scans.items():
        save_nifti(tiny_hu(mask.shape).astype(np.int16), images / f"{name}.nii.gz", axes)
        save_nifti(mask, masks / f"{name}.nii.gz", axes)


def write_reads(folder: Path, scans: Mapping[str, Sequence[Sequence[str]]]) -> Path:
    """CQ500's table: of each scan what each of the three readers found."""
    header = ["name", "Category"]
    header += [f"R{reader}:{finding}" for reader in (1, 2, 3) for finding in CQ500_FINDINGS]
    rows = [
        [name, "B1", *(int(finding in found) for found in readers for finding in CQ500_FINDINGS)]
        for name, readers in scans.items()
    ]
    return write_csv(folder / "reads.csv", header, rows)


def row_of(*held: str) -> tuple[float, ...]:
    """The row of `codes.CLASSES` of these subtypes."""
    assert set(held) <= set(SUBTYPES)
    return tuple(float(name in held or (name == "any" and bool(held))) for name in CLASSES)
