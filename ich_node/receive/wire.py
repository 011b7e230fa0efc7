"""DIMSE messages out of a connected socket, and PDUs into it.

The fragments of a data set are read to where they stay: nothing is copied and nothing decoded.
"""

from __future__ import annotations

import mmap
import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from ich_node.receive import command, pdu, spool

_BUFFER = 1 << 20  # of an association; a CT image fits
# What is larger lies on the disk, for memory is less: so much at first, all given back when its
# message is done.
_SCRATCH = 16 << 20
_LONGEST_COMMAND = 1 << 16
# A fragment may be empty; a message of nothing else would never end, and never be slow.
_MOST_EMPTY = 1000
# What every message may take, and the least that must pass of it in each second beyond that.
_GRACE_S, _SLOWEST = 60.0, 1024
_PIECE = 16 << 10  # of what is sent: a record of TLS


class Broken(Exception):
    """What the peer sends is no upper layer protocol; `reason` is that of the A-ABORT."""

    def __init__(self, reason: int) -> None:
        super().__init__(reason)
        self.reason = reason


class Released(Exception):
    """The peer asks for release (A-RELEASE-RQ)."""


class Gone(Exception):
    """The peer aborted or closed the connection."""


class TooSlow(Exception):
    """A message comes byte by byte: it would hold its place for ever."""

    def __init__(self) -> None:
        super().__init__(f"an object came slower than {_SLOWEST} bytes/s")


class Unread(Exception):
    """The peer does not read what it is sent, or byte by byte; nothing more can be told it."""

    def __init__(self) -> None:
        super().__init__(f"an answer was read slower than {_SLOWEST} bytes/s")


@dataclass(frozen=True)
class Message:
    """A DIMSE request. `data` is valid until the next message is read.

    Where there was no room for its data set it does not ``fit``: that was read and dropped.
    """

    context_id: int
    command: dict[int, bytes]
    data: memoryview
    fits: bool = True


def set_timeout(connection: socket.socket, seconds: float) -> None:
    """Let the system end each read and write after this time (BlockingIOError).

    Python's own time-out would ask the system twice for every piece; TLS needs it all the same
    (TimeoutError).
    """
    if isinstance(connection, ssl.SSLSocket):
        connection.settimeout(seconds)
        return
    whole = int(seconds)
    value = struct.pack("ll", whole, int((seconds - whole) * 1e6))
    connection.settimeout(None)
    for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        connection.setsockopt(socket.SOL_SOCKET, option, value)


def _lasts_too_long(began: float, passed: int) -> bool:
    """Tell whether a message of which so many bytes have passed should be at its end."""
    return time.monotonic() - began > _GRACE_S + passed / _SLOWEST


def send(connection: socket.socket, content: bytes) -> None:
    """Send PDUs.

    Raises
    ------
    Unread
        The peer reads none of it within the time-out, or all of it too slowly.
    OSError
        The connection breaks.
    """
    left, began = memoryview(content), time.monotonic()
    try:
        while left:
            left = left[connection.send(left[:_PIECE]) :]
            if left and _lasts_too_long(began, len(content) - len(left)):
                raise Unread
    except (BlockingIOError, TimeoutError) as error:
        raise Unread from error


def _room(size: int) -> mmap.mmap:
    """Return memory that goes back to the system when it is no longer held, all of it."""
    return mmap.mmap(-1, size)


class Wire:
    """The connection of an association: one request after another.

    Parameters
    ----------
    accepted
        Transfer syntax of each accepted presentation context.
    scratch
        Gives so many bytes for a large data set; an OSError says that there is no room.
    """

    def __init__(
        self,
        connection: socket.socket,
        accepted: Mapping[int, str],
        scratch: Callable[[int], mmap.mmap],
    ) -> None:
        self._connection = connection
        self._scratch = scratch
        self._accepted = accepted
        self._flags = 0 if isinstance(connection, ssl.SSLSocket) else socket.MSG_WAITALL
        self._left = 0  # bytes of a P-DATA-TF that were not read yet
        self._buffer = _room(_BUFFER)
        self._came = 0  # bytes of the message at hand
        self._began = 0.0

    @property
    def within_message(self) -> bool:
        """Tell whether more of a message has come than the head of a PDU, but not all."""
        return self._came > pdu.HEAD.size

    def read_message(self) -> Message:
        """Read the next request with its data set (PS3.7 6.3.1, PS3.8 annex E).

        Raises
        ------
        Broken
            The bytes are not what the standard says.
        Released, Gone
            The association ends.
        TooSlow
            It would never end.
        OSError
            The connection breaks, or nothing comes in its time-out.
        """
        if len(self._buffer) > _BUFFER:
            self._buffer = _room(_BUFFER)
        message = self._read_message()
        self._came = 0
        return message

    def _read_message(self) -> Message:
        context_id, request = self._read_command()
        try:
            has_data = command.number(request, command.DATA_SET_TYPE) != command.NO_DATA_SET
        except command.Unreadable as error:
            raise Broken(pdu.INVALID_PARAMETER) from error
        if not has_data:
            return Message(context_id, request, memoryview(b""))
        data = self._read_data(context_id)
        return Message(context_id, request, data or memoryview(b""), fits=data is not None)

    def _read_command(self) -> tuple[int, dict[int, bytes]]:
        found = b""
        for context_id, length in self._fragments(pdu.IS_COMMAND, None):
            if len(found) + length > _LONGEST_COMMAND:
                raise Broken(pdu.INVALID_PARAMETER)
            found += self._read(length)
            last = context_id
        try:
            return last, command.decode(found)
        except command.Unreadable as error:
            raise Broken(pdu.INVALID_PARAMETER) from error

    def _read_data(self, context_id: int) -> memoryview | None:
        """Read a data set; None where there was no room for it."""
        used, fits = 0, True
        for _context, length in self._fragments(0, context_id):
            end = used + length
            while used < end:
                piece = min(end - used, _BUFFER)  # a length is a claim: room is made as it comes
                fits = fits and self._make_room(used, piece)
                at = used if fits else 0
                self._fill(memoryview(self._buffer)[at : at + piece])
                used += piece
                spool.forget(self._buffer)
        return memoryview(self._buffer)[:used] if fits else None

    def _make_room(self, used: int, more: int) -> bool:
        """Make room behind what is used; False where there is none."""
        if used + more > len(self._buffer):
            try:
                larger = self._scratch(max(2 * len(self._buffer), _SCRATCH))
            except OSError:
                self._buffer = _room(_BUFFER)
                return False
            larger[:used] = memoryview(self._buffer)[:used]
            self._buffer = larger
        return True

    def _fragments(self, kind: int, context_id: int | None) -> Iterator[tuple[int, int]]:
        """Yield context ID and length of each fragment of a command set or data set, to its last.

        The one who iterates reads the fragment before asking for the next.
        """
        flags = empty = 0
        while not flags & pdu.IS_LAST:
            if not self._left:
                self._left = self._next_p_data()
            if self._left < pdu.PDV_HEAD.size:
                raise Broken(pdu.INVALID_PARAMETER)
            head = self._read(pdu.PDV_HEAD.size)
            length, context, flags = pdu.PDV_HEAD.unpack(head)
            length -= 2  # context ID and message control header
            self._left -= pdu.PDV_HEAD.size + length
            if length < 0 or self._left < 0 or context not in self._accepted:
                raise Broken(pdu.INVALID_PARAMETER)
            if flags & pdu.IS_COMMAND != kind or context_id not in (None, context):
                raise Broken(pdu.INVALID_PARAMETER)
            empty += length == 0
            if empty > _MOST_EMPTY:
                raise Broken(pdu.INVALID_PARAMETER)
            context_id = context
            yield context, length

    def _next_p_data(self) -> int:
        """Read the head of the next PDU; return the length of what follows it.

        Raises
        ------
        Broken
            It is a PDU that nobody expects now (PS3.8 table 9-10, AA-8).
        Released, Gone
            It ends the association.
        """
        kind, length = pdu.HEAD.unpack(self._read(pdu.HEAD.size))
        if kind == pdu.P_DATA_TF:
            return int(length)
        if kind == pdu.A_RELEASE_RQ:
            raise Released
        if kind == pdu.A_ABORT:
            raise Gone
        raise Broken(pdu.UNEXPECTED_PDU if kind in pdu.TYPES else pdu.UNRECOGNISED_PDU)

    def _read(self, count: int) -> bytes:
        """Read exactly so many bytes; raises as `_fill`."""
        found = bytearray(count)
        self._fill(memoryview(found))
        return bytes(found)

    def _fill(self, view: memoryview) -> None:
        """Read what fills a buffer, and no more.

        Raises
        ------
        Gone
            The connection ends before.
        TooSlow
            The message at hand came too slowly so far.
        OSError
            The connection breaks, or nothing comes in its time-out.
        """
        while view:
            got = self._connection.recv_into(view, 0, self._flags)
            if got == 0:
                raise Gone
            view = view[got:]
            if not self._came:
                self._began = time.monotonic()
            self._came += got
            if _lasts_too_long(self._began, self._came):
                raise TooSlow
