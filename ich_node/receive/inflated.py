"""Deflated data sets (PS3.5 A.5), inflated onto the disk: small ones may become very large."""

from __future__ import annotations

import mmap
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from ich_node.receive import spool
from ich_node.receive.room import Room
from ich_node.receive.whole import Buffer, Cut

_CHUNK = 1 << 20
_LARGEST = 1 << 32  # no value of a known length is longer


def inflate(data: Buffer, folder: Path, room: Room) -> memoryview:
    """Return a deflated data set as it was before, in Explicit VR Little Endian.

    Raises
    ------
    Cut
        The stream has no end.
    ValueError
        It becomes larger than any object.
    zlib.error
        It is no stream.
    OSError
        There is no room.
    """
    size = 0
    with tempfile.TemporaryFile(dir=folder) as file:
        for piece in _pieces(data):
            size += len(piece)
            if size > _LARGEST:
                raise ValueError
            if not room.holds(len(piece)):
                raise spool.no_room()
            file.write(piece)
        file.flush()
        if size == 0:
            return memoryview(b"")
        return memoryview(mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ))


def _pieces(data: Buffer) -> Iterator[bytes]:
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    for at in range(0, len(data), _CHUNK):
        part: Buffer = data[at : at + _CHUNK]
        while not stream.eof:
            piece = stream.decompress(part, _CHUNK)
            part = stream.unconsumed_tail
            yield piece
            if not part and len(piece) < _CHUNK:
                break
    if not stream.eof:
        raise Cut
