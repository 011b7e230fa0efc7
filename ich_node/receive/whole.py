"""Is an encoded data set whole, and where in it lies what? No value is read or copied."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from pydicom.uid import (
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
)

from ich_node.bounds import LONG_VRS, UNDEFINED

_ITEM, _END_OF_ITEM, _END_OF_SEQUENCE = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD

Buffer = bytes | memoryview


@dataclass(frozen=True)
class _Coding:
    implicit: bool
    order: str  # of struct: "<" or ">"


_IMPLICIT_LITTLE = _Coding(implicit=True, order="<")


class Cut(Exception):
    """The data set ends inside an element."""


@dataclass(frozen=True)
class Span:
    """Where an element of a data set lies: where it begins, where its value does, and its end.

    ``vr`` is empty where it is not written; ``nested`` where the value is a sequence of items, as
    encapsulated pixels are too (PS3.5 A.4).
    """

    tag: int
    vr: bytes
    begins: int
    value: int
    ends: int
    nested: bool

    @property
    def size(self) -> int:
        """Bytes, those of tag, VR and length included."""
        return self.ends - self.begins


def spans(data: Buffer, transfer_syntax_uid: str) -> Iterator[Span]:
    """Return where each element of a data set lies; those inside of sequences are part of them.

    A cut between two elements of the data set cannot be seen. Zero bytes after the last element
    are taken for padding.

    Parameters
    ----------
    data
        The data set as it was sent, without preamble and file meta information; not deflated.
    transfer_syntax_uid
        Its encoding; one that is not known is taken for Explicit VR Little Endian.

    Raises
    ------
    Cut
        It ends inside an element, a sequence or a fragment (PS3.5 7.1, A.4).
    RecursionError
        Sequences nested beyond all reason.
    """
    coding = _coding(data, transfer_syntax_uid)
    at = 0
    while bytes(data[at : at + 8]).strip(b"\0"):
        tag, vr, length, value = _header(data, at, coding)
        ends = _after_value(data, value, vr, length, coding)
        first = bytes(data[value : value + 4])
        nested = vr == b"SQ" or struct.pack(f"{coding.order}HH", 0xFFFE, 0xE000) == first
        yield Span(tag, vr, at, value, ends, nested)
        at = ends


def _coding(data: Buffer, transfer_syntax_uid: str) -> _Coding:
    implicit = transfer_syntax_uid == ImplicitVRLittleEndian
    return _Coding(
        implicit=implicit and not bytes(data[4:6]).isupper(),  # some send explicit VRs all the same
        order=">" if transfer_syntax_uid == ExplicitVRBigEndian else "<",
    )


def after_items(data: Buffer, at: int, *, implicit: bool) -> int:
    """Follow a value of undefined length in little endian; return where the next element begins.

    Raises
    ------
    Cut
        It does not end.
    RecursionError
        Sequences nested beyond all reason.
    """
    return _items(data, at, _Coding(implicit=implicit, order="<"))


def _elements(data: Buffer, at: int, coding: _Coding) -> int:
    """Follow the elements of an item of undefined length, to behind its delimiter."""
    while True:
        tag, vr, length, at = _header(data, at, coding)
        if tag == _END_OF_ITEM:
            return at
        at = _after_value(data, at, vr, length, coding)


def _after_value(data: Buffer, at: int, vr: bytes, length: int, coding: _Coding) -> int:
    if length != UNDEFINED:
        return _skip(data, at, length)
    # What is unknown is implicit inside (PS3.5 6.2.2).
    return _items(data, at, _IMPLICIT_LITTLE if vr == b"UN" else coding)


def _items(data: Buffer, at: int, coding: _Coding) -> int:
    """Follow the items or fragments of a value of undefined length, to behind its delimiter."""
    while True:
        tag, _vr, length, at = _header(data, at, _Coding(True, coding.order))
        if tag == _END_OF_SEQUENCE:
            return at
        if tag != _ITEM:
            raise Cut
        at = _skip(data, at, length) if length != UNDEFINED else _elements(data, at, coding)


def _header(data: Buffer, at: int, coding: _Coding) -> tuple[int, bytes, int, int]:
    """Read tag, VR and length of an element; return them and where its value begins."""
    if at + 8 > len(data):
        raise Cut
    group, element = struct.unpack_from(f"{coding.order}HH", data, at)
    tag, vr = group << 16 | element, bytes(data[at + 4 : at + 6])
    if coding.implicit or group == 0xFFFE or not vr.isupper():
        return tag, b"", struct.unpack_from(f"{coding.order}L", data, at + 4)[0], at + 8
    if vr not in LONG_VRS:
        return tag, vr, struct.unpack_from(f"{coding.order}H", data, at + 6)[0], at + 8
    if at + 12 > len(data):
        raise Cut
    return tag, vr, struct.unpack_from(f"{coding.order}L", data, at + 8)[0], at + 12


def _skip(data: Buffer, at: int, length: int) -> int:
    if at + length > len(data):
        raise Cut
    return at + length
