"""Write a canonical HU volume as the CT Image files a scanner could have sent.

The patient is named SIMULATED and so is everything a person reads in the header.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import Dataset, FileDataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

from ich_node.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, derive

INTERCEPT_HU = -1024.0
_UNSIGNED_12_BIT = (INTERCEPT_HU, 3071.0)
_SIGNED_16_BIT = (-32768.0, 32767.0)


def write_series(
    hu: npt.NDArray[Any],
    folder: Path,
    *,
    spacing_mm: tuple[float, float, float],
    seed: int = 0,
    study_uid: str | None = None,
    series_uid: str | None = None,
    patient_id: str | None = None,
    transfer_syntax: str = ExplicitVRLittleEndian,
    signed: bool = False,
) -> list[Path]:
    """Write a volume as one CT series, a file a slice.

    Parameters
    ----------
    hu
        Shape (slice, row, column), HU; axes inferior to superior, anterior to posterior, patient's
        right to left.
    folder
        Made if need be; the files are named ``0001.dcm`` and on, inferior slice first.
    spacing_mm
        Distance between neighbours along the three axes of ``hu``, mm.
    seed
        The same seed gives the same UIDs and the same patient.
    study_uid, series_uid, patient_id
        Take the place of those made from the seed; instance UIDs follow the series UID.
    transfer_syntax
        UID of an uncompressed syntax, or of a lossless one that pydicom can encode.
    signed
        Write 16-bit signed values with a Rescale Intercept of 0 in place of 12-bit unsigned ones
        with -1024.

    Returns
    -------
    list of Path
        The files, inferior slice first.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    datasets = build_series(
        hu,
        spacing_mm=spacing_mm,
        seed=seed,
        study_uid=study_uid,
        series_uid=series_uid,
        patient_id=patient_id,
        signed=signed,
    )
    for number, dataset in enumerate(datasets, start=1):
        path = folder / f"{number:04d}.dcm"
        save(dataset, path, transfer_syntax)
        paths.append(path)
    return paths


def build_series(
    hu: npt.NDArray[Any],
    *,
    spacing_mm: tuple[float, float, float],
    seed: int = 0,
    study_uid: str | None = None,
    series_uid: str | None = None,
    patient_id: str | None = None,
    signed: bool = False,
) -> list[Dataset]:
    """Return the data sets that `write_series` writes, inferior slice first."""
    study = study_uid or derive("simulated-study", str(seed))
    series = series_uid or derive("simulated-series", study, str(seed))
    common = Dataset()
    common.update(_patient_and_study(seed, study, patient_id))
    common.update(_series_and_equipment(seed, study, series, spacing_mm))
    common.update(_pixel_description(hu.shape[1:], spacing_mm, signed))
    stored = _stored_values(hu, signed)
    origin = _centred_origin(hu.shape, spacing_mm)
    datasets = []
    for index, plane in enumerate(stored):
        dataset = copy.deepcopy(common)  # data sets must not share elements
        dataset.SOPInstanceUID = derive("simulated-ct", series, str(index))
        dataset.InstanceNumber = index + 1
        x, y, z = origin[2], origin[1], origin[0] + index * spacing_mm[0]
        dataset.ImagePositionPatient = [_ds(x), _ds(y), _ds(z)]
        dataset.SliceLocation = _ds(z)
        dataset.PixelData = plane.tobytes()
        datasets.append(dataset)
    return datasets


def save(dataset: Dataset, path: Path, transfer_syntax: str = ExplicitVRLittleEndian) -> None:
    """Write one data set with little endian native pixels as a DICOM file of any syntax."""
    syntax = UID(transfer_syntax)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian if syntax.is_encapsulated else syntax
    meta.ImplementationClassUID = IMPLEMENTATION_CLASS_UID
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    file = FileDataset(
        str(path),
        copy.deepcopy(dataset),
        preamble=b"\0" * 128,
        file_meta=meta,
        is_implicit_VR=syntax.is_implicit_VR,
        is_little_endian=syntax.is_little_endian,
    )
    if syntax.is_encapsulated:
        file.compress(syntax, generate_instance_uid=False)
    elif not syntax.is_little_endian and "PixelData" in file:
        file.PixelData = np.frombuffer(file.PixelData, "<u2").astype(">u2").tobytes()
    file.save_as(path, enforce_file_format=True)


def _patient_and_study(seed: int, study: str, patient_id: str | None) -> Dataset:
    found = Dataset()
    found.PatientName = "SIMULATED^HEAD"
    found.PatientID = patient_id or f"SIMULATED-{seed}"
    found.PatientBirthDate = ""
    found.PatientSex = "O"
    found.StudyInstanceUID = study
    found.StudyID = f"SIM{seed}"
    found.StudyDate = "20260101"
    found.StudyTime = "120000"
    found.AccessionNumber = f"SIM{seed}"
    found.ReferringPhysicianName = ""
    found.StudyDescription = "SIMULATED CT HEAD"
    return found


def _series_and_equipment(
    seed: int, study: str, series: str, spacing_mm: Sequence[float]
) -> Dataset:
    found = Dataset()
    found.SOPClassUID = CTImageStorage
    found.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    found.Modality = "CT"
    found.SeriesInstanceUID = series
    found.SeriesNumber = 2
    found.SeriesDate = "20260101"
    found.SeriesTime = "120100"
    found.AcquisitionDate = "20260101"
    found.AcquisitionTime = "120105"
    found.ContentDate = "20260101"
    found.ContentTime = "120110"
    found.AcquisitionNumber = 1
    found.SeriesDescription = f"SIMULATED HEAD {spacing_mm[0]:g} MM"
    found.BodyPartExamined = "HEAD"
    found.PatientPosition = "HFS"
    found.FrameOfReferenceUID = derive("simulated-frame-of-reference", study)
    found.PositionReferenceIndicator = ""
    found.Manufacturer = "SIMULATED"
    found.ManufacturerModelName = "Simulated CT"
    found.DeviceSerialNumber = str(seed)
    found.SoftwareVersions = "1"
    found.InstitutionName = "SIMULATED"
    found.KVP = "120"
    found.XRayTubeCurrent = "250"
    found.ExposureTime = "1000"
    found.ConvolutionKernel = "H31s"
    found.GantryDetectorTilt = "0"
    found.TableHeight = "150"
    return found


def _pixel_description(shape: Sequence[int], spacing_mm: Sequence[float], signed: bool) -> Dataset:
    found = Dataset()
    found.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    found.SliceThickness = _ds(spacing_mm[0])
    found.PixelSpacing = [_ds(spacing_mm[1]), _ds(spacing_mm[2])]
    found.SamplesPerPixel = 1
    found.PhotometricInterpretation = "MONOCHROME2"
    found.Rows, found.Columns = shape
    found.BitsAllocated = 16
    found.BitsStored = 16 if signed else 12
    found.HighBit = found.BitsStored - 1
    found.PixelRepresentation = int(signed)
    found.RescaleIntercept = "0" if signed else f"{INTERCEPT_HU:g}"
    found.RescaleSlope = "1"
    found.RescaleType = "HU"
    found.WindowCenter = "40"
    found.WindowWidth = "80"
    return found


def _stored_values(hu: npt.NDArray[Any], signed: bool) -> npt.NDArray[Any]:
    low, high = _SIGNED_16_BIT if signed else _UNSIGNED_12_BIT
    clipped: npt.NDArray[Any] = np.clip(np.rint(hu), low, high)
    return clipped.astype("<i2") if signed else (clipped - INTERCEPT_HU).astype("<u2")


def _centred_origin(
    shape: Sequence[int], spacing_mm: Sequence[float]
) -> tuple[float, float, float]:
    """Coordinates of voxel (0, 0, 0) that bring the middle of the volume to the isocentre, mm."""
    slices, rows, columns = (
        -0.5 * (count - 1) * step for count, step in zip(shape, spacing_mm, strict=True)
    )
    return slices, rows, columns


def _ds(value: float) -> str:
    """A Decimal String: at most 16 characters (PS3.5 6.2)."""
    return f"{value:.6f}".rstrip("0").rstrip(".")[:16]
