"""Answers to storage commitments that could not be given where they were asked for."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from ich_node import logs
from ich_node.deliver.commitment import report
from ich_node.pipeline.delivery import pause_s
from ich_node.settings import Destination, Tls
from ich_node.states import AnnouncementState
from ich_node.store import commitments
from ich_node.store.commitments import Owed
from ich_node.store.engine import Engine

_log = logs.get(__name__)

PERIOD_S = 10.0


def report_owed(
    engine: Engine,
    calling_ae: str,
    destinations: Iterable[Destination],
    tls: Tls | None = None,
) -> list[str]:
    """Report what is owed and due to configured destinations; return what they took.

    A peer is known by its AE title. One that is no destination has no address: it asks again, and
    is told in the association that it asks in. What cannot be reported now is tried again after
    the pauses of a delivery, and at once when the peer is there again; what a peer will never take
    is put aside.
    """
    known = {destination.ae_title: destination for destination in destinations}
    owed = commitments.owed(engine)
    taken = []
    for title, destination in known.items():
        waiting = [item for item in owed if item.calling_ae == title]
        now = time.time()
        due = [item for item in waiting if _is_due(item, now)]
        took = _report(engine, calling_ae, destination, due, tls)
        later = [item.uid for item in waiting if item not in due]
        if took and later:
            commitments.hasten(engine, later)
        taken += took
    return taken


def _is_due(item: Owed, now: float) -> bool:
    """Tell whether it is time; nobody waits longer than the whole pause for a clock set back."""
    return item.next_at is None or not now < item.next_at <= now + pause_s(item.tries)


def _report(
    engine: Engine, calling_ae: str, destination: Destination, due: Sequence[Owed], tls: Tls | None
) -> list[str]:
    """Report to one peer until it is not there; return what it took."""
    taken = []
    for at, item in enumerate(due):
        truth = commitments.commitment(engine, item.uid)
        answer = report(destination, calling_ae, truth, tls=tls)
        if answer.status is None:
            _postpone(engine, due[at:], answer.fault)
            break
        state = commitments.after_report(answer.status)
        said = f"{item.calling_ae} answered {answer.status:04X}H, expected 0000H"
        if state is AnnouncementState.OWED:
            _postpone(engine, [item], said)
            continue
        if state is AnnouncementState.DECLINED:
            _log.warning("the report of a storage commitment is declined", cause=said)
        commitments.settle(engine, [item.uid], state)
        if state is AnnouncementState.REPORTED:
            taken.append(item.uid)
    return taken


def _postpone(engine: Engine, items: Sequence[Owed], why: str) -> None:
    now = time.time()
    next_at = {item.uid: now + pause_s(item.tries + 1) for item in items}
    pause = min(next_at.values()) - now
    text = f"storage commitment cannot be reported: {why}; tried again in {pause:.0f} s"
    commitments.postpone(engine, next_at, text)
    _log.warning(
        "a storage commitment cannot be reported; tried again",
        cause=why,
        reports=len(items),
        next_in_s=round(pause),
    )
