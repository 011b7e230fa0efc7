"""How many elements an encoded data set has, and how deep: known before a parser makes objects.

A parser makes hundreds of bytes of each element and calls itself for each level; a few megabytes of
empty elements, or of sequences in sequences, would take gigabytes or end it.
"""

from __future__ import annotations

import functools
import itertools
import mmap
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pydicom.datadict import dictionary_VR
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
)

# Functional groups of 4000 frames have 200,000; of real objects reports nest deepest, 20 levels.
MOST_ELEMENTS, DEEPEST = 1 << 18, 32
# Bytes of a deflated data set, which a parser inflates as a whole: a CT of 500 slices has no more.
MOST_INFLATED = 256 << 20

_Head = tuple[int, bytes, int, bool]  # tag, VR, length; and whether VRs are left out
Buffer = bytes | memoryview | mmap.mmap

UNDEFINED = 0xFFFFFFFF  # length of a value that a delimiter ends
_ITEM, _END_OF_ITEM, _END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD  # the last of a sequence
# Float, Double Float and Pixel Data.
PIXELS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
# VRs with two reserved bytes and a length of four (PS3.5 7.1.2).
LONG_VRS = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
_MAY_HOLD_ITEMS = frozenset({b"SQ", b"UN", b""})
_META_BEGINS, _SYNTAX = 132, 0x00020010
_AT_ONCE = 1 << 20  # bytes that are searched


class Excessive(Exception):
    """A data set beyond the bounds; the text says which."""


class Extent(NamedTuple):
    """How many elements a data set has, and how many bytes, inflated where it is deflated."""

    elements: int
    size: int


@dataclass(frozen=True)
class _Walk:
    """What is walked over, how numbers lie in it, and the count of its elements and items."""

    data: Buffer
    head: struct.Struct
    wide: struct.Struct
    item: bytes
    end_of_sequence: bytes
    counter: Iterator[int]


def check(data: Buffer, transfer_syntax_uid: str, at: int = 0) -> int:
    """Follow a data set to its end; return how many elements, items and fragments that are.

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
    order = ">" if transfer_syntax_uid == ExplicitVRBigEndian else "<"
    head, wide = struct.Struct(f"{order}HH2sH"), struct.Struct(f"{order}L")
    item, end = (struct.pack(f"{order}HH", 0xFFFE, tag & 0xFFFF) for tag in (_ITEM, _END))
    walk = _Walk(data, head, wide, item, end, itertools.count(1))
    implicit = transfer_syntax_uid == ImplicitVRLittleEndian
    _elements(walk, at, (len(data), len(data)), implicit, 0)
    return next(walk.counter) - 1


def check_file(path: Path) -> Extent:
    """As `check`, of a DICOM file (PS3.10 7.1); nothing of one that is none.

    Raises
    ------
    Excessive
        As `check`; or it is deflated, and inflates to more than `MOST_INFLATED` bytes.
    OSError
        It cannot be read.
    """
    with path.open("rb") as file:
        if len(start := file.read(_META_BEGINS)) < _META_BEGINS or start[128:] != b"DICM":
            return Extent(0, 0)
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            begins, syntax = _after_meta(data)
            if syntax == DeflatedExplicitVRLittleEndian:
                inflated = _inflated(data, begins)
                return Extent(check(inflated, ""), len(inflated))
            return Extent(check(data, syntax, begins), len(data) - begins)


def _elements(walk: _Walk, at: int, ends: tuple[int, int], implicit: bool, depth: int) -> int:
    """Follow elements as long as they begin before the first end, to a delimiter or the second."""
    data, unpack, (last, end) = walk.data, walk.head.unpack_from, ends
    if not (implicit and depth):  # other than the syntax says, some are explicit, or implicit
        vr = bytes(data[at + 4 : at + 6])
        implicit = not (vr.isalpha() and vr.isupper()) if len(vr) == 2 else implicit
    while at < last and at + 8 <= end:
        group, element, vr, length = unpack(data, at)
        tag = group << 16 | element
        _count(walk.counter)
        at += 8
        if tag == _END_OF_ITEM:
            return at
        if implicit or not b"AA" <= vr <= b"ZZ":
            vr, (length,) = b"", walk.wide.unpack_from(data, at - 4)
        elif vr in LONG_VRS:
            if at + 4 > end:
                break
            (length,) = walk.wide.unpack_from(data, at)
            at += 4
        if vr not in _MAY_HOLD_ITEMS and length != UNDEFINED:
            at += length
            continue
        at = _value(walk, at, end, (tag, vr, length, implicit), depth)
    return at


def _value(walk: _Walk, at: int, end: int, about: _Head, depth: int) -> int:
    """Follow the value of an element; return where it ends."""
    tag, vr, length, implicit = about
    if _holds_items(tag, vr, length, bytes(walk.data[at : at + 4]) == walk.item):
        known = length != UNDEFINED
        last = min(end, at + length) if known else end
        behind = _items(walk, at, last, implicit or (known and vr == b"UN"), depth + 1)
        return at + length if known else behind
    return at + length if length != UNDEFINED else _fragments(walk, at, end)


def _holds_items(tag: int, vr: bytes, length: int, begins_so: bool) -> bool:
    """Tell a sequence from a value, as a parser does: where no VR says so, by the dictionary."""
    if vr not in (b"", b"UN"):
        return vr == b"SQ"
    if vr and length == UNDEFINED:  # PS3.5 6.2.2
        return True
    known = _is_sequence(tag)
    return begins_so if known is None else known


@functools.lru_cache(maxsize=1 << 13)
def _is_sequence(tag: int) -> bool | None:
    """Tell by the dictionary; None of a tag that it has not."""
    try:
        return bool(dictionary_VR(tag) == "SQ")
    except KeyError:
        return None


def _count(counter: Iterator[int]) -> None:
    if next(counter) > MOST_ELEMENTS:
        raise Excessive(f"it has more than {MOST_ELEMENTS} elements")


def _items(walk: _Walk, at: int, end: int, implicit: bool, depth: int) -> int:
    """Follow the items of a sequence to their end or behind their delimiter."""
    if depth > DEEPEST:
        raise Excessive(f"it has sequences in more than {DEEPEST} others")
    while at + 8 <= end:
        tag, length = _item_head(walk, at)
        at += 8
        if tag == _END:
            return at
        _count(walk.counter)
        last = end if length == UNDEFINED else min(end, at + length)
        at = _elements(walk, at, (last, end), implicit, depth)
    return at


def _fragments(walk: _Walk, begins: int, end: int) -> int:
    """Follow fragments (PS3.5 A.4) to behind their delimiter.

    Where they do not lead to one, a parser goes on behind the first that there is.
    """
    at = begins
    while at + 8 <= end:
        tag, length = _item_head(walk, at)
        if tag == _END:
            return at + 8
        if tag != _ITEM or length == UNDEFINED:
            break
        _count(walk.counter)
        at += 8 + length
    return _behind_delimiter(walk, begins, end)


def _behind_delimiter(walk: _Walk, begins: int, end: int) -> int:
    for at in range(begins, end, _AT_ONCE):
        found = bytes(walk.data[at : min(end, at + _AT_ONCE + 3)]).find(walk.end_of_sequence)
        if found >= 0:
            return at + found + 8
    return end


def _item_head(walk: _Walk, at: int) -> tuple[int, int]:
    group, element, _vr, _length = walk.head.unpack_from(walk.data, at)
    (length,) = walk.wide.unpack_from(walk.data, at + 4)
    return group << 16 | element, length


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
