"""The durable workflow of a delivery: one job for each attempt, destination and revision.

Only here is decided whether, and when, an attempt follows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field

from dbos import DBOS

from ich_node import faults, logs
from ich_node.deliver.scu import send
from ich_node.errors import CheckFailed
from ich_node.pipeline.at_hand import AtHand
from ich_node.records import Verdict
from ich_node.settings import Destination
from ich_node.states import DUE, DeliveryEvent
from ich_node.store import deliveries, results
from ich_node.store.engine import Engine
from ich_node.store.jobs import DELIVER_WORKFLOW, Jobs

_log = logs.get(__name__)

_FIRST_PAUSE_S = 5.0
_LONGEST_PAUSE_S = 1800.0
# With pauses that double from 5 s to half an hour, this many attempts last about three days.
_MAX_ATTEMPTS = 150


@dataclass(frozen=True)
class Deliverer:
    """What a delivering process holds while it lives."""

    engine: Engine
    jobs: Jobs
    calling_ae: str
    destinations: Mapping[str, Destination]
    at_hand: AtHand = field(default_factory=AtHand)


def pause_s(attempt: int) -> float:
    """Seconds to wait after this attempt (the first is 1): doubling, half an hour at most."""
    return min(_FIRST_PAUSE_S * 2.0 ** min(attempt - 1, 20), _LONGEST_PAUSE_S)


def register(deliverer: Deliverer) -> None:
    """Register the workflow with the engine; before it is launched."""

    @DBOS.step(name="send")
    def send_step(key: str, destination: str, attempt: int) -> None:
        with deliverer.at_hand.stage("send", key):
            _attempt(deliverer, key, destination, attempt)

    # One that ends its process again and again is parked by the engine and asked for later by the
    # reconciler: the other destinations go on.
    @DBOS.workflow(name=DELIVER_WORKFLOW, max_recovery_attempts=3)
    def deliver(key: str, destination: str, attempt: int) -> None:
        with deliverer.at_hand.job(str(DBOS.workflow_id)):
            send_step(key, destination, attempt)


def _attempt(deliverer: Deliverer, key: str, name: str, attempt: int) -> None:
    row = deliveries.find(deliverer.engine, key, name)
    if row is None or row.attempt != attempt or row.state not in DUE:
        return  # a repeated start of a job whose outcome is already kept
    faults.point("deliver.begun", key)
    try:
        verdicts = _send(deliverer, key, name, row.stored)
        event, text = judge(verdicts, row.tries + 1)
    except (OSError, ValueError, CheckFailed) as error:  # a kept file of ours is gone or damaged
        verdicts, event = [], DeliveryEvent.REFUSED
        text = f"a kept object cannot be read: {logs.cause(error)['error']}"
    faults.point("deliver.sent", key)
    retry_in = pause_s(row.tries + 1) if event is DeliveryEvent.POSTPONED else None
    if retry_in is not None:
        text = f"{text}; next attempt in {retry_in:.0f} s"
    engine, jobs = deliverer.engine, deliverer.jobs
    state = deliveries.record(engine, jobs, key, name, verdicts, event, text, retry_in)
    faults.point("deliver.committed", key)
    _log.info("delivery", revision=key, destination=name, state=str(state), text=text)


def _send(deliverer: Deliverer, key: str, name: str, stored: Set[str]) -> list[Verdict]:
    """Send what this destination takes and does not hold.

    Raises
    ------
    CheckFailed
        A kept object is not what was built.
    OSError, pydicom.errors.InvalidDicomError
        A kept object cannot be read.
    """
    destination = deliverer.destinations[name]
    wanted = [
        result
        for result in results.kept_of(deliverer.engine, key)
        if result.kind in destination.outputs and result.sop_instance_uid not in stored
    ]
    for result in wanted:
        if hashlib.sha256(result.path.read_bytes()).hexdigest() != result.sha256:
            raise CheckFailed(f"{result.path} is not what was built: its sha256 differs")
    objects = [(result.kind, result.path) for result in wanted]
    return send(destination, deliverer.calling_ae, objects) if objects else []


def judge(verdicts: Sequence[Verdict], tries: int) -> tuple[DeliveryEvent, str]:
    """Decide from what a destination answered.

    Parameters
    ----------
    tries
        How many attempts there were, this one included.

    Returns
    -------
    tuple
        `postponed` while anything may still be stored by another attempt, `refused` when what is
        not stored never will be, else `stored`; and a text for the administrator.
    """
    missing = [verdict for verdict in verdicts if not verdict.stored]
    if not missing:
        return DeliveryEvent.STORED, f"{len(verdicts)} objects stored"
    text = "; ".join(f"{verdict.kind}: {verdict.text}" for verdict in missing)
    if any(verdict.transient for verdict in missing):
        if tries < _MAX_ATTEMPTS:
            return DeliveryEvent.POSTPONED, text
        text = f"given up after {tries} attempts: {text}"
    return DeliveryEvent.REFUSED, text
