"""Deliveries: one row for each revision and destination, with every object's verdict."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import sqlalchemy as sa
from pydicom.uid import UID

from ich_node.records import Verdict
from ich_node.states import (
    ARRIVED,
    DELIVERIES,
    DUE,
    TO_SEND,
    DeliveryEvent,
    DeliveryState,
    SeriesEvent,
    SeriesState,
    after,
)
from ich_node.store import destinations, proofs, revisions
from ich_node.store.engine import Connection, Engine, reading, writing
from ich_node.store.events import Facts
from ich_node.store.jobs import Jobs, enqueue_delivery
from ich_node.store.tables import delivery, revision

BEGUN = "delivery_begun"


@dataclass(frozen=True)
class DeliveryRow:
    """How far the delivery of one revision to one destination is.

    ``attempt`` numbers its jobs; ``tries`` counts the attempts since it was last asked for, or
    stored; ``stored`` are the SOP Instance UIDs that the destination took, all of them by
    ``stored_at`` (epoch, s); ``lost`` counts how often it did not hold some of them later;
    ``refused`` are the verdicts on what it refused for good since somebody asked.
    """

    state: DeliveryState
    attempt: int
    tries: int
    stored: frozenset[str]
    stored_at: float | None
    lost: int
    refused: tuple[Verdict, ...] = ()


@dataclass(frozen=True)
class Ended:
    """How an attempt ended, for the administrator by ``text``.

    ``verdicts`` replace earlier ones on the same objects; of those in ``lost`` the destination
    holds nothing any more. ``next_in_s`` are the seconds until the next attempt, None where there
    is none; ``proof`` says what confirms the delivery. ``read`` are the Transaction UIDs of the
    reports that this was decided from; ``blind`` says that there was none, so that one which has
    come meanwhile is read first. For the trail ``peer`` says where it was sent to, and ``queried``
    of which series it was asked by C-FIND.
    """

    event: DeliveryEvent
    text: str
    verdicts: Sequence[Verdict] = ()
    next_in_s: float | None = None
    lost: Collection[str] = ()
    proof: str | None = None
    read: Collection[str] = ()
    blind: bool = False
    peer: Facts = field(default_factory=dict)
    queried: Collection[str] = ()

    @property
    def facts(self) -> dict[str, Any]:
        """What the trail keeps beside the text: where to, and the answer to each object."""
        answers = [
            {
                "kind": one.kind,
                "sop_class_uid": one.sop_class_uid,
                "uid": one.sop_instance_uid,
                "status": one.status,
                "stored": one.stored,
            }
            for one in self.verdicts
        ]
        asked = list(self.queried)
        return {**self.peer, "objects": answers, "proof": self.proof, "queried": asked}


@dataclass(frozen=True)
class Due:
    """A delivery that has not ended: revision, destination and the number of its job."""

    key: str
    destination: str
    attempt: int
    state: DeliveryState


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
    state = DeliveryState(row["state"])
    refused = tuple(
        verdict for verdict in (Verdict(**item) for item in row["verdicts"]) if verdict.final
    )
    return DeliveryRow(
        state, row["attempt"], row["tries"], stored, row["stored_at"], row["lost"], refused
    )


def earlier_to_send(engine: Engine, key: str, destination: str) -> int | None:
    """Return the first revision of the same series before this one that has yet to go there."""
    this, other = revision.alias(), revision.alias()
    query = (
        sa.select(other.c.number)
        .join(this, this.c.series_instance_uid == other.c.series_instance_uid)
        .join(delivery, delivery.c.revision_key == other.c.key)
        .where(this.c.key == key, other.c.number < this.c.number)
        .where(delivery.c.destination == destination, delivery.c.state.in_(TO_SEND))
        .order_by(other.c.number)
        .limit(1)
    )
    with reading(engine) as connection:
        number: int | None = connection.execute(query).scalar()
    return number


def begin(engine: Engine, key: str, destination: str, facts: Facts) -> None:
    """Note that the ``objects`` of these facts begin to go to a destination."""
    text = f"{destination}: {len(facts['objects'])} objects begin to go there"
    with writing(engine) as connection:
        revisions.note(connection, key, BEGUN, text, {"destination": destination, **facts})


def record(
    engine: Engine, jobs: Jobs, key: str, destination: str, attempt: int, ended: Ended
) -> DeliveryState | None:
    """Keep how an attempt ended, and enqueue the next one, in one transaction.

    What is learnt of the SOP classes that the destination takes is remembered with it.

    Returns
    -------
    DeliveryState or None
        The state that it has now; None, and nothing changed, where another attempt is due by now.
    """
    with writing(engine) as connection:
        row = _row(connection, key, destination)
        if row["attempt"] != attempt:
            return None
        if ended.blind and proofs.is_reported(connection, key, destination):
            ended = replace(_READ_FIRST, peer=ended.peer, queried=ended.queried)
        values = _values(row, ended)
        state = _change(connection, row, ended.event, ended.text, ended.facts, **values)
        proofs.spend(connection, ended.read)
        for uid in destinations.learn(connection, destination, ended.verdicts):
            said = f"{destination} does not accept {UID(uid).name}; it is offered again each time"
            revisions.note(connection, key, "class_refused", said)
        if ended.next_in_s is not None:
            _next_attempt(connection, jobs, row, ended.next_in_s)
        _settle_series(connection, key, bool(ended.lost), f"{destination}: {ended.text}")
    return state


_READ_FIRST = Ended(
    DeliveryEvent.ASKED, "storage commitment was reported meanwhile; it is read now", next_in_s=0.0
)


def _values(row: sa.RowMapping, ended: Ended) -> dict[str, object]:
    """Return what the end of an attempt changes besides the state."""
    merged: dict[str, Any] = {item["sop_instance_uid"]: item for item in row["verdicts"]}
    merged.update({verdict.sop_instance_uid: asdict(verdict) for verdict in ended.verdicts})
    for uid in ended.lost:
        merged[uid] = {**merged[uid], "stored": False, "transient": True, "text": ended.text}
    values: dict[str, object] = {"verdicts": list(merged.values()), "tries": row["tries"] + 1}
    if ended.event in (DeliveryEvent.STORED, DeliveryEvent.LOST):
        values["tries"] = 0
    if ended.event is DeliveryEvent.STORED:
        values["stored_at"] = time.time()
    if ended.event is DeliveryEvent.LOST:
        values["lost"] = row["lost"] + 1
    return {**values, "proof": ended.proof}


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
    asked = event in (DeliveryEvent.RETRY, DeliveryEvent.RESEND)
    values: dict[str, object] = {"tries": 0, "lost": 0} if asked else {}
    if event is DeliveryEvent.RESEND:
        values |= {"verdicts": [], "proof": None}
    if event is DeliveryEvent.RETRY:  # what was refused for good is asked once more
        values |= {"verdicts": [item for item in row["verdicts"] if item["stored"]]}
    _change(connection, row, event, text, {}, **values)
    _next_attempt(connection, jobs, row, delay_s)
    return True


def due(engine: Engine) -> list[Due]:
    """Return every delivery that has not ended."""
    with reading(engine) as connection:
        return due_in(connection)


def due_in(connection: Connection) -> list[Due]:
    """Return the same as `due`, in a transaction."""
    query = sa.select(
        delivery.c.revision_key, delivery.c.destination, delivery.c.attempt, delivery.c.state
    ).where(delivery.c.state.in_(DUE))
    return [
        Due(key, name, attempt, DeliveryState(state))
        for key, name, attempt, state in connection.execute(query)
    ]


def of_revision(connection: Connection, key: str) -> dict[str, DeliveryState]:
    """Return the state of each delivery of a revision, by destination."""
    query = sa.select(delivery.c.destination, delivery.c.state).where(
        delivery.c.revision_key == key
    )
    return {name: DeliveryState(state) for name, state in connection.execute(query)}


def took_some(connection: Connection, key: str) -> set[str]:
    """Return the destinations that stored an object of a revision."""
    query = sa.select(delivery.c.destination, delivery.c.verdicts).where(
        delivery.c.revision_key == key
    )
    return {
        name
        for name, verdicts in connection.execute(query)
        if any(verdict["stored"] for verdict in verdicts)
    }


def _row(connection: Connection, key: str, destination: str) -> sa.RowMapping:
    query = sa.select(delivery).where(
        delivery.c.revision_key == key, delivery.c.destination == destination
    )
    return connection.execute(query).mappings().one()


def _change(
    connection: Connection,
    row: sa.RowMapping,
    event: DeliveryEvent,
    text: str,
    facts: Facts,
    **values: object,
) -> DeliveryState:
    """Let an event happen to a delivery: its row, and a line in the story."""
    state = after(DELIVERIES, DeliveryState(row["state"]), event)
    key, name = row["revision_key"], row["destination"]
    connection.execute(
        sa.update(delivery)
        .where(delivery.c.revision_key == key, delivery.c.destination == name)
        .values(state=state, text=text, next_at=None, updated_at=time.time(), **values)
    )
    if event not in _CARRIED_ON:
        proofs.close(connection, key, name)
    said = {"destination": name, **facts}
    revisions.note(connection, key, f"delivery_{event}", f"{name}: {text}", said)
    return state


# Another attempt at the same: what was asked for counts, whenever it is answered.
_CARRIED_ON = (
    DeliveryEvent.ASKED,
    DeliveryEvent.REQUEUED,
    DeliveryEvent.ANSWERED,
    DeliveryEvent.RELEASED,
)


def _next_attempt(connection: Connection, jobs: Jobs, row: sa.RowMapping, delay_s: float) -> None:
    key, name, attempt = row["revision_key"], row["destination"], row["attempt"] + 1
    connection.execute(
        sa.update(delivery)
        .where(delivery.c.revision_key == key, delivery.c.destination == name)
        .values(attempt=attempt, next_at=time.time() + delay_s)
    )
    enqueue_delivery(jobs, connection, key, name, attempt, delay_s)


def _settle_series(connection: Connection, key: str, lost: bool, text: str) -> None:
    """The revision is delivered, and confirmed, while all its deliveries are.

    A refused or failed series keeps its state: its delivery is seen in its deliveries.
    """
    stand = set(of_revision(connection, key).values())
    state = revisions.state_in(connection, key)
    arrived = stand <= set(ARRIVED)
    if lost and state in (SeriesState.REPORTED, SeriesState.DELIVERED):
        revisions.apply(connection, key, SeriesEvent.LOST, text)
    elif state is SeriesState.DELIVERED and not arrived:
        revisions.apply(connection, key, SeriesEvent.UNPROVEN, text)
    elif state is SeriesState.REPORTED and arrived:
        revisions.apply(connection, key, SeriesEvent.DELIVERED, text)
    elif state is SeriesState.DELIVERED and stand == {DeliveryState.CONFIRMED}:
        revisions.apply(connection, key, SeriesEvent.CONFIRMED, text)
