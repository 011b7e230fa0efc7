"""Deliveries: one row for each revision and destination, with every object's verdict."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa
from pydicom.uid import UID

from ich_node.records import Verdict
from ich_node.states import (
    DELIVERIES,
    DUE,
    DeliveryEvent,
    DeliveryState,
    SeriesEvent,
    SeriesState,
    after,
)
from ich_node.store import destinations, revisions
from ich_node.store.engine import Connection, Engine, reading, writing
from ich_node.store.jobs import Jobs, enqueue_delivery
from ich_node.store.tables import delivery


@dataclass(frozen=True)
class DeliveryRow:
    """How far the delivery of one revision to one destination is.

    ``attempt`` numbers its jobs; ``tries`` counts the attempts since it was last asked for;
    ``stored`` are the SOP Instance UIDs that the destination holds.
    """

    state: DeliveryState
    attempt: int
    tries: int
    stored: frozenset[str]


def open_deliveries(connection: Connection, jobs: Jobs, key: str, names: Sequence[str]) -> None:
    """Make a revision's results due at each destination; those already due stay as they are."""
    for name in names:
        known = sa.select(delivery.c.state).where(
            delivery.c.revision_key == key, delivery.c.destination == name
        )
        if connection.execute(known).first() is not None:
            continue
        connection.execute(
            sa.insert(delivery).values(
                revision_key=key,
                destination=name,
                state=DeliveryState.PENDING,
                attempt=1,
                verdicts=[],
                text="waiting for its first attempt",
                next_at=time.time(),
                updated_at=time.time(),
            )
        )
        enqueue_delivery(jobs, connection, key, name, attempt=1)


def find(engine: Engine, key: str, destination: str) -> DeliveryRow | None:
    """Return the delivery, or None where nothing is due there."""
    query = sa.select(delivery).where(
        delivery.c.revision_key == key, delivery.c.destination == destination
    )
    with reading(engine) as connection:
        row = connection.execute(query).mappings().first()
    if row is None:
        return None
    stored = frozenset(item["sop_instance_uid"] for item in row["verdicts"] if item["stored"])
    return DeliveryRow(DeliveryState(row["state"]), row["attempt"], row["tries"], stored)


def record(
    engine: Engine,
    jobs: Jobs,
    key: str,
    destination: str,
    verdicts: Sequence[Verdict],
    event: DeliveryEvent,
    text: str,
    retry_in_s: float | None,
) -> DeliveryState:
    """Keep what a destination answered, and enqueue the next attempt, in one transaction.

    What is learnt of the SOP classes that it takes is remembered with it.

    Parameters
    ----------
    verdicts
        Of this attempt; they replace earlier verdicts on the same objects.
    retry_in_s
        Seconds until the next attempt; None where there is none.

    Returns
    -------
    DeliveryState
        The state that it has now.
    """
    with writing(engine) as connection:
        row = _row(connection, key, destination)
        merged: dict[str, Any] = {item["sop_instance_uid"]: item for item in row["verdicts"]}
        merged.update({verdict.sop_instance_uid: asdict(verdict) for verdict in verdicts})
        state = _change(
            connection, row, event, text, verdicts=list(merged.values()), tries=row["tries"] + 1
        )
        for uid in destinations.learn(connection, destination, verdicts):
            said = f"{destination} does not accept {UID(uid).name}; it is offered again each time"
            revisions.note(connection, key, "class_refused", said)
        if retry_in_s is not None:
            _next_attempt(connection, jobs, row, retry_in_s)
        elif state is DeliveryState.DELIVERED:
            _all_delivered(connection, key, f"{destination}: {text}")
    return state


def ask(
    connection: Connection,
    jobs: Jobs,
    key: str,
    destination: str,
    event: DeliveryEvent,
    text: str,
    delay_s: float = 0.0,
    only: int | None = None,
) -> bool:
    """Enqueue another attempt because its job was lost or somebody asks for it.

    After `resend` everything is due again, whatever the destination holds.

    Parameters
    ----------
    only
        Number of the attempt that is meant; None for whichever is due.

    Returns
    -------
    bool
        False where another attempt is due by now than the one that is meant.

    Raises
    ------
    IllegalTransition
        The event cannot happen to this delivery now.
    """
    row = _row(connection, key, destination)
    if only is not None and row["attempt"] != only:
        return False
    values: dict[str, object] = {} if event is DeliveryEvent.REQUEUED else {"tries": 0}
    if event is DeliveryEvent.RESEND:
        values["verdicts"] = []
    _change(connection, row, event, text, **values)
    _next_attempt(connection, jobs, row, delay_s)
    return True


def due(engine: Engine) -> list[tuple[str, str, int]]:
    """Return revision key, destination and attempt of every delivery that has not ended."""
    query = sa.select(delivery.c.revision_key, delivery.c.destination, delivery.c.attempt).where(
        delivery.c.state.in_(DUE)
    )
    with reading(engine) as connection:
        return [(key, name, attempt) for key, name, attempt in connection.execute(query)]


def of_revision(connection: Connection, key: str) -> dict[str, DeliveryState]:
    """Return the state of each delivery of a revision, by destination."""
    query = sa.select(delivery.c.destination, delivery.c.state).where(
        delivery.c.revision_key == key
    )
    return {name: DeliveryState(state) for name, state in connection.execute(query)}


def _row(connection: Connection, key: str, destination: str) -> sa.RowMapping:
    query = sa.select(delivery).where(
        delivery.c.revision_key == key, delivery.c.destination == destination
    )
    return connection.execute(query).mappings().one()


def _change(
    connection: Connection, row: sa.RowMapping, event: DeliveryEvent, text: str, **values: object
) -> DeliveryState:
    """Let an event happen to a delivery: its row, and a line in the story."""
    state = after(DELIVERIES, DeliveryState(row["state"]), event)
    key, name = row["revision_key"], row["destination"]
    connection.execute(
        sa.update(delivery)
        .where(delivery.c.revision_key == key, delivery.c.destination == name)
        .values(state=state, text=text, next_at=None, updated_at=time.time(), **values)
    )
    revisions.note(connection, key, f"delivery_{event}", f"{name}: {text}")
    return state


def _next_attempt(connection: Connection, jobs: Jobs, row: sa.RowMapping, delay_s: float) -> None:
    key, name, attempt = row["revision_key"], row["destination"], row["attempt"] + 1
    connection.execute(
        sa.update(delivery)
        .where(delivery.c.revision_key == key, delivery.c.destination == name)
        .values(attempt=attempt, next_at=time.time() + delay_s)
    )
    enqueue_delivery(jobs, connection, key, name, attempt, delay_s)


def _all_delivered(connection: Connection, key: str, text: str) -> None:
    """The revision is delivered when no destination is left open.

    A refused or failed series keeps its state: its delivery is seen in its deliveries.
    """
    ended = all(state is DeliveryState.DELIVERED for state in of_revision(connection, key).values())
    if ended and revisions.state_in(connection, key) is SeriesState.REPORTED:
        revisions.apply(connection, key, SeriesEvent.DELIVERED, text)
