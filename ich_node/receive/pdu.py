"""The PDUs that an acceptor reads and writes (PS3.8 section 9.3): bytes and records, no sockets."""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ich_node.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

A_ASSOCIATE_RQ, A_ASSOCIATE_AC, A_ASSOCIATE_RJ = 0x01, 0x02, 0x03
P_DATA_TF, A_RELEASE_RQ, A_RELEASE_RP, A_ABORT = 0x04, 0x05, 0x06, 0x07
TYPES = range(A_ASSOCIATE_RQ, A_ABORT + 1)  # there are no others
HEAD = struct.Struct(">BxL")  # type and length, which every PDU begins with
PDV_HEAD = struct.Struct(">LBB")  # length, context ID, message control header (PS3.8 9.3.5.1, E.2)
IS_COMMAND, IS_LAST = 0b01, 0b10
SHORTEST_MAXIMUM = PDV_HEAD.size + 2  # of a peer that can read any fragment at all

# Source and reason of an A-ABORT (PS3.8 table 9-26); a user gives no reason.
BY_USER, BY_PROVIDER = 0, 2
NOT_SPECIFIED, UNRECOGNISED_PDU, UNEXPECTED_PDU, INVALID_PARAMETER = 0, 1, 2, 6
# Result of a presentation context (PS3.8 table 9-18).
ACCEPTED, NO_ABSTRACT_SYNTAX, NO_TRANSFER_SYNTAX = 0, 3, 4

_APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
_FIXED = struct.Struct(">H2x16s16s32x")  # protocol version, called and calling AE title
_ITEM = struct.Struct(">BxH")
_APPLICATION, _CONTEXT_RQ, _CONTEXT_AC, _ABSTRACT, _TRANSFER = 0x10, 0x20, 0x21, 0x30, 0x40
_USER, _MAXIMUM, _IMPLEMENTATION_CLASS, _IMPLEMENTATION_VERSION = 0x50, 0x51, 0x52, 0x55
_ROLE = 0x54


class Malformed(Exception):
    """A PDU is not built as the standard says."""


@dataclass(frozen=True)
class Context:
    """A proposed presentation context; its transfer syntaxes are in the peer's order."""

    context_id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(frozen=True)
class Decision:
    """The answer to a proposed context; the transfer syntax counts only where it is accepted."""

    context_id: int
    result: int
    transfer_syntax: str


@dataclass(frozen=True)
class Request:
    """An A-ASSOCIATE-RQ. ``maximum_pdu`` is what the peer reads at most, bytes; 0: no limit.

    ``roles`` are the values of its SCP/SCU role selection items (PS3.7 D.3.3.4), by SOP class.
    """

    protocol_version: int
    called_ae: str
    calling_ae: str
    contexts: tuple[Context, ...]
    maximum_pdu: int
    roles: Mapping[str, bytes] = field(default_factory=dict)


def decode_request(body: bytes) -> Request:
    """Read what follows the first six bytes of an A-ASSOCIATE-RQ (PS3.8 9.3.2).

    Of extended negotiation only the roles are read: an answer without the rest means that it is not
    used (PS3.7 D.3.3).

    Raises
    ------
    Malformed
        An item is cut short, or the IDs of contexts are not odd, or not each another one: so there
        are 128 at most (PS3.8 9.3.2.2).
    """
    if len(body) < _FIXED.size:
        raise Malformed
    version, called, calling = _FIXED.unpack_from(body)
    contexts: dict[int, Context] = {}
    maximum = 0
    roles: Mapping[str, bytes] = {}
    for kind, value in _items(body[_FIXED.size :]):
        if kind == _CONTEXT_RQ:
            found = _context(value)
            if not found.context_id % 2 or found.context_id in contexts:
                raise Malformed
            contexts[found.context_id] = found
        elif kind == _USER:
            maximum, roles = _maximum(value), _roles(value)
    proposed = tuple(contexts.values())
    return Request(version, _text(called), _text(calling), proposed, maximum, roles)


def _context(value: bytes) -> Context:
    if len(value) < 4:
        raise Malformed
    parts = [(kind, _text(uid)) for kind, uid in _items(value[4:])]
    return Context(
        context_id=value[0],
        abstract_syntax=next((uid for kind, uid in parts if kind == _ABSTRACT), ""),
        transfer_syntaxes=tuple(uid for kind, uid in parts if kind == _TRANSFER),
    )


def _maximum(user_information: bytes) -> int:
    """Return the Maximum Length (PS3.8 annex D.1); 0 where it is missing."""
    for kind, value in _items(user_information):
        if kind == _MAXIMUM and len(value) == 4:
            return int.from_bytes(value, "big")
    return 0


def _roles(user_information: bytes) -> dict[str, bytes]:
    """Return the values of the role selection items: length and UID, SCU role, SCP role."""
    found = {}
    for kind, value in _items(user_information):
        if kind == _ROLE:
            if len(value) < 4 or len(value) != 4 + int.from_bytes(value[:2], "big"):
                raise Malformed
            uid = _text(value[2:-2])  # without its padding, which could be of any length
            name = uid.encode("ascii", "replace")
            found[uid] = len(name).to_bytes(2, "big") + name + value[-2:]
    return found


def _items(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(data):
        if at + _ITEM.size > len(data):
            raise Malformed
        kind, length = _ITEM.unpack_from(data, at)
        at += _ITEM.size
        if at + length > len(data):
            raise Malformed
        yield kind, data[at : at + length]
        at += length


def _text(value: bytes) -> str:
    """Return an AE title or UID; what is no ASCII becomes what no title and no UID contains."""
    return value.decode("ascii", "replace").strip(" \0")


def accept(
    request: Request,
    decisions: Sequence[Decision],
    maximum_pdu: int,
    with_roles: Collection[str] = (),
) -> bytes:
    """Return an A-ASSOCIATE-AC (PS3.8 9.3.3); for the SOP classes `with_roles` as asked for."""
    items = _item(_APPLICATION, _APPLICATION_CONTEXT.encode())
    for decision in decisions:
        head = bytes((decision.context_id, 0, decision.result, 0))
        items += _item(_CONTEXT_AC, head + _item(_TRANSFER, decision.transfer_syntax.encode()))
    user = _item(_MAXIMUM, maximum_pdu.to_bytes(4, "big"))
    user += _item(_IMPLEMENTATION_CLASS, IMPLEMENTATION_CLASS_UID.encode())
    for sop_class, value in request.roles.items():
        if sop_class in with_roles:
            user += _item(_ROLE, value)
    user += _item(_IMPLEMENTATION_VERSION, IMPLEMENTATION_VERSION_NAME.encode())
    called, calling = _title(request.called_ae), _title(request.calling_ae)
    return _pdu(A_ASSOCIATE_AC, _FIXED.pack(1, called, calling) + items + _item(_USER, user))


def reject(result: int, source: int, reason: int) -> bytes:
    """Return an A-ASSOCIATE-RJ (PS3.8 9.3.4)."""
    return _pdu(A_ASSOCIATE_RJ, bytes((0, result, source, reason)))


def release() -> bytes:
    """Return an A-RELEASE-RP (PS3.8 9.3.7)."""
    return _pdu(A_RELEASE_RP, bytes(4))


def abort(source: int, reason: int = NOT_SPECIFIED) -> bytes:
    """Return an A-ABORT (PS3.8 9.3.8)."""
    return _pdu(A_ABORT, bytes((0, 0, source, reason)))


def command(context_id: int, command_set: bytes, maximum_pdu: int) -> bytes:
    """Return a command set as P-DATA-TF PDUs no longer than the peer reads (PS3.8 9.3.5, E.1).

    Parameters
    ----------
    maximum_pdu
        Of the peer, bytes; 0: no limit.
    """
    return _fragments(context_id, command_set, IS_COMMAND, maximum_pdu)


def message(context_id: int, command_set: bytes, data: bytes, maximum_pdu: int) -> bytes:
    """Return a command set and its data set as P-DATA-TF PDUs; parameters as of `command`."""
    return command(context_id, command_set, maximum_pdu) + _fragments(
        context_id, data, 0, maximum_pdu
    )


def _fragments(context_id: int, content: bytes, kind: int, maximum_pdu: int) -> bytes:
    room = maximum_pdu - PDV_HEAD.size if maximum_pdu else len(content)
    piece = max(2, room // 2 * 2)  # a fragment has an even length
    pdus = []
    for at in range(0, len(content), piece):
        last = IS_LAST if at + piece >= len(content) else 0
        fragment = content[at : at + piece]
        head = PDV_HEAD.pack(len(fragment) + 2, context_id, kind | last)
        pdus.append(_pdu(P_DATA_TF, head + fragment))
    return b"".join(pdus)


def _title(text: str) -> bytes:
    return text.encode("ascii", "replace").ljust(16)


def _item(kind: int, value: bytes) -> bytes:
    return _ITEM.pack(kind, len(value)) + value


def _pdu(kind: int, body: bytes) -> bytes:
    return HEAD.pack(kind, len(body)) + body
