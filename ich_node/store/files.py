"""Which files the rows speak of."""

from __future__ import annotations

import os
from dataclasses import dataclass

import sqlalchemy as sa

from ich_node.store import events
from ich_node.store.engine import Engine, reading, writing
from ich_node.store.tables import instance, series


@dataclass(frozen=True)
class StoredFile:
    """The file of one instance: its folder and its name there.

    They are no `Path`: thousands are looked through twice a minute. ``missing`` where it was not
    there when it was last looked for, ``deleted`` where it was deleted after its time.
    """

    sop_instance_uid: str
    folder: str
    name: str
    missing: bool
    deleted: bool


def series_since(engine: Engine, at: float) -> list[tuple[str, str]]:
    """Return study and series UID of every series that got an image since `at`, epoch s."""
    query = (
        sa.select(series.c.study_instance_uid, series.c.series_instance_uid)
        .where(series.c.last_received_at >= at)
        .order_by(series.c.first_received_at)
    )
    with reading(engine) as connection:
        return [(study, uid) for study, uid in connection.execute(query)]


def files_of(engine: Engine, series_instance_uid: str) -> list[StoredFile]:
    """Return the file of every instance of a series."""
    query = sa.select(
        instance.c.sop_instance_uid, instance.c.path, instance.c.missing, instance.c.deleted_at
    ).where(instance.c.series_instance_uid == series_instance_uid)
    with reading(engine) as connection:
        return [
            StoredFile(uid, *os.path.split(path), missing, deleted_at is not None)
            for uid, path, missing, deleted_at in connection.execute(query)
        ]


def set_missing(
    engine: Engine, study: str, series_uid: str, sop_instance_uids: list[str], missing: bool
) -> None:
    """Note that files are gone, or back; the story of the study says so."""
    text = (
        f"{len(sop_instance_uids)} stored files are gone, the first of {sop_instance_uids[0]}: "
        "send them again, or restore the spool from a copy"
        if missing
        else f"{len(sop_instance_uids)} stored files are back"
    )
    with writing(engine) as connection:
        connection.execute(
            sa.update(instance)
            .where(instance.c.sop_instance_uid.in_(sop_instance_uids))
            .values(missing=missing)
        )
        kind = "files_missing" if missing else "files_back"
        events.insert(connection, kind, text, study=study, series=series_uid)
