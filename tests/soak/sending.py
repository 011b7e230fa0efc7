"""A sender of damaged PDUs: bytes and sockets only, for it runs in processes of its own.

Most damage is such that the upper layer protocol holds: each of those requests must be answered.
Then one PDU is damaged in its structure, and the association must end.
"""

from __future__ import annotations

import errno
import random
import socket
import struct
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.soak.damage import damaged

_HEAD = struct.Struct(">BxL")  # of a PDU (PS3.8 9.3.1): type, length
_PDV = struct.Struct(">LBB")  # length, context ID, message control header (PS3.8 9.3.5.1, E.2)
_ELEMENT = struct.Struct("<HHL")  # of a command set (PS3.7 6.3.1): group, element, length
_A_ASSOCIATE_AC, _P_DATA_TF = 0x02, 0x04
_IS_COMMAND, _IS_LAST = 0b01, 0b10
# Without these three a request cannot be answered: command field, Message ID, data set type.
_VITAL = (0x0100, 0x0110, 0x0800)
_STATUS = b"\x00\x00\x00\x09\x02\x00\x00\x00"  # the head of (0000,0900)
# Requests that have an answer: C-STORE, C-GET, C-FIND, C-ECHO, N-EVENT-REPORT and on.
_REQUESTS = (0x0001, 0x0001, 0x0001, 0x0010, 0x0020, 0x0030, 0x0100, 0x0130, 0x0140, 0x0666)
# What is read of a command set: SOP classes, priority, instances, kinds of event and action.
_READ = (0x0000, 0x0002, 0x0003, 0x0700, 0x1000, 0x1001, 0x1002, 0x1008)
_PATIENCE_S = 60.0


@dataclass(frozen=True)
class Message:
    """A request: its presentation context, the elements of its command set, and its data set."""

    context_id: int
    command: Mapping[int, bytes]
    data: bytes


@dataclass(frozen=True)
class Sound:
    """What is damaged: an A-ASSOCIATE-RQ, requests within the association, and PDUs."""

    request: bytes
    messages: tuple[Message, ...]
    pdus: tuple[bytes, ...]


@dataclass
class Tally:
    """What was sent and read: `pdus` counts damaged ones that the receiver has read for certain."""

    pdus: int = 0
    connections: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


def send_damaged(sound: Sound, port: int, seed: str, count: int) -> Tally:
    """Send at least so many damaged PDUs, one association after another."""
    rng, tally = random.Random(seed), Tally()
    while tally.pdus < count and not tally.faults:
        tally.connections += 1
        try:
            with socket.create_connection(("127.0.0.1", port), _PATIENCE_S) as connection:
                tally.pdus += _converse(rng, connection, sound, tally.statuses)
        except (OSError, Unanswered) as error:
            where = f"connection {tally.connections} of seed {seed}"
            tally.faults.append(f"{where}: {type(error).__name__}: {error}")
    return tally


class Unanswered(Exception):
    """The receiver did not do what the protocol asks."""


def _converse(
    rng: random.Random, connection: socket.socket, sound: Sound, statuses: Counter[str]
) -> int:
    """Hold one association; return how many damaged PDUs were read in it."""
    if rng.random() < 0.2:
        connection.sendall(damaged(rng, sound.request))
        _end(connection)
        return 1
    connection.sendall(sound.request)
    kind, _body = _read_pdu(connection)
    if kind != _A_ASSOCIATE_AC:
        raise Unanswered(f"a sound A-ASSOCIATE-RQ was answered by a PDU of type {kind:02X}H")
    messages = [_message(rng, sound) for _ in range(rng.randint(3, 25))]
    connection.sendall(b"".join(pdus for pdus, _count in messages))
    for number in range(len(messages)):
        status = None
        while status is None:
            kind, body = _read_pdu(connection)
            if kind != _P_DATA_TF:
                which = f"request {number + 1} of {len(messages)}"
                raise Unanswered(f"{which}, whose PDUs are sound, was answered by type {kind:02X}H")
            status = _status(body)
        statuses[f"{status:04X}H"] += 1
    connection.sendall(damaged(rng, rng.choice(sound.pdus), 0, rng.choice((6, 12, 80, None))))
    _end(connection)
    return sum(count for _pdus, count in messages) + 1


def _status(body: bytes) -> int | None:
    """Return the status of a response; None of a report on a storage commitment."""
    *_, flags = _PDV.unpack_from(body)
    at = body.find(_STATUS) if flags & _IS_COMMAND else -1
    begins = at + len(_STATUS)
    return None if at < 0 else int.from_bytes(body[begins : begins + 2], "little")


def _message(rng: random.Random, sound: Sound) -> tuple[bytes, int]:
    """Return the PDUs of one request with damage inside, and how many of them have some."""
    wrong_command, wrong_data = rng.choice(((True, False), (False, True), (False, True)))
    chosen = rng.choice(sound.messages)
    command, data = dict(chosen.command), chosen.data
    if wrong_command:
        _spoil(rng, command)
    if wrong_data:
        data = damaged(rng, data)
    first, odd_first = _fragmented(rng, _encoded(command), chosen.context_id, _IS_COMMAND)
    second, odd_second = _fragmented(rng, data, chosen.context_id, 0)
    return first + second, max(odd_first, wrong_command) + max(odd_second, wrong_data)


def _spoil(rng: random.Random, command: dict[int, bytes]) -> None:
    """Give a command set values that nobody expects; its request can still be answered."""
    for _ in range(rng.randint(1, 2)):
        element = rng.choice((*_READ, rng.randrange(1, 0x10000)))
        if element not in _VITAL:
            value = command.get(element, b"")
            command[element] = damaged(rng, value) if value else rng.randbytes(rng.randrange(64))
    if rng.random() < 0.2:
        command[0x0100] = rng.choice(_REQUESTS).to_bytes(2, "little")
    command[0x0110] = rng.randbytes(2)
    command[0x0800] = rng.choice((0, 1, 0x0102, 0xFFFF)).to_bytes(2, "little")


def _encoded(command: Mapping[int, bytes]) -> bytes:
    return b"".join(
        _ELEMENT.pack(0, element, len(value)) + value for element, value in command.items()
    )


def _fragmented(
    rng: random.Random, content: bytes, context_id: int, kind: int
) -> tuple[bytes, int]:
    """Return the P-DATA-TF PDUs of a content, and how many hold a fragment of an odd size or none.

    A fragment must be even (PS3.8 9.3.5.1); the last is odd where the content is.
    """
    cuts = sorted(rng.randrange(len(content) + 1) for _ in range(rng.choice((0, 0, 1, 3, 7))))
    ends = [*cuts, len(content)]
    pdus, body, odd, odd_pdus, begin = b"", b"", False, 0, 0
    for number, end in enumerate(ends, start=1):
        last = _IS_LAST if number == len(ends) else 0
        body += _PDV.pack(end - begin + 2, context_id, kind | last) + content[begin:end]
        odd = odd or (end - begin) % 2 == 1 or end == begin
        begin = end
        if last or rng.random() < 0.7:  # else one more fragment in the same PDU
            pdus += _HEAD.pack(_P_DATA_TF, len(body)) + body
            body, odd, odd_pdus = b"", False, odd_pdus + odd
    return pdus, odd_pdus


def _end(connection: socket.socket) -> None:
    """Send no more, and read until the receiver closes: then it has read what it will."""
    try:
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(1 << 16):
            pass
    except OSError as error:  # it closed over what it need not read
        if not isinstance(error, ConnectionError) and error.errno != errno.ENOTCONN:
            raise


def _read_pdu(connection: socket.socket) -> tuple[int, bytes]:
    kind, length = _HEAD.unpack(_read(connection, _HEAD.size))
    return kind, _read(connection, length)


def _read(connection: socket.socket, count: int) -> bytes:
    found = connection.recv(count, socket.MSG_WAITALL)
    while len(found) < count:
        piece = connection.recv(count - len(found))
        if not piece:
            raise Unanswered("the receiver closed without an answer")
        found += piece
    return found
