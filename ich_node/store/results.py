"""Built objects: what was kept of each revision, and that no other bytes leave under its UIDs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from ich_node.errors import StoreError
from ich_node.store.engine import Connection, Engine, reading
from ich_node.store.tables import result, revision


@dataclass(frozen=True)
class KeptResult:
    """A built object: `kind` is one of a destination's `outputs`; `sha256` is of the file."""

    kind: str
    sop_instance_uid: str
    path: Path
    sha256: str


def has_any(connection: Connection, key: str) -> bool:
    """Tell whether objects of a revision are kept."""
    query = sa.select(result.c.kind).where(
        result.c.revision_key == key, result.c.deleted_at.is_(None)
    )
    return connection.execute(query).first() is not None


def newest_key(connection: Connection, series_instance_uid: str) -> str | None:
    """Return the key of the newest revision of a series whose objects are kept; None without."""
    query = (
        sa.select(revision.c.key)
        .join(result, result.c.revision_key == revision.c.key)
        .where(revision.c.series_instance_uid == series_instance_uid, result.c.deleted_at.is_(None))
        .order_by(revision.c.number.desc())
        .limit(1)
    )
    key: str | None = connection.execute(query).scalar()
    return key


def keep(connection: Connection, key: str, kept: Sequence[KeptResult]) -> None:
    """Enter built objects of a revision; the same object again changes nothing.

    Raises
    ------
    StoreError
        Another object is known under the same UID: it must not leave.
    """
    for item in kept:
        known = sa.select(result.c.revision_key, result.c.sha256).where(
            result.c.sop_instance_uid == item.sop_instance_uid
        )
        held = {row.revision_key: row.sha256 for row in connection.execute(known)}
        if any(digest != item.sha256 for digest in held.values()):
            raise StoreError(
                f"{item.kind} {item.sop_instance_uid} was built before with other bytes and may be "
                "known elsewhere by them: it must not leave. Other software, a changed model or "
                "other headers of its images are the likely cause; bring back what was there"
            )
        if key not in held:
            connection.execute(
                sa.insert(result).values(
                    sop_instance_uid=item.sop_instance_uid,
                    revision_key=key,
                    kind=item.kind,
                    path=str(item.path),
                    sha256=item.sha256,
                    built_at=time.time(),
                )
            )


def kept_of(engine: Engine, key: str) -> list[KeptResult]:
    """Return the objects of a revision, SEG before SR (the SR refers to the SEG)."""
    query = (
        sa.select(result.c.kind, result.c.sop_instance_uid, result.c.path, result.c.sha256)
        .where(result.c.revision_key == key, result.c.deleted_at.is_(None))
        .order_by(result.c.kind, result.c.path)
    )
    with reading(engine) as connection:
        return [
            KeptResult(kind, uid, Path(path), digest)
            for kind, uid, path, digest in connection.execute(query)
        ]


def of_series(engine: Engine, series_instance_uid: str) -> list[KeptResult]:
    """Return the objects of every revision of a series that are kept."""
    query = (
        sa.select(result.c.kind, result.c.sop_instance_uid, result.c.path, result.c.sha256)
        .join(revision, result.c.revision_key == revision.c.key)
        .where(revision.c.series_instance_uid == series_instance_uid, result.c.deleted_at.is_(None))
    )
    with reading(engine) as connection:
        return [
            KeptResult(kind, uid, Path(path), digest)
            for kind, uid, path, digest in connection.execute(query)
        ]


def reports_before(engine: Engine, series_instance_uid: str, number: int) -> list[tuple[int, Path]]:
    """Return number and SR of the revisions of a series before this one, the latest first."""
    query = (
        sa.select(revision.c.number, result.c.path)
        .join(result, result.c.revision_key == revision.c.key)
        .where(
            revision.c.series_instance_uid == series_instance_uid,
            revision.c.number < number,
            result.c.kind == "sr",
            result.c.deleted_at.is_(None),
        )
        .order_by(revision.c.number.desc())
    )
    with reading(engine) as connection:
        return [(int(row.number), Path(row.path)) for row in connection.execute(query)]
