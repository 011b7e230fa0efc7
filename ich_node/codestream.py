"""What compressed pixels say of their own size, read before anything is decoded.

A decoder makes room for what the code stream claims, whatever Rows and Columns say: two kilobytes
can ask for gigabytes. What claims another size than its header is damaged or hostile.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pydicom import Dataset
from pydicom.encaps import generate_frames
from pydicom.uid import UID, JPEG2000TransferSyntaxes, RLELossless

if TYPE_CHECKING:
    from pydicom.filebase import ReadableBuffer

# What the value representations US and IS hold; of bits the most that any type of pixel has.
_MOST = {
    "Rows": 0xFFFF,
    "Columns": 0xFFFF,
    "SamplesPerPixel": 0xFFFF,
    "BitsAllocated": 64,
    "NumberOfFrames": 0x7FFFFFFF,
}
_MOST_SHOWN = 0xFFFF  # a longer number may be a patient's
# ISO/IEC 15444-1: SOC and SIZ; the box that holds a code stream in a JP2 file (annex I).
_SOC_SIZ, _JP2, _CODE_STREAM = b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  \r\n\x87\n", b"jp2c"
_SIZ = struct.Struct(">8LH")
# Each tile costs a decoder kilobytes before it is read; real ones are of hundreds of pixels.
_MOST_TILES = 4096
# ISO/IEC 10918-1 table B.1 and ISO/IEC 14495-1 table C.1: markers of frames, and without a length.
_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}) | {0xF7}
_BARE = frozenset({0x01, *range(0xD0, 0xD9)})
_SCAN, _END, _PRESET = 0xDA, 0xD9, 0xF8
_OVERSIZE = 4  # of JPEG-LS preset parameters: dimensions above 65535, which DICOM has not


class Unsound(ValueError):
    """Pixels that are not decoded; the text says which number is wrong and what was expected."""


def frames_of(header: Dataset) -> int:
    """Return the Number of Frames (0028,0008), 1 where it is absent.

    Raises
    ------
    Unsound
        It is no such number.
    """
    return _whole(header, "NumberOfFrames")


def frame_size(header: Dataset) -> int:
    """Return what the header says that each frame becomes once it is decoded, bytes.

    Raises
    ------
    Unsound
        The header lacks a number, or has one that no image can have.
    """
    rows, columns, samples = size_of(header)
    return rows * columns * samples * _value_size(header)


def check(header: Dataset, pixels: bytes | ReadableBuffer) -> None:
    """Hold what each frame claims to be against the header; nothing is decoded.

    Parameters
    ----------
    header
        With the image pixel description (PS3.3 C.7.6.3) and the file meta information.
    pixels
        The value of Pixel Data (7FE0,0010), or a file of it; looked at where it is encapsulated
        (PS3.5 A.4).

    Raises
    ------
    Unsound
        A code stream is of another size than the header, or of none.
    """
    syntax = UID(header.file_meta.TransferSyntaxUID)
    expected = size_of(header)
    for frame in _encapsulated(header, pixels) if syntax.is_encapsulated else ():
        if syntax == RLELossless:
            _check_segments(frame, expected[2] * _value_size(header))
            continue
        found = _size_2000(frame) if syntax in JPEG2000TransferSyntaxes else _size_jpeg(frame)
        if found != expected:
            raise Unsound(f"its code stream has {_shown(found)}, its header {_shown(expected)}")


def size_of(header: Dataset) -> tuple[int, int, int]:
    """Return Rows, Columns and Samples per Pixel.

    Raises
    ------
    Unsound
        As `frame_size`.
    """
    return (
        _whole(header, "Rows"),
        _whole(header, "Columns"),
        _whole(header, "SamplesPerPixel"),
    )


def _value_size(header: Dataset) -> int:
    return math.ceil(_whole(header, "BitsAllocated") / 8)


def _whole(header: Dataset, keyword: str) -> int:
    """Return a number above 0; 1 where it is optional and absent."""
    try:
        value = header.get(keyword)
    except Exception as error:  # of an unknown VR, or a value that is none
        raise Unsound(f"{keyword} cannot be read") from error
    if value in (None, "") and keyword in ("NumberOfFrames", "SamplesPerPixel"):
        return 1
    try:
        number = int(value)
    except (TypeError, ValueError) as error:
        raise Unsound(f"{keyword} is absent or no number") from error
    most = _MOST[keyword]
    if not 0 < number <= most:
        shown = number if abs(number) <= _MOST_SHOWN else "beyond that"
        raise Unsound(f"{keyword} is {shown}, expected 1 to {most}")
    return number


def _encapsulated(header: Dataset, pixels: bytes | ReadableBuffer) -> Iterator[bytes]:
    """Yield the frames that pydicom's decoder will see."""
    offsets = header.get("ExtendedOffsetTable"), header.get("ExtendedOffsetTableLengths")
    both = offsets if all(offsets) else None
    yield from generate_frames(pixels, number_of_frames=frames_of(header), extended_offsets=both)


def _shown(size: Sequence[int]) -> str:
    return f"{size[0]} rows x {size[1]} columns x {size[2]} samples"


def _size_2000(stream: bytes) -> tuple[int, int, int]:
    """Return rows, columns and samples of a JPEG 2000 code stream (ISO/IEC 15444-1 A.5.1)."""
    begins = stream.find(_CODE_STREAM) + 4 if stream.startswith(_JP2) else 0
    if stream[begins : begins + 4] != _SOC_SIZ or len(stream) < begins + 8 + _SIZ.size:
        raise Unsound("it is no code stream of JPEG 2000")
    right, bottom, left, top, width, height, tiles_left, tiles_top, samples = _SIZ.unpack_from(
        stream, begins + 8
    )
    if not (width and height and right > left and bottom > top):
        raise Unsound("its code stream has no size")
    tiles = math.ceil((right - tiles_left) / width) * math.ceil((bottom - tiles_top) / height)
    if tiles > _MOST_TILES:
        raise Unsound(f"its code stream has {tiles} tiles, at most {_MOST_TILES} are decoded")
    return bottom - top, right - left, samples


def _size_jpeg(stream: bytes) -> tuple[int, int, int]:
    """Return rows, columns and samples of a JPEG or JPEG-LS code stream, by its only frame."""
    found: list[tuple[int, int, int]] = []
    for marker, segment in _segments(stream):
        if marker in _FRAMES and len(segment) >= 6:
            found.append(struct.unpack_from(">xHHB", segment))
        elif marker == _PRESET and segment[:1] == bytes([_OVERSIZE]):
            raise Unsound("its code stream has more rows or columns than DICOM allows")
    if len(found) != 1:
        raise Unsound(f"its code stream describes {len(found)} images, expected one")
    return found[0]


def _segments(stream: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the marker segments before the first scan (ISO/IEC 10918-1 B.1.1)."""
    if stream[:2] != b"\xff\xd8":
        raise Unsound("it is no code stream of JPEG")
    at = 2
    while at + 4 <= len(stream):
        if stream[at] != 0xFF:
            raise Unsound("its code stream is damaged before its first scan")
        marker = stream[at + 1]
        if marker == 0xFF or marker in _BARE:
            at += 1 if marker == 0xFF else 2
            continue
        if marker in (_SCAN, _END):
            return
        (length,) = struct.unpack_from(">H", stream, at + 2)
        yield marker, stream[at + 4 : at + 2 + length]
        at += 2 + max(length, 2)


def _check_segments(frame: bytes, expected: int) -> None:
    """Hold the header of a run-length encoded frame (PS3.5 G.5) against bytes of a pixel."""
    segments = int.from_bytes(frame[:4], "little")
    if segments != expected:
        raise Unsound(f"it has {segments} segments, {expected} are expected of its header")
