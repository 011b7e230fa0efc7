"""Built objects are kept as files and given again byte for byte."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pydicom

from ich_node import __version__, logs
from ich_node.records import Edition, ModelIdentity, Refusal, Revision, Superseded, Wanted
from ich_node.store import results, revisions, works
from ich_node.store.engine import Engine
from ich_node.store.results import KeptResult
from ich_node.uids import derive

_log = logs.get(__name__)

_USUAL = Wanted()
# Kinds of result; one that consists of several objects has a folder of its name.
_KINDS = ("seg", "seg-labelmap", "sr", "sc", "pr")


def result_key(
    sop_instance_uids: Sequence[str], by: ModelIdentity | Refusal, wanted: Wanted = _USUAL
) -> str:
    """Name the work: equal sources, model, version, device and precision give an equal key.

    Of what is wanted the form of the SR counts; other kinds are added to what is there. The report
    that it supersedes is no part of the name: that is fixed when the work is first done, by
    `edition`, so that whoever does it again gets what was built then.
    """
    if isinstance(by, Refusal):
        parts: tuple[str, ...] = ("refused", by.reason, by.text)
    else:
        parts = (by.sha256, by.device, by.precision)
    form = ("enhanced",) if wanted.enhanced_sr else ()
    return derive("result", __version__, *form, *parts, *sorted(sop_instance_uids))


def build_once(folder: Path, build: Callable[[Path], None]) -> bool:
    """Fill a folder of results, or find it filled.

    `build` writes into a part folder beside it, which is synced and renamed when complete: a folder
    under its own name is always whole. One that has lost its SR, which every result has, is built
    anew.

    Returns
    -------
    bool
        True where it was built now, False where it was there.
    """
    if objects_of(folder, "sr"):
        return False
    with _part(folder, "part") as part:
        build(part)
        _sync_all(part)
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
    _sync(folder.parent)
    return True


@contextmanager
def _part(folder: Path, suffix: str) -> Iterator[Path]:
    """Give an empty folder beside a folder of results, and leave nothing of it behind."""
    part = folder.with_name(f"{folder.name}.{suffix}")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True, mode=0o700)
    try:
        yield part
    finally:
        shutil.rmtree(part, ignore_errors=True)


def clear_damaged(engine: Engine, series_instance_uid: str, folder: Path) -> None:
    """Remove a folder of results that has lost an object, or whose bytes are not what was built.

    Built again it is what it was.
    """
    if not folder.is_dir():
        return
    for item in results.of_series(engine, series_instance_uid):
        if folder in item.path.parents and not _is_whole(item):
            _log.warning("kept results are damaged, built again", folder=folder.name)
            shutil.rmtree(folder)
            return


def _is_whole(item: KeptResult) -> bool:
    return item.path.is_file() and _sha256(item.path) == item.sha256


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def build_missing(
    folder: Path, kinds: Collection[str], build: Callable[[Path, Collection[str]], None]
) -> None:
    """Add to a folder of results those kinds that were not asked for when it was built.

    `build` gets a folder and the kinds to write there; each is moved in when all are complete.
    """
    missing = [kind for kind in kinds if not objects_of(folder, kind)]
    if not missing:
        return
    with _part(folder, "more") as part:
        build(part, missing)
        _sync_all(part)
        for made in part.iterdir():
            made.rename(folder / made.name)
        _sync(folder)


def objects_of(folder: Path, kind: str) -> list[Path]:
    """Return the files of one kind in a folder of results, in the order to send."""
    one = folder / f"{kind}.dcm"
    return [one] if one.is_file() else sorted((folder / kind).glob("*.dcm"))


def kept_files(folder: Path) -> list[KeptResult]:
    """Return the objects in a folder of results."""
    return [
        KeptResult(
            kind=kind,
            sop_instance_uid=str(
                pydicom.filereader.read_file_meta_info(path).MediaStorageSOPInstanceUID
            ),
            path=path,
            sha256=_sha256(path),
        )
        for kind in _KINDS
        for path in objects_of(folder, kind)
    ]


def edition(engine: Engine, revision: Revision, folder: Path) -> Edition:
    """Return what was fixed of a result when it was first to be built: now, or long ago."""
    known = works.find(engine, folder.name)
    if known is not None:
        return known
    now = Edition(datetime.now(), _superseded(engine, revision, folder))
    return works.begin(engine, folder.name, now)


def _superseded(engine: Engine, revision: Revision, folder: Path) -> Superseded | None:
    """Return the latest report of an earlier revision that is not in this folder, if it is there.

    The same objects again, after `reprocess`, take no other's place.
    """
    earlier = results.reports_before(engine, revision.series_instance_uid, revision.number)
    for number, path in earlier:
        if path.parent != folder and path.is_file():
            sr = pydicom.dcmread(path, stop_before_pixels=True)
            before = revisions.load(engine, replace(revision, number=number).key)
            same = set(before.sop_instance_uids) == set(revision.sop_instance_uids)
            return Superseded(
                number,
                str(sr.SOPClassUID),
                str(sr.SOPInstanceUID),
                str(sr.SeriesInstanceUID),
                same_images=same,
            )
    return None


def _sync_all(folder: Path) -> None:
    for path in (*folder.rglob("*"), folder):
        _sync(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
