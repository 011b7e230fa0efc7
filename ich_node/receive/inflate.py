"""Deflated data sets (PS3.5 A.5), which a few megabytes can make as large as any memory."""

from __future__ import annotations

import zlib

from ich_node.receive.whole import Buffer, Cut

# A CT of 500 slices is no larger; what is stored is inflated as a whole when it is analysed.
MOST = 256 << 20
_HEADER = 16 << 20  # more than what is looked for in a header lies behind
_PIECE = 1 << 16
_AT_ONCE = 1 << 20


class TooLarge(Exception):
    """It inflates to more than `MOST` bytes."""


def beginning(data: Buffer) -> bytes:
    """Return the first part of what a data set inflates to; the rest is looked through.

    Raises
    ------
    Cut
        The stream does not end.
    TooLarge
        It inflates to too much.
    zlib.error
        It is no such stream.
    """
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    kept, total = bytearray(), 0
    for at in range(0, len(data) + _PIECE, _PIECE):
        rest = bytes(data[at : at + _PIECE])
        while not stream.eof and (piece := stream.decompress(rest, _AT_ONCE)):
            rest = stream.unconsumed_tail
            total += len(piece)
            if total > MOST:
                raise TooLarge
            if len(kept) < _HEADER:
                kept += piece
    if not stream.eof:
        raise Cut
    return bytes(kept)
