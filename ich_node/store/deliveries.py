"""Deliveries: one row for each revision and destination, with every object's verdict."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa

from ich_node.records import Verdict
from ich_node.states import DeliveryState, SeriesState
from ich_node.store import revisions
from ich_node.store.engine import Connection, Engine, reading, writing
from ich_node.store.jobs import Jobs, enqueue_delivery
from ich_node.store.tables import delivery


@dataclass(frozen=True)
class DeliveryRow:
    """How far the delivery of one revision to one destination is."""

    state: DeliveryState
    attempt: int
    stored: frozenset[str]
    since: float


def open_deliveries(
    connection: Connection, jobs: Jobs, key: str, destinations: Sequence[str]
) -> None:
    """Make a revision's results due at each destination; those already due stay as they are."""
    for name in destinations:
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
    """Return the delivery, with the SOP Instance UIDs that the destination already holds."""
    query = sa.select(delivery).where(
        delivery.c.revision_key == key, delivery.c.destination == destination
    )
    with reading(engine) as connection:
        row = connection.execute(query).mappings().first()
    if row is None:
        return None
    stored = frozenset(item["sop_instance_uid"] for item in row["verdicts"] if item["stored"])
    return DeliveryRow(DeliveryState(row["state"]), row["attempt"], stored, row["updated_at"])


def record(
    engine: Engine,
    jobs: Jobs,
    key: str,
    destination: str,
    verdicts: Sequence[Verdict],
    state: DeliveryState,
    text: str,
    retry_in_s: float | None,
) -> None:
    """Keep what a destination answered, and enqueue the next attempt, in one transaction.

    Parameters
    ----------
    verdicts
        Of this attempt; they replace earlier verdicts on the same objects.
    retry_in_s
        Seconds until the next attempt; None where there is none.
    """
    with writing(engine) as connection:
        this_one = sa.and_(delivery.c.revision_key == key, delivery.c.destination == destination)
        row = connection.execute(sa.select(delivery).where(this_one)).mappings().one()
        merged: dict[str, Any] = {item["sop_instance_uid"]: item for item in row["verdicts"]}
        merged.update({verdict.sop_instance_uid: asdict(verdict) for verdict in verdicts})
        attempt = row["attempt"] + (1 if retry_in_s is not None else 0)
        connection.execute(
            sa.update(delivery)
            .where(this_one)
            .values(
                state=state,
                attempt=attempt,
                verdicts=list(merged.values()),
                text=text,
                next_at=time.time() + retry_in_s if retry_in_s is not None else None,
                updated_at=time.time(),
            )
        )
        if retry_in_s is not None:
            enqueue_delivery(jobs, connection, key, destination, attempt, retry_in_s)
        _tell(connection, key, destination, state, text)


def _tell(
    connection: Connection, key: str, destination: str, state: DeliveryState, text: str
) -> None:
    """Write the event; the revision is delivered when no destination is left open.

    A refused or failed series keeps its state: its delivery is seen in its deliveries.
    """
    said = f"{destination}: {text}"
    open_ones = sa.select(sa.func.count()).where(
        delivery.c.revision_key == key, delivery.c.state != DeliveryState.DELIVERED
    )
    revision_state = revisions.state_in(connection, key)
    if revision_state is SeriesState.REPORTED and connection.execute(open_ones).scalar_one() == 0:
        revisions.advance(connection, key, SeriesState.DELIVERED, said)
    else:
        revisions.note(connection, key, f"delivery_{state}", said)
