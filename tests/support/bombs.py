"""Small code streams that claim large images, for every transfer syntax that is decoded here."""

import struct
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image
from pydicom import Dataset, Sequence
from pydicom.encaps import generate_frames
from pydicom.uid import (
    UID,
    JPEG2000Lossless,
    JPEG2000TransferSyntaxes,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    JPEGLSTransferSyntaxes,
    RLELossless,
)

from tests.support.series import head_series, write

_SIZ, _SOF55, _SOF0 = b"\xff\x4f\xff\x51", b"\xff\xf7", b"\xff\xc0"
# One Huffman code, of difference 0; the scan of one sample (ISO/IEC 10918-1 B.2.3, B.2.4.2).
_TABLE = b"\xff\xc4\x00\x14\x00\x01" + bytes(15) + b"\x00"
_SCAN = b"\xff\xda\x00\x08\x01\x01\x00\x01\x00\x00"


def stream(syntax: str, rows: int, columns: int, folder: Path) -> bytes:
    """Return a code stream of a few kilobytes that claims to be of this size.

    Of 72 x 68 it is a sound one.
    """
    uid = UID(syntax)
    if uid in JPEG2000TransferSyntaxes:
        found = bytearray(_compressed(JPEG2000Lossless, folder))
        at = found.index(_SIZ) + 8
        struct.pack_into(">2L", found, at, columns, rows)
        struct.pack_into(">2L", found, at + 16, columns, rows)
        return bytes(found)
    if uid in JPEGLSTransferSyntaxes:
        return _resized(_compressed(JPEGLSLossless, folder), _SOF55, rows, columns)
    if uid == RLELossless:
        return _compressed(RLELossless, folder)
    if uid == JPEGBaseline8Bit:
        whole = BytesIO()
        Image.fromarray(np.zeros((72, 68), np.uint8)).save(whole, "JPEG")
        return _resized(whole.getvalue(), _SOF0, rows, columns)
    frame = b"\xff\xc3\x00\x0b\x10" + struct.pack(">HH", rows, columns) + b"\x01\x01\x11\x00"
    return b"\xff\xd8" + frame + _TABLE + _SCAN + bytes(2000) + b"\xff\xd9"


def _compressed(syntax: UID, folder: Path) -> bytes:
    [path] = write(head_series(slices=1), folder / syntax, syntax)
    return next(generate_frames(pydicom.dcmread(path).PixelData, number_of_frames=1))


def _resized(found: bytes, marker: bytes, rows: int, columns: int) -> bytes:
    at = found.index(marker) + 5
    return found[:at] + struct.pack(">HH", rows, columns) + found[at + 4 :]


def nested(levels: int, undefined_length: bool = False) -> Sequence:
    """Return a sequence of one item, in which lies another, so many in all."""
    found = Sequence([Dataset()])
    for _ in range(levels - 1):
        outer = Dataset()
        outer.RequestAttributesSequence = found
        outer["RequestAttributesSequence"].is_undefined_length = undefined_length
        found = Sequence([outer])
        outer.is_undefined_length_sequence_item = undefined_length
    return found


def levels(head: bytes, count: int, undefined_length: bool) -> bytes:
    """Return an encoded sequence of one item with the same in it, so many in all.

    ``head`` is tag, VR and reserved bytes in Explicit VR Little Endian.
    """
    if undefined_length:
        begin = head + b"\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
        return begin * count + b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0" * count
    found = b""
    for _ in range(count):
        item = b"\xfe\xff\x00\xe0" + struct.pack("<L", len(found)) + found
        found = head + struct.pack("<L", len(item)) + item
    return found
