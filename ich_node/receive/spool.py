"""Bytes to disk: a file under its own name is whole and synced."""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ich_node import faults
from ich_node.receive.whole import Buffer

# Linux has it and Python does not: sync_file_range(2), with its flag SYNC_FILE_RANGE_WRITE.
_sync_file_range = getattr(ctypes.CDLL(None), "sync_file_range", None)
if _sync_file_range is not None:
    _sync_file_range.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
_WRITE = 2
_UID = re.compile(r"[0-9.]{1,64}")
# One thread at a time makes folders: else another could see a folder that is not yet synced.
_making = threading.Lock()


def is_uid(value: str) -> bool:
    """Tell whether a value is safe as a UID (PS3.5 9.1), and so as part of a path."""
    return _UID.fullmatch(value) is not None and ".." not in value and value[0] != "."


@dataclass(frozen=True)
class Part:
    """An object that is written but does not last yet: an open file beside the place it gets."""

    path: Path  # the place
    descriptor: int
    sha256: str  # of the data set alone


def write(path: Path, meta: bytes, data: Buffer) -> None:
    """Write an object so that a power cut leaves all or nothing.

    Raises
    ------
    OSError
        The disk is full or gone; no part file is left.
    """
    (error,) = finish([begin(path, meta, data)])
    if error is not None:
        raise error


def begin(path: Path, meta: bytes, data: Buffer) -> Part:
    """Write an object beside its place; only `finish`, which must follow, makes it last.

    The caller sees to it that nobody else writes the same path meanwhile. A part file that a crash
    left behind is overwritten when the object is sent again.

    Raises
    ------
    OSError
        The disk is full or gone; no part file is left.
    """
    with _making:
        _make(path.parent)
    with open(_beside(path), "wb", opener=_private) as file:
        try:
            file.write(meta)
            file.write(data)
            file.flush()
            _begin_writing(file.fileno())
            sha256 = hashlib.sha256(data).hexdigest()  # while the disk writes
            return Part(path, os.dup(file.fileno()), sha256)
        except OSError:
            _beside(path).unlink(missing_ok=True)
            raise


def finish(parts: Sequence[Part]) -> list[Exception | None]:
    """Sync parts, give them their names, and sync those: each is then there for good.

    The parts of many are finished nearly as quickly as that of one: the file system's journal
    goes to the disk once for all.

    Returns
    -------
    list of OSError or None
        For each part, why it does not last.
    """
    failed: dict[Path, Exception] = {}
    for part in parts:
        with _noting(failed, part):
            _sync(part.descriptor)
            faults.point("receive.written", part.path.stem)
    for part in parts:
        if part.path not in failed:
            with _noting(failed, part):
                _beside(part.path).rename(part.path)
    for folder in {part.path.parent: None for part in parts}:
        with _noting(failed, *(part for part in parts if part.path.parent == folder)):
            _sync_folder(folder)
    for part in parts:
        faults.point("receive.renamed", part.path.stem)
    return [failed.get(part.path) for part in parts]


@contextmanager
def _noting(failed: dict[Path, Exception], *parts: Part) -> Iterator[None]:
    """Note the error of a step for the parts it concerns; a part file of them is removed."""
    try:
        yield
    except OSError as error:
        for part in parts:
            failed.setdefault(part.path, error)
            _beside(part.path).unlink(missing_ok=True)


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.part")


def _sync(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
    _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    _sync(os.open(folder, os.O_RDONLY))
