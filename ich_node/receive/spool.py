"""Bytes to disk: a file under its own name is whole and synced."""

from __future__ import annotations

import ctypes
import errno
import hashlib
import mmap
import os
import re
import tempfile
import threading
from collections.abc import Callable
from functools import partial
from io import FileIO
from pathlib import Path

from pydicom.dataset import FileMetaDataset
from pydicom.filereader import read_file_meta_info

from ich_node import faults
from ich_node.receive.room import Room
from ich_node.receive.whole import Buffer

# Linux has it and Python does not: sync_file_range(2), with its flag SYNC_FILE_RANGE_WRITE.
_sync_file_range = getattr(ctypes.CDLL(None), "sync_file_range", None)
if _sync_file_range is not None:
    _sync_file_range.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
_WRITE = 2
_PIECE = 1 << 20  # bytes; a CT image is one
# Preamble, prefix and the element that tells how long the rest of the file meta information is.
_GROUP_LENGTH_ENDS = 128 + 4 + 12
_UID = re.compile(r"[0-9.]{1,64}")
# One thread at a time makes folders: else another could see a folder that is not yet synced.
_making = threading.Lock()


def is_uid(value: str) -> bool:
    """Tell whether a value is safe as a UID (PS3.5 9.1), and so as part of a path."""
    return _UID.fullmatch(value) is not None and ".." not in value and value[0] != "."


def sync(path: Path) -> None:
    """Make a file that lies there last, under its name.

    Raises
    ------
    OSError
        The disk is gone.
    """
    _sync(path)
    _sync(path.parent)


def write(path: Path, meta: bytes, data: Buffer) -> str:
    """Write an object so that a power cut leaves all or nothing; return its data's SHA-256.

    The caller sees to it that nobody else writes the same path meanwhile. A part file that a crash
    left behind is overwritten when the object is sent again.

    Raises
    ------
    OSError
        The disk is full or gone; no part file is left.
    """
    with _making:
        _make(path.parent)
    part = path.with_name(f"{path.name}.part")
    try:
        with open(part, "wb", buffering=0, opener=_private) as file:
            _write_all(file, meta)
            sha256 = digest(data, partial(_write_begun, file))
            os.fsync(file.fileno())
        faults.point("receive.written", path.stem)
        part.rename(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise
    _sync(path.parent)
    faults.point("receive.renamed", path.stem)
    return sha256


def digest(data: Buffer, first: Callable[[memoryview], None] = lambda _piece: None) -> str:
    """Return the SHA-256 of data, piece by piece: what lies on the disk never is in memory whole.

    Parameters
    ----------
    first
        Is given each piece before it is read.
    """
    found = hashlib.sha256()
    view = memoryview(data)
    for at in range(0, len(view), _PIECE):
        piece = view[at : at + _PIECE]
        first(piece)
        found.update(piece)
        forget(data)
    return found.hexdigest()


def forget(data: Buffer | mmap.mmap) -> None:
    """Let what `scratch` gave count no more as memory of this process, until it is read again."""
    whole = data.obj if isinstance(data, memoryview) else data
    if isinstance(whole, mmap.mmap) and len(whole) > _PIECE:
        whole.madvise(mmap.MADV_DONTNEED)


def scratch(folder: Path, room: Room, size: int) -> mmap.mmap:
    """Return so many bytes of the disk as memory; they are given back when nobody holds them.

    Parameters
    ----------
    size
        Bytes.

    Raises
    ------
    OSError
        There is no room.
    """
    if not room.holds(size):
        raise no_room()
    with tempfile.TemporaryFile(dir=folder) as file:
        os.posix_fallocate(file.fileno(), 0, size)  # else writing to it could kill the process
        return mmap.mmap(file.fileno(), size)


def _write_begun(file: FileIO, data: Buffer) -> None:
    """Write, and let the disk begin with it while other work is done."""
    _write_all(file, data)
    _begin_writing(file.fileno())


def no_room() -> OSError:
    """Return the error of a disk that is full."""
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def read(path: Path) -> tuple[FileMetaDataset, memoryview]:
    """Return the file meta information of a file of ours, and its data set, which is not copied.

    It is memory that the system reads from the disk when it is looked at. All of it is read once
    before: where the disk has errors, that says so; such memory would end the process.

    Raises
    ------
    OSError
        The disk.
    Exception
        It is no DICOM file; whatever a parser raises.
    """
    meta = read_file_meta_info(path)
    begins = _GROUP_LENGTH_ENDS + int(meta.FileMetaInformationGroupLength)
    with path.open("rb", buffering=0) as file:
        while file.read(_PIECE):
            pass
        whole = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    return meta, whole[begins:]


def _write_all(file: FileIO, data: Buffer) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def _begin_writing(descriptor: int) -> None:
    """Let the disk begin, so that the fsync to come waits less; that alone makes it last."""
    if _sync_file_range is not None:
        _sync_file_range(descriptor, 0, 0, _WRITE)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _make(folder: Path) -> None:
    """Make a folder and those above it, each synced in its parent."""
    if folder.is_dir():
        return
    _make(folder.parent)
    folder.mkdir(exist_ok=True, mode=0o700)
    _sync(folder.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
