"""A built object belongs to the patient, the study and the images of its source."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pydicom import Dataset

from ich_node.errors import CheckFailed
from ich_node.report import decode
from ich_node.report.headers import normalise_header

# What names patient and study, with the longest value of each.
_SUBJECT = (("StudyInstanceUID", 64), ("PatientID", 64), ("AccessionNumber", 16))
# Who the patient is besides, as the normalised header of the source has it.
_PERSON = ("PatientName", "PatientBirthDate", "PatientSex")


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
