"""Many senders at once that cost next to nothing: bare sockets, and images renumbered as bytes."""

from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field

from pydicom import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from deploy.demo.running import wait_for
from tests.support.peers import encoded
from tests.support.wire import associate_request, read_pdu, store_request

ACCEPTED, RELEASED = 0x02, 0x06
_RELEASE = b"\x05\0\0\0\0\x04" + bytes(4)
_CONTEXTS = ((CTImageStorage, (ExplicitVRLittleEndian,)),)
_STATUS = b"\x00\x00\x00\x09\x02\x00\x00\x00"  # (0000,0900), two bytes
_PIECE = 1 << 16
_HEAD = 1 << 16  # of a request; no UID comes after it
_ANSWER_S = 120.0
_STUDY, _SERIES, _INSTANCE = "1.2.3.1", "1.2.3.2", "1.2.3.3"
_ANY = 99_999_999


@dataclass
class Storm:
    """What came of many associations at once.

    ``waits_s`` are the seconds from the first byte of each C-STORE request to its response,
    ``one_more`` the answer to an association more, and ``let_in`` whether it found a place once
    another had ended.
    """

    waits_s: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    one_more: bytes = b""
    let_in: bool = False


def uid(kind: str, number: int) -> str:
    """A UID whose length is the same for every number."""
    return f"{kind}.1{number:08d}"


def requests(datasets: Sequence[Dataset]) -> list[bytes]:
    """Return the C-STORE requests of a series, to be sent as those of others by `renumbered`."""
    found = []
    for place, dataset in enumerate(datasets):
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = uid(_STUDY, _ANY), uid(_SERIES, _ANY)
        dataset.SOPInstanceUID = f"{uid(_INSTANCE, _ANY)}.1{place:03d}"
        found.append(store_request(dataset, encoded(dataset), _PIECE))
    return found


def renumbered(request: bytes, series: int, instance: int) -> bytes:
    """Return a request for another series of another study."""
    for kind, number in ((_STUDY, series), (_SERIES, series), (_INSTANCE, instance)):
        request = request.replace(uid(kind, _ANY).encode(), uid(kind, number).encode())
    return request


def ask(port: int, calling: str = "SENDER") -> tuple[socket.socket, bytes]:
    """Ask for an association; return the connection and the answer."""
    connection = socket.create_connection(("127.0.0.1", port), _ANSWER_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.sendall(associate_request(calling, contexts=_CONTEXTS))
    return connection, read_pdu(connection)


def store(connection: socket.socket, *parts: bytes | memoryview) -> tuple[int, float]:
    """Send a C-STORE request; return the status of its response and the seconds until it came.

    Raises
    ------
    ConnectionError
        The node ended the association.
    """
    began = time.perf_counter()
    for part in parts:
        connection.sendall(part)
    answer = read_pdu(connection)
    waited = time.perf_counter() - began
    at = answer.find(_STATUS)
    if at < 0:
        raise ConnectionError("the node ended an association")
    return int.from_bytes(answer[at + len(_STATUS) :][:2], "little"), waited


def send(port: int, calling: str, parts: Sequence[bytes], series: int) -> Counter[int]:
    """Send a series in an association of its own; return how often each status came."""
    connection, answer = ask(port, calling)
    with connection:
        if answer[:1] != bytes((ACCEPTED,)):
            raise ConnectionError("the node refused an association")
        found = Counter(store(connection, renumbered(part, series, series))[0] for part in parts)
        _release(connection)
    return found


def storm(port: int, associations: int, images: int, request: bytes) -> Storm:
    """Open associations, then send images over all at once; each brings a series of its own."""
    found = Storm()
    head, rest = request[:_HEAD], memoryview(request)[_HEAD:]  # which all may share
    with ExitStack() as opened:
        connections = []
        for _ in range(associations):
            connection, answer = ask(port)
            connections.append(opened.enter_context(connection))
            if answer[:1] != bytes((ACCEPTED,)):
                raise ConnectionError(f"association {len(connections)} was refused")
        refused, found.one_more = ask(port)
        refused.close()

        def bring(number: int) -> list[tuple[int, float]]:
            first = number * images
            return [
                store(connections[number], renumbered(head, number, first + image), rest)
                for image in range(images)
            ]

        with ThreadPoolExecutor(associations) as at_once:
            for answers in at_once.map(bring, range(associations)):
                found.statuses.update(status for status, _wait in answers)
                found.waits_s += [wait for _status, wait in answers]
        _release(connections[0])
        found.let_in = wait_for(lambda: _is_let_in(port), 10, "place for one more")
        for connection in connections[1:]:
            _release(connection)
    return found


def _is_let_in(port: int) -> bool:
    connection, answer = ask(port)
    with connection:
        return answer[:1] == bytes((ACCEPTED,))


def _release(connection: socket.socket) -> None:
    connection.sendall(_RELEASE)
    read_pdu(connection)
