"""The durable workflow of a delivery: one job for each attempt, destination and revision.

Only here is decided whether, and when, an attempt follows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from dbos import DBOS
from pydicom.errors import InvalidDicomError

from ich_node import faults, logs
from ich_node.deliver.scu import SHOWN_BY_CAPTURES, Outgoing, send
from ich_node.errors import CheckFailed
from ich_node.pipeline import proof
from ich_node.pipeline.at_hand import AtHand
from ich_node.pipeline.pauses import doubling
from ich_node.records import Verdict
from ich_node.settings import Destination, Tls
from ich_node.states import DUE, DeliveryEvent, DeliveryState
from ich_node.store import deliveries, destinations, results
from ich_node.store.deliveries import DeliveryRow, Ended
from ich_node.store.engine import Engine
from ich_node.store.jobs import DELIVER_WORKFLOW, Jobs

_log = logs.get(__name__)

# A kept file of ours is gone or damaged; whatever else the system says of one may pass.
_UNSENDABLE = (FileNotFoundError, InvalidDicomError, ValueError, KeyError, CheckFailed)

_FIRST_PAUSE_S = 5.0
_LONGEST_PAUSE_S = 1800.0
# With pauses that double from 5 s to half an hour, this many attempts last about three days.
_MAX_ATTEMPTS = 150
# So often it lets an earlier revision of its series go first: some minutes.
_LETS_FIRST = 6


@dataclass(frozen=True)
class Deliverer:
    """What a delivering process holds while it lives."""

    engine: Engine
    jobs: Jobs
    calling_ae: str
    destinations: Mapping[str, Destination]
    tls: Tls = field(default_factory=Tls)
    at_hand: AtHand = field(default_factory=AtHand)


def pause_s(attempt: int) -> float:
    """Seconds to wait after this attempt (the first is 1): doubling, half an hour at most."""
    return doubling(attempt, _FIRST_PAUSE_S, _LONGEST_PAUSE_S)


def register(deliverer: Deliverer) -> None:
    """Register the workflow with the engine; before it is launched."""

    @DBOS.step(name="send")
    def send_step(key: str, destination: str, attempt: int) -> None:
        with deliverer.at_hand.stage("send", key):
            make_attempt(deliverer, key, destination, attempt)

    # One that ends its process again and again is parked by the engine and asked for later by the
    # reconciler: the other destinations go on.
    @DBOS.workflow(name=DELIVER_WORKFLOW, max_recovery_attempts=3)
    def deliver(key: str, destination: str, attempt: int) -> None:
        with deliverer.at_hand.job(str(DBOS.workflow_id)):
            send_step(key, destination, attempt)


def make_attempt(deliverer: Deliverer, key: str, name: str, attempt: int) -> None:
    """Send, or have it proven: whatever this attempt of a delivery is due for."""
    row = deliveries.find(deliverer.engine, key, name)
    if row is None or row.attempt != attempt or row.state not in DUE:
        return  # a repeated start of a job whose outcome is already kept
    if name in destinations.held(deliverer.engine):
        return  # released, it gets another job
    faults.point("deliver.begun", key)
    destination = deliverer.destinations[name]
    try:
        if row.state is DeliveryState.AWAITING:
            ended = proof.attempt(
                deliverer.engine, destination, deliverer.calling_ae, key, row, deliverer.tls
            )
        elif waits := _waits(deliverer.engine, key, name, row):
            ended = waits
        else:
            settled = row.stored.union(verdict.sop_instance_uid for verdict in row.refused)
            verdicts = _send(deliverer, key, destination, settled)
            ended = judge([*row.refused, *verdicts], row.tries + 1)
    except (OSError, *_UNSENDABLE) as error:
        ended = _unread(row, error)
    faults.point("deliver.sent", key)
    ended = replace(ended, peer=_peer(destination))
    state = deliveries.record(deliverer.engine, deliverer.jobs, key, name, attempt, ended)
    faults.point("deliver.committed", key)
    _log.info("delivery", revision=key, destination=name, state=str(state), text=ended.text)


def _waits(engine: Engine, key: str, name: str, row: DeliveryRow) -> Ended | None:
    """Let an earlier revision of the series go first: a report must not come after its successor.

    Not for long: where the destination takes other objects, but the earlier ones of this series not
    for now, the fuller report is not to wait for days.
    """
    tries = row.tries + 1
    first = deliveries.earlier_to_send(engine, key, name) if tries <= _LETS_FIRST else None
    if first is None:
        return None
    pause = pause_s(tries)
    text = f"revision {first} of the series goes first; next attempt in {pause:.0f} s"
    return Ended(DeliveryEvent.POSTPONED, text, next_in_s=pause)


def _unread(row: DeliveryRow, error: Exception) -> Ended:
    """Decide what follows where a kept object cannot be read."""
    text = f"a kept object cannot be read: {logs.cause(error)['error']}"
    tries = row.tries + 1
    if isinstance(error, _UNSENDABLE) or tries >= _MAX_ATTEMPTS:
        return Ended(DeliveryEvent.REFUSED, text)
    pause = pause_s(tries)
    awaited = row.state is DeliveryState.AWAITING
    event = DeliveryEvent.ASKED if awaited else DeliveryEvent.POSTPONED
    return Ended(event, f"{text}; next attempt in {pause:.0f} s", next_in_s=pause)


def _peer(destination: Destination) -> dict[str, Any]:
    """Where something was sent to, for the trail."""
    return destination.model_dump(include={"ae_title", "host", "port", "tls"})


def _send(
    deliverer: Deliverer, key: str, destination: Destination, settled: Set[str]
) -> list[Verdict]:
    """Send what this destination takes, but for what it holds or has refused for good.

    Raises
    ------
    CheckFailed
        A kept object is not what was built.
    OSError, pydicom.errors.InvalidDicomError
        A kept object cannot be read.
    """
    kept = results.kept_of(deliverer.engine, key)
    wanted = [item for item in kept if item.kind in destination.outputs]
    captures = [item for item in kept if item.kind == destination.fallback]
    spare = [item for item in captures if item not in wanted]
    first, instead = (
        [_object(item) for item in items if item.sop_instance_uid not in settled]
        for items in (wanted, spare)
    )
    verdicts: list[Verdict] = []
    if first:
        begin = partial(_begin, deliverer.engine, key, destination)
        verdicts = send(
            destination, deliverer.calling_ae, first, instead, tls=deliverer.tls, begin=begin
        )
    return step_down(verdicts, destination.fallback, bool(captures))


def _begin(engine: Engine, key: str, destination: Destination, objects: Sequence[Outgoing]) -> None:
    """Enter in the trail what is about to go to a destination that has answered."""
    about = [
        {"kind": one.kind, "sop_class_uid": one.sop_class_uid, "uid": one.sop_instance_uid}
        for one in objects
    ]
    facts = {**_peer(destination), "objects": about}
    deliveries.begin(engine, key, destination.name, facts)


def _object(item: results.KeptResult) -> tuple[str, Path]:
    """Return kind and file of an object that is what was built, byte for byte."""
    if hashlib.sha256(item.path.read_bytes()).hexdigest() != item.sha256:
        raise CheckFailed(f"{item.path} is not what was built: its sha256 differs")
    return item.kind, item.path


def step_down(verdicts: Sequence[Verdict], fallback: str, built: bool) -> list[Verdict]:
    """Mark the objects whose SOP class is not accepted as replaced by the fallback.

    Parameters
    ----------
    fallback
        The kind that goes instead; empty: none does.
    built
        Objects of that kind exist.
    """
    if not fallback:
        return list(verdicts)
    how = "captures go instead" if built else "no capture was built of this study"
    return [
        replace(verdict, replaced=built, text=f"{verdict.text}; {how}")
        if verdict.class_refused and verdict.kind in SHOWN_BY_CAPTURES
        else verdict
        for verdict in verdicts
    ]


def judge(verdicts: Sequence[Verdict], tries: int) -> Ended:
    """Decide from what a destination answered.

    Parameters
    ----------
    tries
        How many attempts there were, this one included.

    Returns
    -------
    Ended
        `postponed` while anything may still be stored by another attempt, `refused` when what is
        not stored never will be, else `stored`, and the proof is due at once.
    """
    missing = [verdict for verdict in verdicts if not (verdict.stored or verdict.replaced)]
    if not missing:
        replaced = [f"{item.kind}: {item.text}" for item in verdicts if item.replaced]
        stored = f"{len(verdicts) - len(replaced)} objects stored"
        text = "; ".join([stored, *replaced])
        return Ended(DeliveryEvent.STORED, text, verdicts, next_in_s=0.0)
    text = "; ".join(f"{verdict.kind}: {verdict.text}" for verdict in missing)
    if any(verdict.transient for verdict in missing):
        if tries < _MAX_ATTEMPTS:
            pause = pause_s(tries)
            said = f"{text}; next attempt in {pause:.0f} s"
            return Ended(DeliveryEvent.POSTPONED, said, verdicts, next_in_s=pause)
        text = f"given up after {tries} attempts: {text}"
    return Ended(DeliveryEvent.REFUSED, text, verdicts)
