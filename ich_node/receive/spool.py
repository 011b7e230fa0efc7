"""Bytes to disk: a file under its own name is whole and synced."""

from __future__ import annotations

import os
import re
from pathlib import Path

_UID = re.compile(r"[0-9.]{1,64}")


def is_uid(value: str) -> bool:
    """Tell whether a value is safe as a UID (PS3.5 9.1), and so as part of a path."""
    return _UID.fullmatch(value) is not None and ".." not in value and value[0] != "."


def write(path: Path, *parts: bytes) -> None:
    """Write parts one after another so that a power cut leaves all or nothing.

    Raises
    ------
    OSError
        The disk is full or gone; no part file is left.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    part = path.with_name(f"{path.name}.{os.getpid()}.{id(parts)}.part")
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            for piece in parts:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        part.rename(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
