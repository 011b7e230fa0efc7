"""Files of the spool and rows of the database held against one another.

A crash between the two leaves a file without a row: the peer was told nothing, but the object is
whole, so it is taken in. A disk that lost something leaves a row without a file: it is shown, and
the same object sent again mends it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ich_node import logs
from ich_node.errors import StoreError
from ich_node.receive import spool
from ich_node.receive.intake import (
    CANNOT_UNDERSTAND,
    OUT_OF_RESOURCES,
    SUCCESS,
    Answer,
    Incoming,
    Intake,
    take,
)
from ich_node.settings import Settings, Source
from ich_node.store import apart, events, files
from ich_node.store.engine import may_pass, writing

_log = logs.get(__name__)

# A periodic look goes over the series that got an image within this time, s.
_RECENT_S = 3600.0
# One older than this, s, is read last.
_OLD_S, _LAST = 86400.0, 9
# A file younger than this, s, may be on its way to its row.
_YOUNG_S = 10.0


@dataclass(frozen=True)
class Found:
    """What an audit did: objects taken in, part files removed, files found gone and found back."""

    taken_in: int = 0
    removed: int = 0
    gone: int = 0
    back: int = 0


class _NotNow(Exception):
    """The disk or the database does not let an object in: it waits where it lies."""


def audit_all(intake: Intake, before: float) -> Found:
    """Look at the whole spool, at the start of a receiver.

    Parameters
    ----------
    before
        When this receiver began to listen, epoch s: files older than that are on no way to a row.

    Raises
    ------
    StoreError
        The disk or the database did not let all in; the next look goes on.
    """
    folders = intake.settings.spool_dir.glob("*/*")
    known = set(files.series_since(intake.engine, 0.0))
    on_disk = {(path.parent.name, path.name) for path in folders if path.is_dir()}
    removed = _remove_parts(intake.settings, before)
    return _audit(intake, sorted(known | on_disk), before, removed)


def audit_recent(intake: Intake) -> Found:
    """Look at the series that got an image lately; as `audit_all`."""
    now = time.time()
    recent = files.series_since(intake.engine, now - _RECENT_S)
    return _audit(intake, recent, now - _YOUNG_S, 0)


def _audit(intake: Intake, series: list[tuple[str, str]], before: float, removed: int) -> Found:
    taken_in = gone = back = waiting = 0
    for study, uid in series:
        stored = files.files_of(intake.engine, uid)
        own = intake.settings.spool_dir / study / uid
        lying = _names({str(own), *(item.folder for item in stored)})
        # One that was deleted and lies there came again; a crash kept its row from saying so.
        rows = {item.name for item in stored if not item.deleted}
        for name in lying[str(own)] - rows:
            path = own / name
            if path.suffix != ".dcm" or not _is_older(path, before):
                continue
            try:
                taken_in += _take_in(intake, path)
            except _NotNow:
                waiting += 1
        away = [item for item in stored if item.name not in lying[item.folder]]
        lost = [item for item in away if not (item.missing or item.deleted)]
        found = [item for item in stored if item.missing and item.name in lying[item.folder]]
        for items, missing in ((lost, True), (found, False)):
            if items:
                uids = [item.sop_instance_uid for item in items]
                files.set_missing(intake.engine, study, uid, uids, missing)
        gone, back = gone + len(lost), back + len(found)
        if lost:
            _log.error("stored files are gone", series=uid, files=len(lost))
    done = Found(taken_in, removed, gone, back)
    if done != Found():
        _log.warning("spool looked through", **vars(done))
    if waiting:
        raise StoreError(f"{waiting} files of the spool wait for disk or database to be entered")
    return done


def _names(folders: Iterable[str]) -> dict[str, set[str]]:
    """Return what lies in each folder: that asks the disk once, not for every file."""
    found = {}
    for folder in folders:
        try:
            with os.scandir(folder) as entries:
                found[folder] = {entry.name for entry in entries}
        except (FileNotFoundError, NotADirectoryError):
            found[folder] = set()
    return found


def _is_older(path: Path, before: float) -> bool:
    """Tell whether a file was written before a moment, or after now: then the clock was set."""
    try:
        written = path.stat().st_mtime
        return written < before or written > time.time() + _YOUNG_S
    except FileNotFoundError:
        return False


def _remove_parts(settings: Settings, before: float) -> int:
    """Remove what a crash left half-written; nobody was told that it is stored."""
    parts = list(settings.spool_dir.glob("*/*/*.part"))
    for folder in (apart.CORRECTIONS, apart.CONFLICTS):
        parts += (settings.storage.data_dir / folder).glob("*.part")
    old = [path for path in parts if _is_older(path, before)]
    for path in old:
        path.unlink(missing_ok=True)
    return len(old)


def _take_in(intake: Intake, path: Path) -> bool:
    """Let a file in by the door that objects come in by; True where it is stored now.

    Raises
    ------
    _NotNow
        It may be another time.
    """
    try:
        meta, data = spool.read(path)
        calling = str(meta.get("SourceApplicationEntityTitle", ""))
        incoming = Incoming(
            sop_class_uid=str(meta.MediaStorageSOPClassUID),
            sop_instance_uid=str(meta.MediaStorageSOPInstanceUID),
            transfer_syntax_uid=str(meta.TransferSyntaxUID),
            data=data,
            source=_source(intake.settings, calling, path),
            calling_ae=calling,
            lies_at=path,
        )
        answer = take(intake, incoming)
    except Exception as error:  # whatever a parser raises
        if may_pass(error):
            raise _NotNow from error
        answer = Answer(CANNOT_UNDERSTAND, logs.cause(error)["error"])
    if answer.status == OUT_OF_RESOURCES:
        raise _NotNow
    cause = answer.comment if answer.status != SUCCESS else ""
    if cause:
        _put_aside(intake, path, cause)
    return not cause


def _put_aside(intake: Intake, path: Path, cause: str) -> None:
    """Keep a file apart from now on, in folders of its study and series as in the spool.

    Raises
    ------
    _NotNow
        It may be another time.
    """
    root = intake.settings.storage.data_dir
    aside = root / apart.UNREADABLE / path.relative_to(intake.settings.spool_dir)
    said = f"a file of the spool is no object ({cause}); kept apart as {aside.relative_to(root)}"
    study, series = path.parts[-3:-1]
    try:
        with writing(intake.engine) as connection:
            events.insert(connection, "unreadable", said, study=study, series=series)
            aside.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.utime(path)  # its time begins now, however long it lay in the spool
            path.rename(aside)
    except Exception as error:
        if may_pass(error):
            raise _NotNow from error
        raise
    _log.error("a file of the spool is no object; put aside", path=str(aside), cause=cause)


def _source(settings: Settings, calling_ae: str, path: Path) -> Source:
    """Return the source that the object came from, as far as its calling AE title tells.

    What came long ago is read after all that comes now: its database was lost, and it was read
    before.
    """
    same = [source for source in settings.sources if source.ae_title == calling_ae]
    found = same[0] if same else Source(name="spool", ae_title="SPOOL", hosts=("127.0.0.1",))
    is_old = time.time() - path.stat().st_mtime > _OLD_S
    return found.model_copy(update={"priority": _LAST}) if is_old else found
