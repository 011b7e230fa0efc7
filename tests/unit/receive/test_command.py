"""Command sets (PS3.7 annex E): what pynetdicom writes is read, what we write it reads."""

import contextlib
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset
from pynetdicom.dsutils import decode, encode

from ich_node.receive import command


def request(**values: object) -> bytes:
    dataset = Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return encode(dataset, True, True) or b""


STORE = request(
    AffectedSOPClassUID="1.2.840.10008.5.1.4.1.1.2",
    CommandField=1,
    MessageID=7,
    CommandDataSetType=1,
    AffectedSOPInstanceUID="1.2.3",
)


def test_a_request_is_read() -> None:
    read = command.decode(STORE)
    assert command.number(read, command.COMMAND_FIELD) == command.C_STORE_RQ
    assert command.uid(read, command.AFFECTED_SOP_INSTANCE) == "1.2.3"
    assert command.uid(read, command.ERROR_COMMENT) == ""


def test_a_response_answers_the_request_with_status_and_comment() -> None:
    answer = command.respond(command.decode(STORE), 0xC000, "cut short")
    read = decode(BytesIO(answer), True, True)
    assert read.CommandGroupLength == len(answer) - 12
    assert (read.CommandField, read.MessageIDBeingRespondedTo) == (0x8001, 7)
    assert (read.Status, read.ErrorComment) == (0xC000, "cut short")
    assert (read.AffectedSOPInstanceUID, read.CommandDataSetType) == ("1.2.3", 0x0101)
    assert [element.tag for element in read] == sorted(element.tag for element in read)


def test_a_success_has_no_comment() -> None:
    read = decode(BytesIO(command.respond(command.decode(STORE), 0)), True, True)
    assert read.Status == 0
    assert "ErrorComment" not in read


def test_what_is_echoed_without_its_padding_gets_it() -> None:
    """PS3.5 7.1.1: every value has an even length, whatever the request did."""
    request = {command.COMMAND_FIELD: b"\1\0", command.MESSAGE_ID: b"\7\0"}
    answer = command.respond(request | {command.AFFECTED_SOP_INSTANCE: b"1.2.3"}, 0)
    assert command.decode(answer)[command.AFFECTED_SOP_INSTANCE] == b"1.2.3\0"


def test_a_uid_that_is_no_ascii_is_none() -> None:
    assert command.uid({command.AFFECTED_SOP_CLASS: b"1.\xff"}, command.AFFECTED_SOP_CLASS) == ""


@pytest.mark.parametrize("lacking", [{"MessageID": 7}, {"CommandField": 1}])
def test_a_request_without_its_number_or_kind_cannot_be_answered(lacking: dict[str, int]) -> None:
    with pytest.raises(command.Unreadable):
        command.respond(command.decode(request(**lacking)), 0)


@pytest.mark.parametrize("data", [STORE[:-1], STORE[:5], b"\x08\0" + STORE[2:]])
def test_bytes_that_are_cut_or_of_another_group_are_no_command(data: bytes) -> None:
    with pytest.raises(command.Unreadable):
        command.decode(data)


@given(st.binary(max_size=80))
def test_any_bytes_are_a_command_or_unreadable(data: bytes) -> None:
    with contextlib.suppress(command.Unreadable):
        assert isinstance(command.decode(data), dict)
