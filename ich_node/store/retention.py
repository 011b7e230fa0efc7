"""What of a study may be deleted: nothing unread, unsent, or whose proof is awaited or missed."""

from __future__ import annotations

import shutil
import time
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from ich_node.states import UNFINISHED, DeliveryState, SeriesState
from ich_node.store import events
from ich_node.store.engine import Connection, Engine, reading, writing
from ich_node.store.tables import (
    delivery,
    instance,
    result,
    revision,
    revision_instance,
    series,
)

ORIGINALS, RESULTS = "originals", "results"
# Of these nothing came yet that a destination could hold.
_UNREAD = (SeriesState.RECEIVING, *UNFINISHED, SeriesState.FAILED)
# DELIVERED ends a delivery whose destination offers no proof, or is asked for none: all that will
# ever be known of it is that it said success. Where that must not do, `commitment = "require"` ends
# it as FAILED instead.
_ARRIVED = (DeliveryState.DELIVERED, DeliveryState.CONFIRMED)


@dataclass(frozen=True)
class Holding:
    """What is kept of one study.

    Parameters
    ----------
    kind
        ``originals``, ``results``, or the folder of what is kept apart.
    study_instance_uid
        Its name.
    at
        When the last of it came, or was built; seconds since the epoch.
    files, size
        How many files there are, and their bytes (results: 0, the rows do not say).
    bound
        Why it must stay, for people; empty where it may go.
    """

    kind: str
    study_instance_uid: str
    at: float
    files: int
    size: int
    bound: str


def originals(engine: Engine, destinations: Collection[str]) -> list[Holding]:
    """Return what every study has of stored images, the oldest first.

    Parameters
    ----------
    destinations
        Names of those that are configured: what others have not got keeps nothing.
    """
    kept = (
        sa.select(
            instance.c.study_instance_uid.label("uid"),
            sa.func.max(instance.c.received_at).label("at"),
            sa.func.count().label("files"),
            sa.func.sum(instance.c.size).label("size"),
        )
        .where(instance.c.deleted_at.is_(None))
        .group_by(instance.c.study_instance_uid)
    )
    return _holdings(engine, ORIGINALS, kept, destinations)


def results(engine: Engine, destinations: Collection[str]) -> list[Holding]:
    """Return what every study without stored images has of built objects; as `originals`."""
    with_images = sa.select(instance.c.study_instance_uid).where(instance.c.deleted_at.is_(None))
    kept = (
        sa.select(
            series.c.study_instance_uid.label("uid"),
            sa.func.max(result.c.built_at).label("at"),
            sa.func.count().label("files"),
            sa.literal(0).label("size"),
        )
        .join(revision, revision.c.key == result.c.revision_key)
        .join(series, series.c.series_instance_uid == revision.c.series_instance_uid)
        .where(result.c.deleted_at.is_(None), series.c.study_instance_uid.not_in(with_images))
        .group_by(series.c.study_instance_uid)
    )
    return _holdings(engine, RESULTS, kept, destinations)


def _holdings(
    engine: Engine,
    kind: str,
    kept: sa.Select[tuple[str, float, int, int]],
    destinations: Collection[str],
) -> list[Holding]:
    with reading(engine) as connection:
        rows = connection.execute(kept.order_by("at")).all()
        held = bound(connection, destinations)
    return [
        Holding(kind, row.uid, row.at, row.files, row.size, held.get(row.uid, "")) for row in rows
    ]


def bound(
    connection: Connection, destinations: Collection[str], uids: Collection[str] | None = None
) -> dict[str, str]:
    """Return why studies must be kept as they are, by their UID; only those that must.

    A series binds the study that it was first sent in, and every other that images of it came in.

    Parameters
    ----------
    uids
        Of the series that are looked at; None: of all.
    """
    columns = series.c.study_instance_uid, instance.c.study_instance_uid.label("of_image")
    of_series = instance.c.series_instance_uid == series.c.series_instance_uid
    unread = (
        sa.select(*columns, series.c.state)
        .join(instance, of_series)
        .where(series.c.state.in_(_UNREAD))
        .distinct()
    )
    unsent = (
        sa.select(*columns, delivery.c.destination, delivery.c.state)
        .join(instance, of_series)
        .join(revision, revision.c.series_instance_uid == series.c.series_instance_uid)
        .join(delivery, delivery.c.revision_key == revision.c.key)
        .where(delivery.c.state.not_in(_ARRIVED), delivery.c.destination.in_(destinations))
        .distinct()
    )
    if uids is not None:
        unread = unread.where(series.c.series_instance_uid.in_(uids))
        unsent = unsent.where(series.c.series_instance_uid.in_(uids))
    found: dict[str, str] = {}
    for first, of_image, destination, state in connection.execute(unsent):
        found |= dict.fromkeys((first, of_image), f"results for {destination} are {state}")
    for first, of_image, state in connection.execute(unread):
        found |= dict.fromkeys((first, of_image), f"a series is {state}")
    return found


def _series_of(connection: Connection, study: str) -> list[str]:
    """Return the UIDs of the series of a study: careless anonymising sends some in two."""
    first_sent = sa.select(series.c.series_instance_uid).where(series.c.study_instance_uid == study)
    with_images = sa.select(instance.c.series_instance_uid).where(
        instance.c.study_instance_uid == study
    )
    return list(connection.execute(first_sent.union(with_images)).scalars())


def delete_originals(engine: Engine, destinations: Collection[str], study: str, text: str) -> int:
    """Delete the stored images of a study; its rows stay and say so.

    A crash on the way leaves files gone whose rows speak of them still; the next pass, or the next
    start, goes on with them.

    Returns
    -------
    int
        How many there were; 0 where something has come up since that keeps them.
    """
    with writing(engine) as connection:
        if not may_go(connection, destinations, study):
            return 0
        paths = _mark(connection, instance, instance.c.study_instance_uid == study)
        for path in paths:
            path.unlink(missing_ok=True)
        for folder in {path.parent for path in paths}:
            for each in (folder, folder.parent):
                with suppress(OSError):  # something else lies there
                    each.rmdir()
        events.insert(connection, "originals_deleted", f"{len(paths)} images: {text}", study=study)
    return len(paths)


def delete_results(engine: Engine, destinations: Collection[str], study: str, text: str) -> int:
    """Delete the built objects of a study, with the folders that hold them; as `delete_originals`.

    What was found stays in the rows.
    """
    keys = (
        sa.select(revision.c.key)
        .join(series, series.c.series_instance_uid == revision.c.series_instance_uid)
        .where(series.c.study_instance_uid == study)
    )
    with writing(engine) as connection:
        if not may_go(connection, destinations, study):
            return 0
        paths = _mark(connection, result, result.c.revision_key.in_(keys))
        for folder in {path.parent for path in paths}:
            shutil.rmtree(folder, ignore_errors=True)
        events.insert(connection, "results_deleted", f"{len(paths)} objects: {text}", study=study)
    return len(paths)


def may_go(connection: Connection, destinations: Collection[str], study: str) -> bool:
    """Tell whether nothing binds a study; until the transaction ends nothing new can come to it."""
    uids = _series_of(connection, study)
    locked = sa.select(series.c.state).where(series.c.series_instance_uid.in_(uids))
    connection.execute(locked.with_for_update())
    return study not in bound(connection, destinations, uids)


def _mark(connection: Connection, table: sa.Table, chosen: sa.ColumnElement[bool]) -> list[Path]:
    """Mark the chosen rows of a table as deleted; return the paths of their files."""
    kept = chosen, table.c.deleted_at.is_(None)
    paths = connection.execute(sa.select(table.c.path).where(*kept)).scalars().all()
    connection.execute(sa.update(table).where(*kept).values(deleted_at=time.time()))
    return [Path(path) for path in paths]


def deleted_of(engine: Engine, key: str) -> tuple[int, int]:
    """Return how many images of a revision were deleted, and how many it has."""
    query = (
        sa.select(sa.func.count(instance.c.deleted_at), sa.func.count())
        .join(
            revision_instance, revision_instance.c.sop_instance_uid == instance.c.sop_instance_uid
        )
        .where(revision_instance.c.revision_key == key)
    )
    with reading(engine) as connection:
        deleted, images = connection.execute(query).one()
    return int(deleted), int(images)


def deleted_images(connection: Connection, series_instance_uid: str) -> int:
    """Return how many images of a series were deleted."""
    query = sa.select(sa.func.count(instance.c.deleted_at)).where(
        instance.c.series_instance_uid == series_instance_uid
    )
    return int(connection.execute(query).scalar_one())
