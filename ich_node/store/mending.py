"""A database file that is damaged or gone: noticed, kept aside, and never silently begun anew.

What came lies in the spool, and what was built in the folder of results: from these a new database
is filled, and the same work gives the same objects. The jobs of the engine lie in the same file.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy.engine import make_url

from ich_node.errors import Damaged
from ich_node.store import destinations
from ich_node.store.engine import Engine, is_damage, writing

# The write-ahead log goes first: without it the file is found damaged again, or as it was.
_PARTS = ("-wal", "-shm", "")
_DAMAGED, _STAMP = ".damaged-", "%Y%m%dT%H%M%SZ"
ADVICE = (
    "restart `ich-node serve`: it keeps the file aside and makes another from the spool; "
    "or stop it and put back a copy"
)


@dataclass(frozen=True)
class Fault:
    """What is wrong: the file is ``gone``, or damaged as ``text`` says."""

    path: Path
    gone: bool
    text: str


def look_at(url: str) -> Fault | None:
    """Look whether the database can be read as a whole; None where it can, or is no file.

    Reads the file once. One that cannot be looked at now (locked, no descriptor) is not damaged.
    """
    path = _file_of(url)
    if path is None:
        return None
    if not is_there(url):
        return Fault(path, True, "it is not there")
    try:
        with closing(sqlite3.connect(path, timeout=1.0)) as connection:
            if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                return Fault(path, True, "it holds no table")
            [(said,), *_] = connection.execute("PRAGMA quick_check(1)")
    except sqlite3.Error as error:
        return Fault(path, False, str(error)) if is_damage(error) else None
    return None if said == "ok" else Fault(path, False, " ".join(str(said).split()))


def is_there(url: str) -> bool:
    """Tell whether the database is a file that is there, or is no file."""
    path = _file_of(url)
    return path is None or (path.is_file() and path.stat().st_size > 0)


def _file_of(url: str) -> Path | None:
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite" or parsed.database in (None, "", ":memory:"):
        return None
    return Path(str(parsed.database))


def watcher(url: str) -> Callable[[], None]:
    """Return what tells, by `Damaged`, that the file is not the one that lies there now any more.

    Those who have it open would go on with a file that nobody else can find. It is not opened: to
    close it would give up the locks that this process has on it (sqlite.org/howtocorrupt.html).
    """
    path = _file_of(url)
    if path is None:
        return lambda: None
    begun = _identity(path)

    def look() -> None:
        now = _identity(path)
        if now is None:
            raise Damaged(f"{path} was taken away while the node runs")
        if now != begun:
            raise Damaged(f"{path} was replaced while the node runs")

    return look


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def put_aside(path: Path, now: float) -> Path:
    """Give the file and what belongs to it a dated name; return that of the file.

    Raises
    ------
    OSError
        The folder cannot be written.
    """
    stamp = datetime.fromtimestamp(now, UTC).strftime(_STAMP)
    aside = path.with_name(f"{path.name}{_DAMAGED}{stamp}")
    for part in _PARTS:
        with suppress(FileNotFoundError):
            path.with_name(path.name + part).rename(aside.with_name(aside.name + part))
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return aside


def put_by(url: str) -> list[tuple[Path, float]]:
    """Return the files that `put_aside` named, and when it did, epoch s; the oldest first."""
    path = _file_of(url)
    found = []
    for part in path.parent.glob(f"{path.name}{_DAMAGED}*") if path is not None else ():
        stamp = part.name.split(_DAMAGED)[1][: len("20260131T083000Z")]
        with suppress(ValueError):  # somebody else's name
            at = datetime.strptime(stamp, _STAMP).replace(tzinfo=UTC)
            found.append((part, at.timestamp()))
    return sorted(found, key=lambda item: item[1])


def keep_holds(damaged: Path, engine: Engine) -> list[str] | None:
    """Hold the destinations that a damaged database says are held; return their names.

    None where it cannot be read: then nobody knows.
    """
    try:
        names = list(_held(damaged))
    except sqlite3.Error:
        return None
    with writing(engine) as connection:
        for name in names:
            destinations.hold(connection, name)
    return names


def _held(damaged: Path) -> Iterator[str]:
    with closing(sqlite3.connect(f"{damaged.resolve().as_uri()}?mode=ro", uri=True)) as connection:
        yield from (
            name for (name,) in connection.execute("SELECT destination FROM held_destination")
        )
