"""Deflated data sets (PS3.5 A.5), which a few megabytes can make as large as any memory."""

from __future__ import annotations

import mmap
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from ich_node.bounds import MOST_INFLATED, Excessive
from ich_node.receive import spool
from ich_node.receive.room import Room
from ich_node.receive.whole import Buffer, Cut

_HEADER = 16 << 20  # more than what is looked for in a header lies behind
_PIECE = 1 << 16
_AT_ONCE = 1 << 20


def beginning(data: Buffer) -> bytes:
    """Return the first part of what a data set inflates to; the rest is looked through.

    Raises
    ------
    Cut
        The stream does not end.
    Excessive
        It inflates to more than `bounds.MOST_INFLATED` bytes.
    zlib.error
        It is no such stream.
    """
    kept = bytearray()
    for piece in _pieces(data):
        if len(kept) < _HEADER:
            kept += piece
    return bytes(kept)


def onto_disk(data: Buffer, folder: Path, room: Room) -> memoryview:
    """Return all that a data set inflates to, in Explicit VR Little Endian, as it lies on the disk.

    Raises
    ------
    Cut, Excessive, zlib.error
        As of `beginning`.
    OSError
        There is no room.
    """
    size = 0
    with tempfile.TemporaryFile(dir=folder) as file:
        for piece in _pieces(data):
            size += len(piece)
            if not room.holds(len(piece)):
                raise spool.no_room()
            file.write(piece)
        file.flush()
        if size == 0:
            return memoryview(b"")
        return memoryview(mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ))


def _pieces(data: Buffer) -> Iterator[bytes]:
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    total = 0
    for at in range(0, len(data) + _PIECE, _PIECE):
        rest = bytes(data[at : at + _PIECE])
        while not stream.eof and (piece := stream.decompress(rest, _AT_ONCE)):
            rest = stream.unconsumed_tail
            total += len(piece)
            if total > MOST_INFLATED:
                most = f"{MOST_INFLATED >> 20} MB"
                raise Excessive(f"it inflates to more than {most}; send it not deflated")
            yield piece
    if not stream.eof:
        raise Cut
