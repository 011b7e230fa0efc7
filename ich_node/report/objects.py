"""What SEG and SR have in common: codes, equipment, and how they become files."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import highdicom as hd
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from ich_node import codes
from ich_node.codes import Concept
from ich_node.report.identity import (
    PRODUCT,
    RESEARCH_USE,
    RESULT_SERIES,
    Work,
    series_description,
)
from ich_node.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, derive


def coded(concept: Concept) -> hd.sr.CodedConcept:
    """Return a concept of our table as a DICOM code item."""
    return hd.sr.CodedConcept(concept.value, concept.scheme, concept.meaning)


def equipment(work: Work) -> hd.ContributingEquipment:
    """Return the item that describes the algorithm as IHE AIR (6.5.3.1) asks for it."""
    item = hd.ContributingEquipment(
        manufacturer=PRODUCT,
        purpose_of_reference=coded(codes.PROCESSING_EQUIPMENT),
        manufacturer_model_name=work.model_name,
        software_versions=work.version,
        device_serial_number=work.serial,
        contribution_description=RESEARCH_USE,
    )
    item.DeviceUID = work.device_uid
    return item


def instance_uid(work: Work, name: str, number: int) -> str:
    """Return the UID of an object of one of `identity.RESULT_SERIES`, counted from 1."""
    uid = work.uids[name]
    return uid if number == 1 else derive(name, uid, str(number))


def common_arguments(work: Work, name: str) -> dict[str, Any]:
    """Return what every object's constructor is told: UIDs, series, equipment, character set.

    ``name`` is one of `identity.RESULT_SERIES`.
    """
    return {
        "series_instance_uid": work.uids[f"{name}-series"],
        "series_number": RESULT_SERIES[name].number,
        "series_description": series_description(name, work),
        "sop_instance_uid": instance_uid(work, name, 1),
        "instance_number": 1,
        "manufacturer": PRODUCT,
        "manufacturer_model_name": work.model_name,
        "software_versions": work.version,
        "device_serial_number": work.serial,
        "contributing_equipment": [equipment(work)],
        "specific_character_set": "ISO_IR 192",
    }


# Dates and times of an object's making; where it is told none the library takes that of now.
_MADE = (
    ("InstanceCreationDate", "InstanceCreationTime"),
    ("ContentDate", "ContentTime"),
    ("PresentationCreationDate", "PresentationCreationTime"),
    ("DateOfSecondaryCapture", "TimeOfSecondaryCapture"),
)


def _date(dataset: Dataset, made: datetime) -> None:
    day, clock = made.strftime("%Y%m%d"), made.strftime("%H%M%S.%f")
    for date, time in _MADE:
        if date in dataset:
            setattr(dataset, date, day)
            setattr(dataset, time, clock)
    library = dataset.ContributingEquipmentSequence[-1]  # it names itself after all others
    library.ContributionDateTime = day + clock


def write(dataset: Dataset, path: Path, made: datetime) -> Path:
    """Write an object as a DICOM file (Explicit VR Little Endian) under our own implementation UID.

    Every date and time of its making is `made`: the same work gives the same bytes at any time.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    _date(dataset, made)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = IMPLEMENTATION_CLASS_UID
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    dataset.file_meta = meta
    dcmwrite(path, dataset, enforce_file_format=True)
    return path
