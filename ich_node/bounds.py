"""How many elements an encoded data set has, and how deep: known before a parser makes objects.

A parser makes hundreds of bytes of each element and calls itself for each level; a few megabytes of
empty elements, or of sequences in sequences, would take gigabytes or end it.
"""

from __future__ import annotations

import itertools
import mmap
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
)

# Functional groups of 4000 frames have 200,000; of real objects reports nest deepest, 20 levels.
MOST_ELEMENTS, DEEPEST = 1 << 18, 32
# Bytes of a deflated data set, which a parser inflates as a whole: a CT of 500 slices has no more.
MOST_INFLATED = 256 << 20

Buffer = bytes | memoryview | mmap.mmap

UNDEFINED = 0xFFFFFFFF  # length of a value that a delimiter ends
_ITEM, _END_OF_SEQUENCE = 0xFFFEE000, 0xFFFEE0DD
_DELIMITERS = frozenset({0xFFFEE00D, _END_OF_SEQUENCE})
# Float, Double Float and Pixel Data.
PIXELS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
# VRs with two reserved bytes and a length of four (PS3.5 7.1.2), and of fragments (A.4).
LONG_VRS = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
_FRAGMENTS = frozenset({b"OB", b"OW"})
_MAY_HOLD_ITEMS = frozenset({b"SQ", b"UN", b""})
_META_BEGINS, _SYNTAX = 132, 0x00020010


class Excessive(Exception):
    """A data set beyond the bounds; the text says which."""


@dataclass(frozen=True)
class _Walk:
    """What is walked over, how numbers lie in it, and the count of its elements and items."""

    data: Buffer
    head: struct.Struct
    wide: struct.Struct
    item: bytes
    counter: Iterator[int]


def check(data: Buffer, transfer_syntax_uid: str, at: int = 0) -> int:
    """Follow a data set up to its pixels; return how many elements that are.

    Parameters
    ----------
    data
        The data set, not deflated; what is cut or damaged is looked at as far as it goes.
    transfer_syntax_uid
        Its encoding; one that is not known is taken for Explicit VR Little Endian.
    at
        Where in ``data`` it begins.

    Raises
    ------
    Excessive
        It has more than `MOST_ELEMENTS`, or sequences in more than `DEEPEST` others.
    """
    implicit = transfer_syntax_uid == ImplicitVRLittleEndian
    implicit = implicit and not bytes(data[at + 4 : at + 6]).isupper()  # some are explicit
    order = ">" if transfer_syntax_uid == ExplicitVRBigEndian else "<"
    head, wide = struct.Struct(f"{order}HH2sH"), struct.Struct(f"{order}L")
    item = struct.pack(f"{order}HH", _ITEM >> 16, _ITEM & 0xFFFF)
    walk = _Walk(data, head, wide, item, itertools.count(1))
    _elements(walk, at, len(data), implicit, 0)
    return next(walk.counter) - 1


def check_file(path: Path) -> int:
    """As `check`, of a DICOM file (PS3.10 7.1); 0 of one that is none.

    Raises
    ------
    Excessive
        As `check`; or it is deflated, and inflates to more than `MOST_INFLATED` bytes.
    OSError
        It cannot be read.
    """
    with path.open("rb") as file:
        if len(start := file.read(_META_BEGINS)) < _META_BEGINS or start[128:] != b"DICM":
            return 0
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            begins, syntax = _after_meta(data)
            if syntax == DeflatedExplicitVRLittleEndian:
                return check(_inflated(data, begins), "")
            return check(data, syntax, begins)


def _elements(walk: _Walk, at: int, end: int, implicit: bool, depth: int) -> int:
    """Follow the elements of a data set or an item to its end or behind its delimiter."""
    data, unpack, counter = walk.data, walk.head.unpack_from, walk.counter
    while at + 8 <= end:
        group, element, vr, length = unpack(data, at)
        tag = group << 16 | element
        _count(counter)
        if tag in _DELIMITERS:
            return at + 8
        if tag in PIXELS and depth == 0:
            return end
        at += 8
        if implicit or not vr.isupper():
            vr, (length,) = b"", walk.wide.unpack_from(data, at - 4)
        elif vr in LONG_VRS:
            if at + 4 > end:
                break
            (length,) = walk.wide.unpack_from(data, at)
            at += 4
        if length == UNDEFINED:
            at = _items(walk, at, end, (implicit or vr == b"UN", vr in _FRAGMENTS), depth + 1)
            continue
        if vr in _MAY_HOLD_ITEMS and bytes(data[at : at + 4]) == walk.item:
            _items(walk, at, min(end, at + length), (implicit or vr == b"UN", False), depth + 1)
        at += length
    return end


def _count(counter: Iterator[int]) -> None:
    if next(counter) > MOST_ELEMENTS:
        raise Excessive(f"it has more than {MOST_ELEMENTS} elements")


def _items(walk: _Walk, at: int, end: int, kind: tuple[bool, bool], depth: int) -> int:
    """Follow items, or fragments, to their end or behind their delimiter."""
    if depth > DEEPEST:
        raise Excessive(f"it has sequences in more than {DEEPEST} others")
    implicit, fragments = kind
    while at + 8 <= end:
        if bytes(walk.data[at : at + 4]) != walk.item:
            group, element, _vr, _length = walk.head.unpack_from(walk.data, at)
            return at + 8 if group << 16 | element == _END_OF_SEQUENCE else at
        (length,) = walk.wide.unpack_from(walk.data, at + 4)
        _count(walk.counter)
        at += 8
        if length == UNDEFINED:
            at = _elements(walk, at, end, implicit, depth)
            continue
        if not fragments:
            _elements(walk, at, min(end, at + length), implicit, depth)
        at += length
    return end


def _after_meta(data: Buffer) -> tuple[int, str]:
    """Return where the data set of a file begins, and its transfer syntax."""
    at, syntax = _META_BEGINS, ""
    while at + 12 <= len(data) and bytes(data[at : at + 2]) == b"\x02\0":
        _group, element, vr, length = struct.unpack_from("<HH2sH", data, at)
        at += 8
        if vr in LONG_VRS:
            (length,) = struct.unpack_from("<L", data, at)
            at += 4
        if element == _SYNTAX & 0xFFFF:
            syntax = bytes(data[at : at + length]).decode("ascii", "replace").strip("\0 ")
        at += length
    return at, syntax


def _inflated(data: Buffer, at: int) -> bytes:
    found = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data[at:], MOST_INFLATED + 1)
    if len(found) > MOST_INFLATED:
        raise Excessive(f"it inflates to more than {MOST_INFLATED >> 20} MB")
    return found
