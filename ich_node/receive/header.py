"""The header values that storing needs, out of a data set that is proved to be whole.

One quick walk finds them in a data set that is regular in every way. Whatever is unusual in the
least is left to pydicom and `whole.spans`, which put up with more and take fifty times as long.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from io import BytesIO

import pydicom
from pydicom import Dataset
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.filereader import read_dataset
from pydicom.multival import MultiValue
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from ich_node import bounds
from ich_node.bounds import LONG_VRS, UNDEFINED
from ich_node.receive import inflate
from ich_node.receive.whole import Buffer, Cut, after_items, spans

KEYWORDS = (
    "ImageType",
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyDate",
    "Modality",
    "SeriesDescription",
    "ManufacturerModelName",
    "PatientID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "AcquisitionNumber",
    "InstanceNumber",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "ImagesInAcquisition",
)
_SHORT_VRS = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
_WANTED = {
    int(tag_for_keyword(keyword) or 0): (keyword, dictionary_VR(keyword).encode())
    for keyword in KEYWORDS
}
# Characters that are kept of a value: what its VR allows (PS3.5 6.2), and of numbers, which many
# write longer, four times as much. A longer number is none.
_MOST = {"LO": 64, "CS": 16, "DA": 8, "IS": 48, "DS": 64}
_MOST_VALUES = 16
_LONGEST = 1 << 16  # bytes of an element that are looked at
_CHARACTER_SET = 0x00080005
_BEFORE_ALL = 0x0007FFFF  # groups of command sets and of file meta information
_EXPLICIT, _IMPLICIT, _LENGTH = struct.Struct("<HH2sH"), struct.Struct("<HHL"), struct.Struct("<L")
# One value in plain ASCII, which every character set reads alike, padded as the VR wants it.
_PLAIN = re.compile(rb"((?:[!-\[\]-~](?:[ -\[\]-~]*[!-\[\]-~])?)?)(?: *|\0)")
# Several such values; spaces beside a backslash are left to pydicom.
_SEVERAL = re.compile(rb"((?:[!-~]+(?: [!-~]+)*)?) *")
_BESIDE = re.compile(rb" \\|\\ ")
_OF_SEVERAL = frozenset({"ImageType", "ImagePositionPatient", "ImageOrientationPatient"})


class Unreadable(Exception):
    """A data set that pydicom cannot read, for the cause of this error."""


def read(data: Buffer, transfer_syntax_uid: str, meta: Callable[[], bytes]) -> Mapping[str, str]:
    """Return the values of `KEYWORDS`; empty where one is missing or damaged, cut where too long.

    Parameters
    ----------
    data
        The data set as it was sent.
    meta
        Gives the preamble and file meta information that it will be stored with.

    Raises
    ------
    Cut
        The data set ends inside an element.
    Unreadable
        It is none.
    bounds.Excessive
        It has more elements, or sequences in more others, than can be read; or inflates to more.
    """
    if transfer_syntax_uid != DeflatedExplicitVRLittleEndian:
        bounds.check(data, transfer_syntax_uid)
    values = _read_regular(data, transfer_syntax_uid)
    values = values or _read_any(data, transfer_syntax_uid, meta)
    return {keyword: _cut(keyword, text) for keyword, text in values.items()}


def _cut(keyword: str, text: str) -> str:
    """Return so much of a value as a database should hold of it; a UID is held against its rule."""
    vr = dictionary_VR(keyword)
    most = _MOST.get(vr, _LONGEST) * (_MOST_VALUES if keyword in _OF_SEVERAL else 1)
    if len(text) <= most:
        return text
    return "" if vr in ("IS", "DS") else text[:most]


def _read_regular(data: Buffer, transfer_syntax_uid: str) -> dict[str, str] | None:
    """Return the values of a regular data set; None for any other, cut ones included."""
    if transfer_syntax_uid in (DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian):
        return None
    implicit = transfer_syntax_uid == ImplicitVRLittleEndian
    try:
        found = _walk_implicit(data) if implicit else _walk_explicit(data)
    except (struct.error, Cut, RecursionError):
        return None
    values = dict.fromkeys(KEYWORDS, "")
    for keyword, raw in (found or {}).items():
        plain = _plain(keyword, raw)
        if plain is None:
            return None
        values[keyword] = plain
    return values if found else None


def _plain(keyword: str, raw: bytes) -> str | None:
    several = keyword in _OF_SEVERAL
    found = (_SEVERAL if several else _PLAIN).fullmatch(raw)
    if found is None or (several and _BESIDE.search(raw)):
        return None
    return found[1].decode()


def _walk_explicit(data: Buffer) -> dict[str, bytes] | None:
    """Return the wanted values; None where an element is out of order or has an odd VR."""
    found, at, end, last = {}, 0, len(data), _BEFORE_ALL
    while at < end:
        group, element, vr, length = _EXPLICIT.unpack_from(data, at)
        tag, at = group << 16 | element, at + 8
        if tag <= last or group == 0xFFFE:
            return None
        last = tag
        if vr in LONG_VRS:
            (length,) = _LENGTH.unpack_from(data, at)
            at += 4
            if length == UNDEFINED:
                at = after_items(data, at, implicit=vr == b"UN")
                continue
        elif vr not in _SHORT_VRS:
            return None
        if tag in _WANTED:
            keyword, expected = _WANTED[tag]
            if vr != expected:
                return None
            found[keyword] = bytes(data[at : at + min(length, _LONGEST)])
        at += length
    return found if at == end else None


def _walk_implicit(data: Buffer) -> dict[str, bytes] | None:
    """Return the wanted values; None where an element is out of order, or seems explicit."""
    if bytes(data[4:6]).isupper():
        return None
    found, at, end, last = {}, 0, len(data), _BEFORE_ALL
    while at < end:
        group, element, length = _IMPLICIT.unpack_from(data, at)
        tag, at = group << 16 | element, at + 8
        if tag <= last or group == 0xFFFE:
            return None
        last = tag
        if length == UNDEFINED:
            at = after_items(data, at, implicit=True)
            continue
        if tag in _WANTED:
            found[_WANTED[tag][0]] = bytes(data[at : at + min(length, _LONGEST)])
        at += length
    return found if at == end else None


def _read_any(data: Buffer, transfer_syntax_uid: str, meta: Callable[[], bytes]) -> dict[str, str]:
    try:
        if transfer_syntax_uid == DeflatedExplicitVRLittleEndian:
            header = _read_inflated(inflate.beginning(data))
        else:
            found = (
                bytes(data[begins:ends]) for begins, ends in _wanted(data, transfer_syntax_uid)
            )
            header = pydicom.dcmread(BytesIO(b"".join((meta(), *found))))
    except (Cut, bounds.Excessive):
        raise
    except Exception as error:  # whatever a parser raises
        raise Unreadable from error
    return {keyword: _text(header, keyword) for keyword in KEYWORDS}


def _wanted(data: Buffer, transfer_syntax_uid: str) -> Iterator[tuple[int, int]]:
    """Return where the wanted elements begin and end.

    A parser is given them alone: it makes objects of all items of a sequence that nobody wants.
    """
    for span in spans(data, transfer_syntax_uid):
        if span.tag in _WANTED or span.tag == _CHARACTER_SET:
            yield span.begins, span.ends


def _read_inflated(data: bytes) -> Dataset:
    bounds.check(data, ExplicitVRLittleEndian)
    found = bytearray()
    with suppress(Cut):  # it goes on behind what is looked at; its stream has an end of its own
        for begins, ends in _wanted(data, ExplicitVRLittleEndian):
            found += data[begins:ends]
    return read_dataset(BytesIO(found), is_implicit_VR=False, is_little_endian=True)


def _text(header: Dataset, keyword: str) -> str:
    """Return a value as text that every database takes; empty where it is missing or damaged."""
    try:
        raw = header.get_item(keyword)
        if isinstance(raw, RawDataElement) and raw.value and len(raw.value) > _LONGEST:
            header[raw.tag] = raw._replace(value=raw.value[:_LONGEST], length=_LONGEST)
        value = header.get(keyword)
    except Exception:  # whatever a damaged element raises when it is decoded
        return ""
    if value is None:
        return ""
    text = "\\".join(str(item) for item in value) if isinstance(value, MultiValue) else str(value)
    return text.replace("\0", "").encode("utf-8", "replace").decode()
