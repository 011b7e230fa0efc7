"""Pixels are decoded only where they become what their header says, and that is not too much."""

import resource
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from ich_node import codestream
from ich_node.codestream import Unsound
from ich_node.decoding import Undecodable, frame_digests, stored_values
from tests.support import bombs

JPEG = (JPEGBaseline8Bit, JPEGLosslessSV1, JPEGLSLossless)
J2K = (JPEG2000Lossless, HTJ2KLossless)


def header(syntax: str, **values: object) -> Dataset:
    found = Dataset()
    found.Rows, found.Columns, found.SamplesPerPixel, found.BitsAllocated = 72, 68, 1, 16
    found.file_meta = FileMetaDataset()
    found.file_meta.TransferSyntaxUID = UID(syntax)
    for keyword, value in values.items():
        setattr(found, keyword, value)
    return found


@pytest.mark.parametrize("syntax", [*JPEG, *J2K, RLELossless], ids=lambda uid: uid.keyword)
def test_a_stream_of_the_size_of_its_header_may_be_decoded(syntax: str, tmp_path: Path) -> None:
    stream = bombs.stream(syntax, 72, 68, tmp_path)
    codestream.check(header(syntax), encapsulate([stream]))
    codestream.check(header(syntax, NumberOfFrames="2"), encapsulate([stream, stream]))


@pytest.mark.parametrize("syntax", [*JPEG, *J2K], ids=lambda uid: uid.keyword)
def test_a_stream_of_another_size_is_told_with_both(syntax: str, tmp_path: Path) -> None:
    sound, bomb = (bombs.stream(syntax, rows, 68, tmp_path) for rows in (72, 30000))
    for frames in ([bomb], [sound, bomb]):
        with pytest.raises(Unsound, match="30000 rows x 68 columns x 1 samples, its header 72 "):
            codestream.check(header(syntax, NumberOfFrames=len(frames)), encapsulate(frames))


def test_a_stream_inside_a_jp2_file_is_found(tmp_path: Path) -> None:
    jp2 = b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(40) + b"jp2c"
    stream = jp2 + bombs.stream(JPEG2000Lossless, 72, 30000, tmp_path)
    with pytest.raises(Unsound, match="30000 columns"):
        codestream.check(header(JPEG2000Lossless), encapsulate([stream]))


def test_more_tiles_than_any_image_has_are_refused(tmp_path: Path) -> None:
    """Each costs a decoder memory before it is read."""
    stream = bytearray(bombs.stream(JPEG2000Lossless, 72, 68, tmp_path))
    struct.pack_into(">2L", stream, 24, 1, 1)
    with pytest.raises(Unsound, match="4896 tiles"):
        codestream.check(header(JPEG2000Lossless), encapsulate([bytes(stream)]))


SOF = b"\xff\xf7\x00\x0b\x10\x00\x48\x00\x44\x01\x01\x11\x00"


@pytest.mark.parametrize(
    ("stream", "said"),
    [
        (b"\0\0", "no code stream"),
        (b"\xff\xd8\xff\xd9", "describes 0 images"),
        (b"\xff\xd8" + SOF + SOF + b"\xff\xda\0\0", "describes 2 images"),
        (b"\xff\xd8\0\0" + SOF, "damaged before"),
        (b"\xff\xd8" + SOF[:7], "describes 0 images"),
        (b"\xff\xd8\xff\xf8\x00\x0f\x04\x04" + bytes(16), "more rows or columns"),
    ],
)
def test_a_stream_that_does_not_tell_its_size_is_not_decoded(stream: bytes, said: str) -> None:
    with pytest.raises(Unsound, match=said):
        codestream.check(header(JPEGLSLossless), encapsulate([stream]))


def test_run_lengths_have_a_segment_for_each_byte_of_a_pixel(tmp_path: Path) -> None:
    stream = bombs.stream(RLELossless, 72, 68, tmp_path)
    with pytest.raises(Unsound, match="2 segments, 1 are expected"):
        codestream.check(header(RLELossless, BitsAllocated=8), encapsulate([stream]))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"Rows": 0}, "Rows is 0, expected 1 to 65535"),
        ({"Columns": None}, "Columns is absent"),
        ({"NumberOfFrames": -3}, "NumberOfFrames is -3"),
        ({"NumberOfFrames": -19510203}, "NumberOfFrames is beyond that, expected 1 to "),
        ({"BitsAllocated": 128}, "BitsAllocated is 128"),
        ({"Rows": [3, 4]}, "Rows is absent or no number"),
    ],
)
def test_numbers_that_no_image_has_are_refused(values: dict[str, object], said: str) -> None:
    dataset = header(ExplicitVRLittleEndian, PixelData=bytes(8), **values)
    with pytest.raises(Undecodable, match=said):
        stored_values(dataset)


def test_more_than_the_most_is_not_decoded_whatever_there_is_of_it() -> None:
    dataset = header(ExplicitVRLittleEndian, Rows=65535, Columns=65535, PixelData=bytes(8))
    with pytest.raises(Undecodable, match="say 8191 MB, at most 512 MB"):
        stored_values(dataset)
    with pytest.raises(Undecodable, match="say 8191 MB, at most 64 MB"):
        list(frame_digests(dataset, memoryview(bytes(8))))


def test_a_large_frame_is_decoded_in_another_process(tmp_path: Path) -> None:
    """3 kB of zeros are 8 MB; a sound frame, so its digest comes back."""
    script = f"""
import numpy as np, pydicom
from pathlib import Path
from pydicom.uid import RLELossless
from ich_node import decoding
from tests.support.series import head_series, set_pixels, write
[dataset] = head_series(slices=1)
set_pixels(dataset, np.zeros((2048, 2048), np.uint16))
[path] = write([dataset], Path({str(tmp_path)!r}), RLELossless)
found = pydicom.dcmread(path)
pixels = memoryview(found.PixelData)
del found.PixelData
decoding.get_decoder = None
[digest] = decoding.frame_digests(found, pixels)
assert digest.startswith("(2048, 2048) "), digest
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=100)


def test_a_decoder_in_a_process_of_its_own_has_a_limit_of_memory(tmp_path: Path) -> None:
    script = """
import resource, sys
from ich_node import decoding
try:
    decoding.main()
except Exception:
    pass
print(*resource.getrlimit(resource.RLIMIT_AS))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], stdin=subprocess.DEVNULL, capture_output=True, timeout=100
    )
    assert done.stdout.split() == [b"2147483648"] * 2
    assert resource.getrlimit(resource.RLIMIT_AS) != (2 << 30, 2 << 30)
