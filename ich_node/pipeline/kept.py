"""Built objects are kept as files and given again byte for byte."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pydicom

from ich_node import __version__
from ich_node.records import ModelIdentity, Refusal, Revision, Superseded
from ich_node.store import results
from ich_node.store.engine import Engine
from ich_node.store.results import KeptResult
from ich_node.uids import derive

_KINDS = ("seg", "sr")


def result_key(sop_instance_uids: Sequence[str], by: ModelIdentity | Refusal) -> str:
    """Name the work: equal sources, model, version, device and precision give an equal key."""
    if isinstance(by, Refusal):
        parts: tuple[str, ...] = ("refused", by.reason, by.text)
    else:
        parts = (by.sha256, by.device, by.precision)
    return derive("result", __version__, *parts, *sorted(sop_instance_uids))


def build_once(folder: Path, build: Callable[[Path], None]) -> bool:
    """Fill a folder of results, or find it filled.

    `build` writes into a part folder beside it, which is synced and renamed when complete: a folder
    under its own name is always whole.

    Returns
    -------
    bool
        True where it was built now, False where it was there.
    """
    if folder.is_dir():
        return False
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True, mode=0o700)
    build(part)
    for path in (*part.iterdir(), part):
        _sync(path)
    part.rename(folder)
    _sync(folder.parent)
    return True


def kept_files(folder: Path) -> list[KeptResult]:
    """Return the objects in a folder of results."""
    return [
        KeptResult(
            kind=kind,
            sop_instance_uid=str(
                pydicom.filereader.read_file_meta_info(path).MediaStorageSOPInstanceUID
            ),
            path=path,
            sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        )
        for kind in _KINDS
        if (path := folder / f"{kind}.dcm").is_file()
    ]


def superseded(engine: Engine, revision: Revision, folder: Path) -> Superseded | None:
    """Return the latest report of an earlier revision that is not in this folder, if it is there.

    The same objects again, after `reprocess`, take no other's place.
    """
    earlier = results.reports_before(engine, revision.series_instance_uid, revision.number)
    for number, path in earlier:
        if path.parent != folder and path.is_file():
            sr = pydicom.dcmread(path, stop_before_pixels=True)
            names = (sr.SOPClassUID, sr.SOPInstanceUID, sr.SeriesInstanceUID)
            return Superseded(number, *(str(name) for name in names))
    return None


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
