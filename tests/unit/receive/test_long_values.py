"""However long a value is: the object is kept as it came, the database holds what the VR allows."""

import struct
from typing import Any

import pytest
from pydicom.datadict import tag_for_keyword
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from ich_node.receive.intake import CANNOT_UNDERSTAND, SUCCESS, Intake, take
from ich_node.store.tables import event, instance, series, study
from tests.support.peers import encoded, incoming, small_object
from tests.unit.receive.kept import files, nothing_kept, rows

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom's, of odd values


def with_value(keyword: str, value: bytes) -> bytes:
    """Return an object in Implicit VR, which has lengths of four bytes, with this value."""
    tag = int(tag_for_keyword(keyword) or 0)
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF)
    whole = encoded(small_object(), ImplicitVRLittleEndian)
    if (at := whole.find(head)) >= 0:
        (length,) = struct.unpack_from("<L", whole, at + 4)
        return whole[:at] + head + struct.pack("<L", len(value)) + value + whole[at + 8 + length :]
    at = whole.index(b"\x10\x00\x10\x00") if tag < 0x00100010 else len(whole)
    return whole[:at] + head + struct.pack("<L", len(value)) + value + whole[at:]


def stored(intake: Intake, data: bytes) -> dict[str, Any]:
    """Take an object; return its rows, each of them small."""
    answer = take(intake, incoming(small_object(), ImplicitVRLittleEndian, data=data))
    assert answer.status == SUCCESS
    [path] = files(intake)
    assert path.read_bytes().endswith(data)
    found = [row for table in (study, series, instance, event) for row in rows(intake, table)]
    assert len(repr(found)) < 6000
    return {name: value for row in found for name, value in row.items()}


@pytest.mark.parametrize("irregular", [False, True], ids=["regular", "irregular"])
def test_a_patient_id_of_30_mb(intake: Intake, irregular: bool) -> None:
    """As a quick walk reads it, and as pydicom does, to which other characters are left."""
    value = b"SIMULATED-" + (b"\xe4" if irregular else b"7") * (30 << 20)
    assert len(stored(intake, with_value("PatientID", value))["patient_id"]) == 64


@pytest.mark.parametrize(
    ("keyword", "value", "column", "expected"),
    [
        ("PatientID", b"7" * 66, "patient_id", "7" * 64),
        ("SeriesDescription", b"HEAD " * 20, "description", ("HEAD " * 13)[:64]),
        ("Modality", b"CT" * 20, "modality", "CT" * 8),
        ("StudyDate", b"20260101" * 9, "study_date", "20260101"),
        ("ImageType", b"A\\" * 999 + b"AB", "image_type", "A\\" * 128),
        ("ImagePositionPatient", b"1." + b"0" * 2000 + b"\\2\\3", "position", ""),
        ("ImagePositionPatient", b"1.00000000000000000000000\\2\\3 ", "position", None),
        ("InstanceNumber", b"0" * 4999 + b"7", "number", None),
        ("InstanceNumber", b"0" * 19 + b"7", "number", 7),
    ],
)
def test_a_value_that_is_longer_than_its_vr_allows(
    intake: Intake, keyword: str, value: bytes, column: str, expected: object
) -> None:
    """Text is cut. A number is not, for it would be another: a little longer it holds, or not."""
    found = stored(intake, with_value(keyword, value))[column]
    if keyword == "ImagePositionPatient" and expected is None:
        assert [float(part) for part in found.split("\\")] == [1, 2, 3]
    else:
        assert found == expected


def test_a_uid_that_is_too_long_is_not_cut_into_another(intake: Intake) -> None:
    data = with_value("StudyInstanceUID", b"1.2." + b"3" * 61 + b"\0")
    answer = take(intake, incoming(small_object(), ImplicitVRLittleEndian, data=data))
    assert answer.status == CANNOT_UNDERSTAND
    assert answer.comment == "StudyInstanceUID is missing or not a UID"
    assert nothing_kept(intake)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_of_many_elements_that_differ_some_are_named(intake: Intake, syntax: str) -> None:
    assert take(intake, incoming(small_object())).status == SUCCESS
    again = small_object()
    for element in range(2000):
        again.add_new((0x0041, 0x1000 + element), "LO", "X")
    assert take(intake, incoming(again, syntax)).status == SUCCESS
    [told] = [row for row in rows(intake, event) if row["kind"] == "header_changed"]
    assert " and 1980 elements more; kept apart as " in told["text"]
    assert len(repr(told)) < 2000
