"""Revisions: what is analysed together, how far it is, and what came of it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from ich_node.errors import StoreError
from ich_node.records import Revision
from ich_node.states import SERIES, UNFINISHED, SeriesEvent, SeriesState, after
from ich_node.store import events, turns
from ich_node.store.engine import Connection, Engine, reading, writing
from ich_node.store.events import NO_FACTS, Facts
from ich_node.store.jobs import Jobs, enqueue_analysis
from ich_node.store.tables import instance, revision, revision_instance, series, study


@dataclass(frozen=True)
class Receiving:
    """A series that is still being received. Times in seconds since the epoch."""

    series_instance_uid: str
    study_instance_uid: str
    source: str
    last_received_at: float
    quiet_seconds: float


def receiving(engine: Engine) -> list[Receiving]:
    """Return every series in state `receiving`."""
    query = sa.select(
        series.c.series_instance_uid,
        series.c.study_instance_uid,
        series.c.source,
        series.c.last_received_at,
        series.c.quiet_seconds,
    ).where(series.c.state == SeriesState.RECEIVING)
    with reading(engine) as connection:
        return [Receiving(*row) for row in connection.execute(query)]


def open_revision(engine: Engine, jobs: Jobs, found: Receiving, evidence: str) -> str | None:
    """Declare a series complete: its revision, its state and its job in one transaction.

    Returns
    -------
    str or None
        The revision's key; None where an image has come since `found` was read.
    """
    with writing(engine) as connection:
        row = _series_row(connection, found.series_instance_uid)
        unchanged = row["last_received_at"] == found.last_received_at
        if row["state"] != SeriesState.RECEIVING or not unchanged:
            return None
        return _open(connection, jobs, row, SeriesEvent.COMPLETE, evidence)


def reopen(connection: Connection, jobs: Jobs, series_instance_uid: str, evidence: str) -> str:
    """Open one more revision of a series that was analysed before; return its key.

    Raises
    ------
    IllegalTransition
        The series is being received or analysed.
    """
    row = _series_row(connection, series_instance_uid)
    return _open(connection, jobs, row, SeriesEvent.REPROCESS, evidence)


def _open(
    connection: Connection, jobs: Jobs, row: sa.RowMapping, event: SeriesEvent, evidence: str
) -> str:
    """Make a revision of all that is stored of a series, and its job."""
    uid, number = row["series_instance_uid"], row["revision"] + 1
    state = after(SERIES, SeriesState(row["state"]), event)
    key, turn = f"{uid}:{number}", turns.next_turn(connection, row)
    connection.execute(
        sa.insert(revision).values(
            key=key,
            series_instance_uid=uid,
            number=number,
            state=state,
            evidence=evidence,
            attempt=1,
            turn=turn,
            last_received_at=row["last_received_at"],
            completed_at=time.time(),
        )
    )
    members = sa.select(sa.literal(key), instance.c.sop_instance_uid).where(
        instance.c.series_instance_uid == uid
    )
    found = connection.execute(
        sa.insert(revision_instance).from_select(["revision_key", "sop_instance_uid"], members)
    )
    connection.execute(
        sa.update(series)
        .where(series.c.series_instance_uid == uid)
        .values(state=state, revision=number)
    )
    text = f"revision {number} with {found.rowcount} images: {evidence}"
    note(connection, key, event, text)
    enqueue_analysis(jobs, connection, key, attempt=1, turn=turn)
    return key


def _series_row(connection: Connection, series_instance_uid: str) -> sa.RowMapping:
    query = sa.select(series).where(series.c.series_instance_uid == series_instance_uid)
    return connection.execute(query).mappings().one()


def load(engine: Engine, key: str) -> Revision:
    """Return a revision with the files of its instances.

    Raises
    ------
    StoreError
        There is no such revision.
    """
    members = (
        sa.select(instance.c.path, instance.c.sop_instance_uid)
        .join(
            revision_instance, revision_instance.c.sop_instance_uid == instance.c.sop_instance_uid
        )
        .where(revision_instance.c.revision_key == key)
        .order_by(instance.c.sop_instance_uid)
    )
    head = (
        sa.select(revision, series.c.study_instance_uid)
        .join(series, series.c.series_instance_uid == revision.c.series_instance_uid)
        .where(revision.c.key == key)
    )
    with reading(engine) as connection:
        row = connection.execute(head).mappings().first()
        files = connection.execute(members).all()
    if row is None:
        raise StoreError(f"revision {key} is not in the database")
    return Revision(
        study_instance_uid=row["study_instance_uid"],
        series_instance_uid=row["series_instance_uid"],
        number=row["number"],
        paths=tuple(Path(path) for path, _ in files),
        sop_instance_uids=tuple(uid for _, uid in files),
        evidence=row["evidence"],
    )


def apply(
    connection: Connection,
    key: str,
    event: SeriesEvent,
    text: str,
    facts: Facts = NO_FACTS,
    **values: object,
) -> SeriesState:
    """Let an event happen to a revision, and to its series if it is the newest; return its state.

    A change of state is one event row; a step that is run again changes none and leaves none.

    Parameters
    ----------
    text
        What is shown to the administrator; `facts` go beside it into the trail.
    values
        Further columns of the revision to set.

    Raises
    ------
    IllegalTransition
        The event cannot happen to this revision now.
    """
    before = state_in(connection, key)
    state = after(SERIES, before, event)
    if event is not SeriesEvent.REQUEUED:  # any other ends the stage at hand
        values["starts"] = 0
    if event in (SeriesEvent.RETRY, SeriesEvent.CHOSEN):
        values |= {"forgiven": 0, "reason": None, "reason_text": None, "outcome": None}
    connection.execute(
        sa.update(revision).where(revision.c.key == key).values(state=state, **values)
    )
    row = _names(connection, key)
    connection.execute(
        sa.update(series)
        .where(
            series.c.series_instance_uid == row["series_instance_uid"],
            series.c.revision == row["number"],
            series.c.state != SeriesState.RECEIVING,
        )
        .values(state=state)
    )
    if state is not before or event in _ASKED:
        note(connection, key, event, text, facts)
    return state


# Worth a line even where the state stays.
_ASKED = (SeriesEvent.REQUEUED, SeriesEvent.DISTURBED, SeriesEvent.WAITS, SeriesEvent.RESEND)


@dataclass(frozen=True)
class Unfinished:
    """A revision that is to be analysed: its key, and the number of its job."""

    key: str
    attempt: int


def unfinished(engine: Engine) -> list[Unfinished]:
    """Return every revision whose analysis has not ended."""
    query = sa.select(revision.c.key, revision.c.attempt).where(revision.c.state.in_(UNFINISHED))
    with reading(engine) as connection:
        return [Unfinished(*row) for row in connection.execute(query)]


@dataclass(frozen=True)
class Newest:
    """The newest revision of a series; ``state`` is that of the series."""

    key: str
    series_instance_uid: str
    state: SeriesState
    item: Unfinished


def newest(connection: Connection, study_instance_uid: str) -> list[Newest]:
    """Return the newest revision of every series of a study that has one.

    Raises
    ------
    StoreError
        No such study has come.
    """
    known = sa.select(study.c.source).where(study.c.study_instance_uid == study_instance_uid)
    if connection.execute(known).first() is None:
        raise StoreError(
            f"no study {study_instance_uid} has come; `ich-node studies` lists those that have"
        )
    query = (
        sa.select(revision.c.key, revision.c.attempt, series)
        .join(
            series,
            sa.and_(
                series.c.series_instance_uid == revision.c.series_instance_uid,
                series.c.revision == revision.c.number,
            ),
        )
        .where(series.c.study_instance_uid == study_instance_uid)
        .order_by(series.c.first_received_at)
    )
    return [
        Newest(
            row["key"],
            row["series_instance_uid"],
            SeriesState(row["state"]),
            Unfinished(row["key"], row["attempt"]),
        )
        for row in connection.execute(query).mappings()
    ]


def requeue(
    connection: Connection,
    jobs: Jobs,
    item: Unfinished,
    text: str,
    delay_s: float = 0.0,
    event: SeriesEvent = SeriesEvent.REQUEUED,
) -> bool:
    """Give a revision another job, from the first stage on; its turn stays.

    Returns
    -------
    bool
        False where it has another job than the one in `item` by now.

    Raises
    ------
    IllegalTransition
        The event cannot happen to it: its analysis has ended, or goes on.
    """
    attempt, turn = connection.execute(
        sa.select(revision.c.attempt, revision.c.turn).where(revision.c.key == item.key)
    ).one()
    if attempt != item.attempt:
        return False
    apply(connection, item.key, event, text, attempt=attempt + 1)
    enqueue_analysis(jobs, connection, item.key, attempt + 1, turn, delay_s)
    return True


def note(connection: Connection, key: str, kind: str, text: str, facts: Facts = NO_FACTS) -> None:
    """Append an event to the story of a revision."""
    row = _names(connection, key)
    events.insert(
        connection,
        kind,
        text,
        study=row["study_instance_uid"],
        series=row["series_instance_uid"],
        data={"revision": row["number"], **facts},
    )


def _names(connection: Connection, key: str) -> sa.RowMapping:
    query = (
        sa.select(revision.c.series_instance_uid, revision.c.number, series.c.study_instance_uid)
        .join(series, series.c.series_instance_uid == revision.c.series_instance_uid)
        .where(revision.c.key == key)
    )
    return connection.execute(query).mappings().one()


def moments(engine: Engine, key: str) -> tuple[float, float, float]:
    """Return when the first and the last image came and the series was complete, epoch s."""
    query = (
        sa.select(series.c.first_received_at, revision.c.last_received_at, revision.c.completed_at)
        .join(series, series.c.series_instance_uid == revision.c.series_instance_uid)
        .where(revision.c.key == key)
    )
    with reading(engine) as connection:
        first, last, complete = connection.execute(query).one()
    return float(first), float(last), float(complete)


def state_of(engine: Engine, key: str) -> SeriesState:
    """Return the state of a revision."""
    with reading(engine) as connection:
        return state_in(connection, key)


def state_in(connection: Connection, key: str) -> SeriesState:
    """Return the state of a revision as this transaction sees it."""
    query = sa.select(revision.c.state).where(revision.c.key == key)
    return SeriesState(connection.execute(query).scalar_one())
