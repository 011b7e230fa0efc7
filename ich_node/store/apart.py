"""What is kept apart from the spool: objects that came again otherwise, and unreadable files.

No row speaks of these files: they are what their folders hold. They belong to the study of the
object that they came for, and stay while that study is unread, unsent or not confirmed. The copies
of damaged databases are kept apart too, each with the trail that was in it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import sqlalchemy as sa

from ich_node.store import events, mending, retention
from ich_node.store.engine import Connection, Engine, reading, writing
from ich_node.store.retention import Holding
from ich_node.store.tables import instance, study

# Folders of the data folder; in the last one files lie by study and series, as in the spool.
CORRECTIONS, CONFLICTS, UNREADABLE = "header_changed", "conflict", "unreadable"
DATABASE = "database"  # copies of damaged ones lie beside the database

# SOP Instance UID, and the beginning of the SHA-256 of the data set.
_NAME = re.compile(r"([0-9.]+)\.[0-9a-f]{16}\.dcm")
_PART, _GOING = ".part", ".going"


@dataclass(frozen=True)
class Apart:
    """A file that is kept apart.

    Parameters
    ----------
    kind
        Its folder, or `DATABASE`.
    study_instance_uid
        Whose it is; empty where nobody knows.
    at
        When it came last, or was put there; seconds since the epoch.
    size
        Bytes.
    bound
        Why it must stay, for people; empty where it may go.
    """

    kind: str
    path: Path
    study_instance_uid: str
    at: float
    size: int
    bound: str = ""
    files: ClassVar = 1


def files(engine: Engine, data_dir: Path, destinations: Collection[str]) -> list[Apart]:
    """Return the files kept apart, the oldest first; copies of databases are not among them.

    Parameters
    ----------
    destinations
        Names of those that are configured: what others have not got keeps nothing.
    """
    found = list(_look(data_dir))
    if not found:
        return []
    with reading(engine) as connection:
        studies = {uid: _study(connection, uid) for _item, uid in found if uid}
        bound = retention.bound(connection, destinations)
    entered = all(studies.values())
    waiting = set() if entered else _lying(data_dir / "spool")
    kept = []
    for item, uid in found:
        belongs = studies.get(uid, "") or item.study_instance_uid
        why = bound.get(belongs, "")
        if uid in waiting and not studies[uid]:
            why = "what it belongs to is not entered in the database yet"
        kept.append(replace(item, study_instance_uid=belongs, bound=why))
    return sorted(kept, key=lambda item: item.at)


def by_study(kept: Iterable[Apart]) -> list[Holding]:
    """Return the same, counted by kind and study."""
    found: dict[tuple[str, str, str], list[Apart]] = {}
    for item in kept:
        found.setdefault((item.kind, item.study_instance_uid, item.bound), []).append(item)
    return [
        Holding(kind, uid, items[-1].at, len(items), sum(item.size for item in items), why)
        for (kind, uid, why), items in found.items()
    ]


def _look(data_dir: Path) -> Iterator[tuple[Apart, str]]:
    """Return each file, and the UID of the instance, or of the study, that it belongs to."""
    for kind in (CORRECTIONS, CONFLICTS, UNREADABLE):
        for path in sorted((data_dir / kind).rglob("*")):
            above = path.relative_to(data_dir / kind).parts[:-1]
            belongs = above[0] if above else ""
            named = _NAME.match(path.name)
            uid = belongs or (named[1] if named is not None else "")
            with suppress(FileNotFoundError):  # somebody else deletes too
                about = path.stat()
                if path.is_file() and path.suffix != _PART:
                    yield Apart(kind, path, belongs, about.st_mtime, about.st_size), uid


def _study(connection: Connection, uid: str) -> str:
    """Return the study of an instance, or the study itself; empty where neither is known."""
    of_instance = sa.select(instance.c.study_instance_uid).where(instance.c.sop_instance_uid == uid)
    itself = sa.select(study.c.study_instance_uid).where(study.c.study_instance_uid == uid)
    return str(connection.scalar(of_instance.union(itself)) or "")


def _lying(spool: Path) -> set[str]:
    """Return the UIDs of studies and instances in the spool: a new database is filled from it."""
    lying = list(spool.glob("*/*/*.dcm"))
    return {path.stem for path in lying} | {path.parts[-3] for path in lying}


def databases(url: str) -> list[Apart]:
    """Return the copies of damaged databases, the oldest first."""
    found = []
    for path, at in mending.put_by(url):
        with suppress(FileNotFoundError):
            found.append(Apart(DATABASE, path, "", at, path.stat().st_size))
    return found


def delete(
    engine: Engine, destinations: Collection[str], chosen: Sequence[Apart], text: str
) -> int:
    """Delete files of one kind and one study, with an event that names them.

    They first get another name, and go when the event is there for good: a crash on the way leaves
    them to the next pass. One that came again since it was looked at stays.

    Returns
    -------
    int
        How many there were; 0 where something has come up since that keeps them.
    """
    kind, belongs = chosen[0].kind, chosen[0].study_instance_uid
    with writing(engine) as connection:
        if belongs and not retention.may_go(connection, destinations, belongs):
            return 0
        going = [path for item in chosen if (path := _set_going(item)) is not None]
        names = [path.name.removesuffix(_GOING) for path in going]
        if not going:
            return 0
        events.insert(
            connection,
            "apart_deleted",
            f"{len(going)} files kept apart ({kind}): {text}",
            study=belongs or None,
            data={"kind": kind, "files": names},
        )
    for path in going:
        path.unlink(missing_ok=True)
    _remove_empty({path.parent for path in going} if kind == UNREADABLE else set())
    return len(going)


def _set_going(item: Apart) -> Path | None:
    with suppress(FileNotFoundError):
        if item.path.stat().st_mtime == item.at or item.kind == DATABASE:
            name = item.path.name.removesuffix(_GOING) + _GOING
            return item.path.rename(item.path.with_name(name))
    return None


def _remove_empty(folders: Collection[Path]) -> None:
    for folder in folders:
        for each in (folder, folder.parent):
            with suppress(OSError):  # something else lies there
                each.rmdir()
