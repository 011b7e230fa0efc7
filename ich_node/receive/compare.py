"""Two objects under one SOP Instance UID: the same, a correction, or a conflict."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from enum import StrEnum
from io import BytesIO
from itertools import zip_longest

import pydicom
from pydicom import DataElement, Dataset
from pydicom.datadict import keyword_for_tag
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_data_element
from pydicom.tag import BaseTag

from ich_node import bounds
from ich_node.bounds import PIXELS
from ich_node.decoding import Undecodable, frame_digests
from ich_node.receive.whole import Span, spans
from ich_node.store import apart

# What places pixels in the patient or gives them their meaning: other values are another object.
_GEOMETRY = (
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SOPClassUID",
    "FrameOfReferenceUID",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SliceThickness",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
    "PhotometricInterpretation",
    "RescaleSlope",
    "RescaleIntercept",
    "FloatPixelData",
    "DoubleFloatPixelData",
)
# Differ between two encodings of one object; a compressor notes itself in the derivation.
_ENCODING = frozenset(
    {
        "PixelData",
        "PlanarConfiguration",
        "SpecificCharacterSet",
        "ExtendedOffsetTable",
        "ExtendedOffsetTableLengths",
        "EncapsulatedPixelDataValueTotalLength",
        "DataSetTrailingPadding",
        "DerivationDescription",
        "DerivationCodeSequence",
    }
)

_PIXEL_DATA = 0x7FE00010
# Bytes of a value that is not taken into memory, and of all that are: as objects of Python items of
# a sequence take a hundred times as many. Functional groups of 4000 frames have 6 MB.
_LARGE, _MOST = 1 << 20, 1 << 23
# Elements that are compared at all: each becomes objects, decoded and compared, in a fifth of a
# millisecond. Functional groups of 400 frames have them.
_MOST_ELEMENTS = 20_000
# What has no more elements and bytes than any slice is compared by many threads at once, other
# data sets one after another.
_FEW, _SMALL = 1000, 1 << 18
_reading = threading.Lock()


class Kind(StrEnum):
    """What a second object under a known UID is."""

    DUPLICATE = "duplicate"
    CORRECTION = apart.CORRECTIONS
    CONFLICT = apart.CONFLICTS


@dataclass(frozen=True)
class Difference:
    """How two objects differ: ``keywords`` name elements, never values."""

    kind: Kind
    keywords: tuple[str, ...]


@dataclass(frozen=True)
class Encoded:
    """An object as it is encoded: its file meta information (PS3.10 7.1) and its data set.

    ``data`` is not deflated.
    """

    meta: bytes
    data: memoryview
    transfer_syntax_uid: str


class TooMuch(Exception):
    """So many elements that they are not read into memory."""


@dataclass(frozen=True)
class _Opened:
    """A data set without its pixels and other large values, and where those lie."""

    header: Dataset
    large: Mapping[int, memoryview]


def compare(kept: Encoded, came: Encoded) -> Difference:
    """Compare two data sets of one SOP Instance UID, pixels decoded.

    Pixels that cannot be decoded count as equal only where their bytes are, and so do other values
    of more than 1 MiB. They are never in memory as a whole.

    Raises
    ------
    TooMuch
        One of them has more than 20,000 elements, or more than 8 MiB without these values.
    whole.Cut
        One of them ends inside an element.
    """
    small = _is_small(kept), _is_small(came)
    with nullcontext() if all(small) else _reading:
        return _compared(_open(kept), _open(came))


def _is_small(encoded: Encoded) -> bool:
    """Tell what needs little memory to be compared; nothing is read.

    Raises
    ------
    TooMuch, whole.Cut
        As `compare`.
    """
    try:
        elements = bounds.check(encoded.data, encoded.transfer_syntax_uid)
    except bounds.Excessive as error:
        raise TooMuch from error
    all_spans = spans(encoded.data, encoded.transfer_syntax_uid)
    size = sum(span.size for span in all_spans if not _is_large(span))
    if elements > _MOST_ELEMENTS or size > _MOST:
        raise TooMuch
    return elements <= _FEW and size <= _SMALL


def _is_large(span: Span) -> bool:
    return span.tag in PIXELS or (span.size > _LARGE and not span.nested)


def _compared(ours: _Opened, theirs: _Opened) -> Difference:
    differing = _differing(ours.header, theirs.header) | _differing_large(ours, theirs)
    severe = tuple(name for name in _GEOMETRY if name in differing)
    if severe:
        return Difference(Kind.CONFLICT, severe)
    if not _same_pixels(ours, theirs):
        return Difference(Kind.CONFLICT, ("PixelData",))
    if differing:
        return Difference(Kind.CORRECTION, tuple(sorted(differing)))
    return Difference(Kind.DUPLICATE, ())


def _open(encoded: Encoded) -> _Opened:
    small, large = [encoded.meta], {}
    for span in spans(encoded.data, encoded.transfer_syntax_uid):
        if _is_large(span):
            large[span.tag] = encoded.data[span.value : span.ends]
            continue
        small.append(bytes(encoded.data[span.begins : span.ends]))
    return _Opened(pydicom.dcmread(BytesIO(b"".join(small))), large)


def _differing_large(ours: _Opened, theirs: _Opened) -> set[str]:
    return {
        keyword_for_tag(tag) or str(BaseTag(tag))
        for tag in ours.large.keys() | theirs.large.keys()
        if tag != _PIXEL_DATA and not _same_bytes(ours.large.get(tag), theirs.large.get(tag))
    }


def _same_bytes(one: memoryview | None, other: memoryview | None) -> bool:
    """Compare values a piece at a time; memory as such is compared far more slowly."""
    if one is None or other is None:
        return one is other
    return len(one) == len(other) and all(
        bytes(one[at : at + _LARGE]) == bytes(other[at : at + _LARGE])
        for at in range(0, len(one), _LARGE)
    )


def _differing(kept: Dataset, came: Dataset) -> set[str]:
    """Name the elements with other values; encodings and group lengths (PS3.5 7.2) do not count."""
    found = set()
    for tag in kept.keys() | came.keys():
        name = _name(tag, kept, came)
        if name in _ENCODING or tag.element == 0:
            continue
        one, other = kept.get(tag), came.get(tag)
        if one is None or other is None or not _same_value(one, other):
            found.add(name)
    if "PhotometricInterpretation" in found and _in_colour(kept) and _in_colour(came):
        found.remove("PhotometricInterpretation")  # the colours of the pixels are compared instead
    return found


def _name(tag: BaseTag, *datasets: Dataset) -> str:
    keyword = next(dataset[tag].keyword for dataset in datasets if tag in dataset)
    return str(keyword or tag)


def _same_value(one: DataElement, other: DataElement) -> bool:
    """Equal values; or equal bytes where one VR is unknown, as a private one sent implicit is."""
    if "UN" in (one.VR, other.VR) and one.VR != other.VR:
        return _encoded(one) == _encoded(other)
    return bool(one.value == other.value)


def _encoded(element: DataElement) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, True
    write_data_element(buffer, element)
    return bytes(buffer.getvalue())


def _in_colour(dataset: Dataset) -> bool:
    return str(dataset.get("PhotometricInterpretation", "")).startswith(("RGB", "YBR"))


def _same_pixels(ours: _Opened, theirs: _Opened) -> bool:
    one, other = ours.large.get(_PIXEL_DATA), theirs.large.get(_PIXEL_DATA)
    if _same_bytes(one, other):
        return True
    if one is None or other is None:
        return False
    try:
        frames = zip_longest(frame_digests(ours.header, one), frame_digests(theirs.header, other))
        return all(mine == yours for mine, yours in frames)
    except (Undecodable, MemoryError):  # what cannot be shown equal is not
        return False
