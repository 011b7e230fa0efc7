"""A built object belongs to the patient, the study and the images of its source."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from pydicom import Dataset

from ich_node.errors import CheckFailed
from ich_node.records import FrameName
from ich_node.report import decode
from ich_node.report.decode import Instance
from ich_node.report.headers import normalise_header

# What names patient and study, with the longest value of each.
_SUBJECT = (("StudyInstanceUID", 64), ("PatientID", 64), ("AccessionNumber", 16))
# Who the patient is besides, as the normalised header of the source has it.
_PERSON = ("PatientName", "PatientBirthDate", "PatientSex", "IssuerOfPatientID")


def subject_of(source: Dataset) -> dict[str, str]:
    """Return what names patient and study of a source image, as it must stand in an object."""
    copied = normalise_header(source)
    subject = {}
    for keyword, longest in _SUBJECT:
        raw = str(source.get(keyword) or "").strip()
        subject[keyword] = (raw if raw.isascii() else str(copied.get(keyword, "")))[
            :longest
        ].strip()
    subject |= {keyword: str(copied.get(keyword) or "").strip() for keyword in _PERSON}
    return subject


def check_subject(what: str, built: Dataset, subject: Mapping[str, str]) -> None:
    """Study and patient are those of `subject_of` the source.

    Raises
    ------
    CheckFailed
        They differ; the text never has the value, it may be the patient's.
    """
    for keyword, expected in subject.items():
        if str(built.get(keyword) or "").strip() != expected:
            raise CheckFailed(f"{what}: {keyword} is not that of the source")


def check_references(what: str, built: Dataset, allowed: Iterable[str]) -> None:
    """Every image or object that it names is one of these SOP Instance UIDs.

    Raises
    ------
    CheckFailed
        It names another one.
    """
    strange = decode.references(built) - set(allowed)
    if strange:
        raise CheckFailed(f"{what}: refers to {min(strange)}, which is no image of the source")


def instances_of(headers: Iterable[Dataset], frames: Mapping[str, FrameName]) -> set[Instance]:
    """Return the images that headers are of; those of frames, as the images that hold them."""
    found = set()
    for header in headers:
        uid = str(header.SOPInstanceUID)
        image = (str(header.SOPClassUID), uid)
        if uid in frames:
            image = (frames[uid].sop_class_uid, frames[uid].sop_instance_uid)
        study, series = str(header.StudyInstanceUID), str(header.SeriesInstanceUID)
        found.add(Instance(study, series, *image))
    return found


def check_evidence(what: str, built: Dataset, expected: Collection[Instance]) -> None:
    """It lists as evidence every image and object that it was made from, and nothing else.

    Raises
    ------
    CheckFailed
        One is missing, or named with another study, series or SOP Class.
    """
    listed = decode.listed(built)
    missing, strange = set(expected) - listed, listed - set(expected)
    if missing:
        raise CheckFailed(
            f"{what}: its evidence lists {len(listed)} instances and leaves out "
            f"{len(missing)} of {len(expected)} that it was made from, as {_named(min(missing))}"
        )
    if strange:
        raise CheckFailed(
            f"{what}: its evidence lists {_named(min(strange))}, which it was not made from"
        )


def check_sources(what: str, built: Dataset, expected: Collection[Instance]) -> None:
    """Its Source Image Sequence has every image that it was made from.

    Raises
    ------
    CheckFailed
        One is missing, or has another SOP Class there.
    """
    images = {(item.sop_class_uid, item.sop_instance_uid) for item in expected}
    missing = images - decode.sources(built)
    if missing:
        sop_class, uid = min(missing)
        raise CheckFailed(
            f"{what}: its Source Image Sequence leaves out {len(missing)} of {len(images)} images "
            f"that it was made from, as {uid} of SOP Class {sop_class}"
        )


def _named(item: Instance) -> str:
    return (
        f"{item.sop_instance_uid} (SOP Class {item.sop_class_uid}, "
        f"series {item.series_instance_uid}, study {item.study_instance_uid})"
    )
