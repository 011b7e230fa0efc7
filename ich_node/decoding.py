"""Pixels of what others sent, by whatever decoder pydicom finds: one kind of error.

`python -m ich_node.decoding` takes a DICOM file as its input and writes a line for each frame.
"""

from __future__ import annotations

import hashlib
import os
import resource
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader, RawIOBase
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy.typing as npt
import pydicom
from pydicom import Dataset
from pydicom.pixels import as_pixel_options, get_decoder, iter_pixels
from pydicom.uid import (
    UID,
    JPEG2000TransferSyntaxes,
    JPEGBaseline8Bit,
    JPEGLSTransferSyntaxes,
    RLELossless,
)

from ich_node import codestream

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

# pydicom tries every decoder it finds, GDCM's among them, which ends the process where a code
# stream of JPEG 2000 or JPEG-LS is damaged. These report an error.
_DECODERS = {
    JPEGBaseline8Bit: "pillow",
    RLELossless: "pylibjpeg",
    **dict.fromkeys(JPEGLSTransferSyntaxes, "pyjpegls"),
    **dict.fromkeys(JPEG2000TransferSyntaxes, "pylibjpeg"),
}


# What a decoder in a process of its own may take, and how many there are at once.
_CHILD_S, _CHILD_BYTES = 60.0, 2 << 30
_children = threading.BoundedSemaphore(2)
# Bytes that the pixels of one object may be once they are decoded: a volume of 1024 slices.
MOST_BYTES = 512 << 20
# Bytes of a frame that a process which must live decodes itself: an image of 1024 x 1024 and more
# is no more. A decoder may take a hundred times as much; larger ones are left to another process,
# and to none what no detector has.
_LARGE_FRAME, _MOST_FRAME = 4 << 20, 64 << 20
_AT_ONCE = 1 << 20  # values
_PIXELS_OF_UNDEFINED_LENGTH = b"\xe0\x7f\x10\x00OB\x00\x00\xff\xff\xff\xff"  # PS3.5 A.4


class Undecodable(Exception):
    """A decoder gave up, and the text is the name of its error; or it says why none was asked."""


def stored_values(dataset: Dataset) -> npt.NDArray[Any]:
    """Return the stored values as pydicom shapes them: (row, column), (frame, row, column) or so.

    Raises
    ------
    Undecodable
        Whatever the decoder raised; or the pixels are more than `MOST_BYTES`, or their code stream
        is of another size than the header says.
    MemoryError
        The values do not fit into memory.
    """
    with _one_error():
        _check_size(codestream.frame_size(dataset) * codestream.frames_of(dataset), MOST_BYTES)
        codestream.check(dataset, dataset.get("PixelData") or b"")
        if plugin := _DECODERS.get(UID(dataset.file_meta.TransferSyntaxUID)):
            dataset.pixel_array_options(decoding_plugin=plugin)
        values: npt.NDArray[Any] = dataset.pixel_array
        return values


def frame_digests(header: Dataset, pixels: memoryview) -> Iterator[str]:
    """Yield what tells the stored values of each frame; one at a time is in memory.

    For a process that must live: a decoder that may end it, or take much memory, runs in another.

    Parameters
    ----------
    header
        The data set without its pixels, with its file meta information.
    pixels
        The value of Pixel Data (7FE0,0010) as it is encoded.

    Raises
    ------
    Undecodable, MemoryError
        As `stored_values`.
    OSError
        There is no room for the other process's copy.
    """
    syntax = UID(header.file_meta.TransferSyntaxUID)
    with _one_error():
        size = codestream.frame_size(header)
        _check_size(size, _MOST_FRAME)
        if syntax.is_encapsulated:
            codestream.check(header, _file(pixels))
    if syntax.is_encapsulated and (syntax not in _DECODERS or size > _LARGE_FRAME):
        yield from _digests_of_a_child(header, pixels)
        return
    with _one_error():
        kind = {"pixel_keyword": "PixelData", "pixel_vr": "OW"}
        frames = get_decoder(syntax).iter_array(
            _file(pixels) if syntax.is_encapsulated else pixels,
            decoding_plugin=_DECODERS.get(syntax, ""),
            **as_pixel_options(header, **kind),
        )
        for values, _about in frames:
            yield _digest(values)


def _digest(values: npt.NDArray[Any]) -> str:
    """Equal for equal values, whatever their order of bytes and however many those are."""
    found = hashlib.sha256()
    for at in range(0, values.size, _AT_ONCE):
        found.update(values.reshape(-1)[at : at + _AT_ONCE].astype("<i8").data)
    return f"{values.shape} {found.hexdigest()}"


def _check_size(size: int, most: int) -> None:
    if size > most:
        text = f"Rows, Columns and frames say {size >> 20} MB, at most {most >> 20} MB are decoded"
        raise Undecodable(text)


def _file(pixels: memoryview) -> BinaryIO:
    return cast("BinaryIO", BufferedReader(_View(pixels)))


class _View(RawIOBase):
    """Memory as a file, which is not copied."""

    def __init__(self, view: memoryview) -> None:
        self._view, self._at = view, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: len(self._view)}[whence]
        self._at = max(0, start + offset)
        return self._at

    def readinto(self, buffer: WriteableBuffer) -> int:
        target = memoryview(buffer)
        some = self._view[self._at : self._at + len(target)]
        target[: len(some)] = some
        self._at += len(some)
        return len(some)


@contextmanager
def _one_error() -> Iterator[None]:
    try:
        yield
    except (MemoryError, Undecodable):
        raise
    except codestream.Unsound as error:
        raise Undecodable(str(error)) from error
    except Exception as error:
        raise Undecodable(type(error).__name__) from error
    except BaseException as error:  # a decoder in Rust panics, and that is no Exception
        if type(error).__name__ != "PanicException":
            raise
        raise Undecodable(type(error).__name__) from error


def _digests_of_a_child(header: Dataset, pixels: memoryview) -> list[str]:
    about = header.group_dataset(0x0028)
    about.file_meta = header.file_meta
    command = [sys.executable, "-m", "ich_node.decoding"]
    with _children, tempfile.TemporaryFile() as file:  # no more copies than children
        pydicom.dcmwrite(file, about, enforce_file_format=True)
        file.write(_PIXELS_OF_UNDEFINED_LENGTH)
        file.write(pixels)
        file.seek(0)
        done = subprocess.run(  # noqa: S603  ourselves
            command, stdin=file, capture_output=True, text=True, timeout=_CHILD_S, check=False
        )
    if done.returncode != 0:
        raise Undecodable(f"a decoder ended with status {done.returncode}")
    return done.stdout.splitlines()


def main() -> None:
    """Decode what comes in, in the place of a process that must live."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = _CHILD_BYTES if hard == resource.RLIM_INFINITY else min(hard, _CHILD_BYTES)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    file = cast("BinaryIO", sys.stdin.buffer)
    syntax = UID(pydicom.dcmread(file, stop_before_pixels=True).file_meta.TransferSyntaxUID)
    for values in iter_pixels(file, decoding_plugin=_DECODERS.get(syntax, "")):
        print(_digest(values))  # noqa: T201


if __name__ == "__main__":
    main()
