"""Studies, series and instances, as they come in."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import sqlalchemy as sa

from ich_node.records import Arrival, Placing, Received, Sender
from ich_node.states import SERIES, SeriesEvent, SeriesState, after
from ich_node.store import events, transfers
from ich_node.store.engine import Connection, Engine, may_pass, reading, writing
from ich_node.store.prepared import Prepared
from ich_node.store.tables import instance, result, series, study


class Standing(IntEnum):
    """What a SOP Instance UID is to this node."""

    NEW = 0
    STORED = 1
    DELETED = 2  # stored once; its file outlived `[retention]`
    OWN_RESULT = 3


_STANDING = Prepared(
    sa.select(
        sa.case(
            (instance.c.deleted_at.is_(None), sa.literal_column(f"{Standing.STORED:d}")),
            else_=sa.literal_column(f"{Standing.DELETED:d}"),
        )
    )
    .where(instance.c.sop_instance_uid == sa.bindparam("uid"))
    .union_all(
        sa.select(sa.literal_column(f"{Standing.OWN_RESULT:d}")).where(
            result.c.sop_instance_uid == sa.bindparam("uid")
        )
    )
)
_STILL_RECEIVING = Prepared(
    sa.update(series)
    .where(series.c.series_instance_uid == sa.bindparam("uid"))
    .where(series.c.study_instance_uid == sa.bindparam("study"))  # some are sent with two
    .where(series.c.state == str(SeriesState.RECEIVING))
    .values(last_received_at=sa.bindparam("now"))
)
_NEW_INSTANCE = Prepared(
    sa.insert(instance).values(
        {
            column.name: sa.bindparam(column.name)
            for column in instance.c
            if column.name not in ("missing", "deleted_at")
        }
    )
)


def find(engine: Engine, sop_instance_uid: str) -> Received | None:
    """Return the stored instance of this SOP Instance UID, or None."""
    query = (
        sa.select(
            instance,
            series.c.modality,
            series.c.description,
            series.c.source,
            study.c.patient_id,
            study.c.study_date,
        )
        .join(series, series.c.series_instance_uid == instance.c.series_instance_uid)
        .join(study, study.c.study_instance_uid == instance.c.study_instance_uid)
        .where(instance.c.sop_instance_uid == sop_instance_uid)
    )
    with reading(engine) as connection:
        row = connection.execute(query).mappings().first()
    if row is None:
        return None
    return Received(
        sop_class_uid=row["sop_class_uid"],
        sop_instance_uid=row["sop_instance_uid"],
        study_instance_uid=row["study_instance_uid"],
        series_instance_uid=row["series_instance_uid"],
        modality=row["modality"],
        transfer_syntax_uid=row["transfer_syntax_uid"],
        number=row["number"],
        path=Path(row["path"]),
        sha256=row["sha256"],
        size=row["size"],
        source=row["source"],
        calling_ae=row["calling_ae"],
        patient_id=row["patient_id"],
        study_date=row["study_date"],
        series_description=row["description"],
        placing=_placing(row),
    )


def arrivals(engine: Engine, series_instance_uid: str) -> list[Arrival]:
    """Return every stored instance of a series, the first received first."""
    query = (
        sa.select(instance)
        .where(instance.c.series_instance_uid == series_instance_uid)
        .order_by(instance.c.received_at, instance.c.sop_instance_uid)
    )
    with reading(engine) as connection:
        return [
            Arrival(
                sop_instance_uid=row["sop_instance_uid"],
                sop_class_uid=row["sop_class_uid"],
                transfer_syntax_uid=row["transfer_syntax_uid"],
                number=row["number"],
                path=Path(row["path"]),
                received_at=row["received_at"],
                placing=_placing(row),
            )
            for row in connection.execute(query).mappings()
        ]


def _placing(row: sa.RowMapping) -> Placing:
    return Placing(
        image_type=row["image_type"] or "",
        position=row["position"] or "",
        orientation=row["orientation"] or "",
        acquisition=row["acquisition"],
        in_acquisition=row["in_acquisition"],
    )


@dataclass(frozen=True)
class Entry:
    """A new instance, and what its source says of the series: priority, and quiet time in s.

    ``sender`` is None for what was found in the spool.
    """

    received: Received
    priority: int
    quiet_seconds: float
    sender: Sender | None = None


def add(engine: Engine, received: Received, *, priority: int, quiet_seconds: float) -> None:
    """Enter a new instance with its study and series, in one transaction.

    The series is (again) `receiving`; where a revision of it was already complete, the next one
    will supersede it, and an event says so.

    Parameters
    ----------
    received
        What lies in the spool.
    priority
        1 first ... 9 last, of the source.
    quiet_seconds
        The source's quiet time, s.
    """
    (error,) = add_all(engine, [Entry(received, priority, quiet_seconds)])
    if error is not None:
        raise error


def add_all(engine: Engine, entries: Sequence[Entry]) -> list[Exception | None]:
    """Enter new instances, each as `add` does, in one transaction for all if that can be.

    Returns
    -------
    list of Exception or None
        For each entry, what the database raised; that of one keeps no other out. What is wrong
        with the database itself is so for all: each alone would wait as long for its lock.
    """
    try:
        _insert(engine, entries)
    except Exception as error:
        if len(entries) == 1 or may_pass(error):
            return [error] * len(entries)
        return [failed for entry in entries for failed in add_all(engine, [entry])]
    return [None] * len(entries)


def _insert(engine: Engine, entries: Sequence[Entry]) -> None:
    if not entries:
        return
    now = time.time()
    first_of_series = {
        (entry.received.series_instance_uid, entry.received.study_instance_uid): entry
        for entry in reversed(entries)
    }
    with writing(engine) as connection:
        for (uid, of), entry in first_of_series.items():
            if _STILL_RECEIVING.run(connection, uid=uid, study=of, now=now).rowcount == 0:
                _add_study(connection, entry.received, now)
                _touch_series(connection, entry, now)
        senders = {(one.sender, one.received.study_instance_uid): None for one in entries}
        for sender, study_uid in senders:
            if sender is not None:
                transfers.begin(connection, sender, study_uid, now)
        for entry in entries:
            _NEW_INSTANCE.run(connection, **_row(entry, now))


def _row(entry: Entry, now: float) -> dict[str, object]:
    received = entry.received
    return {
        "association": entry.sender.association if entry.sender is not None else None,
        "sop_instance_uid": received.sop_instance_uid,
        "series_instance_uid": received.series_instance_uid,
        "study_instance_uid": received.study_instance_uid,
        "sop_class_uid": received.sop_class_uid,
        "transfer_syntax_uid": received.transfer_syntax_uid,
        "number": received.number,
        "path": str(received.path),
        "sha256": received.sha256,
        "size": received.size,
        "calling_ae": received.calling_ae,
        "received_at": now,
        "image_type": received.placing.image_type,
        "position": received.placing.position,
        "orientation": received.placing.orientation,
        "acquisition": received.placing.acquisition,
        "in_acquisition": received.placing.in_acquisition,
    }


def restore(engine: Engine, received: Received) -> None:
    """Note that the file of a known instance is here again, with these bytes.

    One that had been deleted after its time is kept as long as a new one. Where it is the last of
    those of its series that were missed, the story of the study says so.
    """
    this_one = instance.c.sop_instance_uid == received.sop_instance_uid
    was_deleted = instance.c.deleted_at.is_not(None)
    of_series = instance.c.series_instance_uid == received.series_instance_uid
    missed = sa.select(instance.c.sop_instance_uid).where(of_series, instance.c.missing.is_(True))
    with writing(engine) as connection:
        was_missed = connection.execute(missed.where(this_one)).first() is not None
        connection.execute(
            sa.update(instance)
            .where(this_one)
            .values(
                path=str(received.path),
                transfer_syntax_uid=received.transfer_syntax_uid,
                sha256=received.sha256,
                size=received.size,
                received_at=sa.case((was_deleted, time.time()), else_=instance.c.received_at),
                deleted_at=None,
                missing=False,
            )
        )
        if was_missed and connection.execute(missed).first() is None:
            events.insert(
                connection,
                "files_back",
                "the stored files that were gone are back",
                study=received.study_instance_uid,
                series=received.series_instance_uid,
            )


def standing(engine: Engine, sop_instance_uid: str) -> Standing:
    """Tell what this SOP Instance UID is to us: one of our results, known already, or new."""
    with reading(engine) as connection:
        found = _STANDING.run(connection, uid=sop_instance_uid).fetchall()
    return max((Standing(kind) for (kind,) in found), default=Standing.NEW)


def _add_study(connection: Connection, received: Received, now: float) -> None:
    known = sa.select(study.c.study_instance_uid).where(
        study.c.study_instance_uid == received.study_instance_uid
    )
    if connection.execute(known).first() is None:
        connection.execute(
            sa.insert(study).values(
                study_instance_uid=received.study_instance_uid,
                patient_id=received.patient_id,
                study_date=received.study_date,
                source=received.source,
                first_received_at=now,
            )
        )


def _touch_series(connection: Connection, entry: Entry, now: float) -> None:
    received = entry.received
    this_one = series.c.series_instance_uid == received.series_instance_uid
    known = connection.execute(sa.select(series.c.state, series.c.revision).where(this_one)).first()
    if known is None:
        connection.execute(
            sa.insert(series).values(
                series_instance_uid=received.series_instance_uid,
                study_instance_uid=received.study_instance_uid,
                modality=received.modality,
                description=received.series_description,
                source=received.source,
                priority=entry.priority,
                quiet_seconds=entry.quiet_seconds,
                state=SeriesState.RECEIVING,
                first_received_at=now,
                last_received_at=now,
                revision=0,
            )
        )
        return
    before, number = SeriesState(known.state), known.revision
    state = after(SERIES, before, SeriesEvent.IMAGE)
    connection.execute(sa.update(series).where(this_one).values(state=state, last_received_at=now))
    if before is not state:
        events.insert(
            connection,
            "reopened",
            f"an image came after revision {number} was complete; the series is received again",
            study=received.study_instance_uid,
            series=received.series_instance_uid,
        )
