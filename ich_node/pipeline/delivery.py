"""The durable workflow of a delivery: one job for each attempt, destination and revision.

Only here is decided whether, and when, an attempt follows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dbos import DBOS

from ich_node import logs
from ich_node.deliver.scu import send
from ich_node.records import Verdict
from ich_node.settings import Destination
from ich_node.states import DeliveryState
from ich_node.store import deliveries, revisions
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


def pause_s(attempt: int) -> float:
    """Seconds to wait after this attempt (the first is 1): doubling, half an hour at most."""
    return min(_FIRST_PAUSE_S * 2.0 ** min(attempt - 1, 20), _LONGEST_PAUSE_S)


def register(deliverer: Deliverer) -> None:
    """Register the workflow with the engine; before it is launched."""

    @DBOS.step(name="send")
    def send_step(key: str, destination: str, attempt: int) -> None:
        _attempt(deliverer, key, destination, attempt)

    @DBOS.workflow(name=DELIVER_WORKFLOW)
    def deliver(key: str, destination: str, attempt: int) -> None:
        send_step(key, destination, attempt)


def _attempt(deliverer: Deliverer, key: str, name: str, attempt: int) -> None:
    row = deliveries.find(deliverer.engine, key, name)
    if row is None or row.attempt != attempt or row.state in _ENDED:
        return  # a repeated start of a job whose outcome is already kept
    destination = deliverer.destinations[name]
    due = [
        (result.kind, result.path)
        for result in revisions.kept_results(deliverer.engine, key)
        if result.kind in destination.outputs and result.sop_instance_uid not in row.stored
    ]
    try:
        verdicts = send(destination, deliverer.calling_ae, due) if due else []
        state, text = judge(verdicts, attempt)
    except (OSError, ValueError) as error:  # a kept file of ours is gone or damaged
        verdicts, state = [], DeliveryState.FAILED
        text = f"a kept object cannot be read: {logs.cause(error)['error']}"
    retry_in = pause_s(attempt) if state is DeliveryState.RETRYING else None
    if retry_in is not None:
        text = f"{text}; next attempt in {retry_in:.0f} s"
    deliveries.record(deliverer.engine, deliverer.jobs, key, name, verdicts, state, text, retry_in)
    _log.info("delivery", revision=key, destination=name, state=str(state), text=text)


_ENDED = (DeliveryState.DELIVERED, DeliveryState.FAILED)


def judge(verdicts: Sequence[Verdict], attempt: int) -> tuple[DeliveryState, str]:
    """Decide from what a destination answered.

    Returns
    -------
    tuple
        `retrying` while anything may still be stored by another attempt, `failed` when what is not
        stored never will be, else `delivered`; and a text for the administrator.
    """
    missing = [verdict for verdict in verdicts if not verdict.stored]
    if not missing:
        return DeliveryState.DELIVERED, f"{len(verdicts)} objects stored"
    text = "; ".join(f"{verdict.kind}: {verdict.text}" for verdict in missing)
    if any(verdict.transient for verdict in missing):
        if attempt < _MAX_ATTEMPTS:
            return DeliveryState.RETRYING, text
        text = f"given up after {attempt} attempts: {text}"
    return DeliveryState.FAILED, text
