"""Command sets (PS3.7 6.3.1 and annex E): always Implicit VR Little Endian."""

from __future__ import annotations

import struct
from collections.abc import Mapping

# Elements of group 0000H, by element number.
GROUP_LENGTH, AFFECTED_SOP_CLASS, COMMAND_FIELD, MESSAGE_ID = 0x0000, 0x0002, 0x0100, 0x0110
RESPONDED_TO, DATA_SET_TYPE, STATUS, ERROR_COMMENT = 0x0120, 0x0800, 0x0900, 0x0902
AFFECTED_SOP_INSTANCE, REQUESTED_SOP_INSTANCE = 0x1000, 0x1001
REQUESTED_SOP_CLASS, EVENT_TYPE, ACTION_TYPE = 0x0003, 0x1002, 0x1008

C_STORE_RQ, C_ECHO_RQ, C_CANCEL_RQ = 0x0001, 0x0030, 0x0FFF
N_EVENT_REPORT_RQ, N_SET_RQ, N_ACTION_RQ, N_CREATE_RQ = 0x0100, 0x0120, 0x0130, 0x0140
RESPONSE = 0x8000  # this bit of the command field makes a response of a request
NO_DATA_SET, HAS_DATA_SET = 0x0101, 0x0001
UNRECOGNISED_OPERATION = 0x0211  # PS3.7 C.5.26

_ELEMENT = struct.Struct("<HHL")


class Unreadable(Exception):
    """Bytes that are no command set, or lack what every request has."""


def decode(data: bytes) -> dict[int, bytes]:
    """Return the values of a command set by element number.

    Raises
    ------
    Unreadable
        The bytes end inside an element, or one is of another group.
    """
    found, at = {}, 0
    while at < len(data):
        if at + _ELEMENT.size > len(data):
            raise Unreadable
        group, element, length = _ELEMENT.unpack_from(data, at)
        at += _ELEMENT.size
        if group != 0 or at + length > len(data):
            raise Unreadable
        found[element] = data[at : at + length]
        at += length
    return found


def number(command: Mapping[int, bytes], element: int) -> int:
    """Return a value of VR US.

    Raises
    ------
    Unreadable
        It is missing or no US.
    """
    value = command.get(element, b"")
    if len(value) != 2:
        raise Unreadable
    return int.from_bytes(value, "little")


def uid(command: Mapping[int, bytes], element: int) -> str:
    """Return a value of VR UI; empty where it is missing or no ASCII."""
    try:
        return command.get(element, b"").rstrip(b" \0").decode("ascii")
    except UnicodeDecodeError:
        return ""


def respond(request: Mapping[int, bytes], status: int, comment: str = "") -> bytes:
    """Return the command set that answers a request (PS3.7 9.3.1.2, 9.3.5.2, 10.3).

    Raises
    ------
    Unreadable
        The request has no command field or no Message ID.
    """
    number(request, MESSAGE_ID)
    values = {
        AFFECTED_SOP_CLASS: request.get(AFFECTED_SOP_CLASS, request.get(REQUESTED_SOP_CLASS)),
        COMMAND_FIELD: _us(number(request, COMMAND_FIELD) | RESPONSE),
        RESPONDED_TO: request[MESSAGE_ID],
        DATA_SET_TYPE: _us(NO_DATA_SET),
        STATUS: _us(status),
        ERROR_COMMENT: _even(comment, b" ") if comment else None,
        AFFECTED_SOP_INSTANCE: request.get(
            AFFECTED_SOP_INSTANCE, request.get(REQUESTED_SOP_INSTANCE)
        ),
        EVENT_TYPE: request.get(EVENT_TYPE),
        ACTION_TYPE: request.get(ACTION_TYPE),
    }
    return _encode(values)


def event_report(sop_class: str, sop_instance: str, event_type: int, message_id: int) -> bytes:
    """Return the command set of an N-EVENT-REPORT request with a data set (PS3.7 10.3.1.1)."""
    return _encode(
        {
            AFFECTED_SOP_CLASS: _even(sop_class, b"\0"),
            COMMAND_FIELD: _us(N_EVENT_REPORT_RQ),
            MESSAGE_ID: _us(message_id),
            DATA_SET_TYPE: _us(HAS_DATA_SET),
            AFFECTED_SOP_INSTANCE: _even(sop_instance, b"\0"),
            EVENT_TYPE: _us(event_type),
        }
    )


def _encode(values: Mapping[int, bytes | None]) -> bytes:
    body = b"".join(_element(key, value) for key, value in values.items() if value is not None)
    return _element(GROUP_LENGTH, len(body).to_bytes(4, "little")) + body


def _us(value: int) -> bytes:
    return value.to_bytes(2, "little")


def _even(text: str, padding: bytes) -> bytes:
    value = text.encode("ascii", "replace")
    return value + padding * (len(value) % 2)


def _element(element: int, value: bytes) -> bytes:
    value += b"\0" * (len(value) % 2)  # what is echoed may lack its padding
    return _ELEMENT.pack(0, element, len(value)) + value
