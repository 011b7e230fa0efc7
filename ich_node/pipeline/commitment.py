"""Answers to storage commitments that could not be given where they were asked for."""

from __future__ import annotations

from collections.abc import Iterable

from ich_node import logs
from ich_node.deliver.commitment import report
from ich_node.settings import Destination, Tls
from ich_node.states import AnnouncementState
from ich_node.store import commitments
from ich_node.store.engine import Engine

_log = logs.get(__name__)

PERIOD_S = 10.0


def report_owed(
    engine: Engine,
    calling_ae: str,
    destinations: Iterable[Destination],
    tls: Tls | None = None,
) -> list[str]:
    """Report every commitment that is owed to a configured destination; return those it took.

    A peer is known by its AE title. One that is no destination has no address: it asks again, and
    is told in the association that it asks in. What it cannot take now stays owed, and what it will
    never take is put aside.
    """
    known = {destination.ae_title: destination for destination in destinations}
    taken, away = [], set()
    for uid, asked_by in commitments.owed(engine):
        if asked_by not in known or asked_by in away:
            continue
        truth = commitments.commitment(engine, uid)
        answer = report(known[asked_by], calling_ae, truth, tls=tls)
        if answer.status is None:
            away.add(asked_by)
            _log.warning("a storage commitment cannot be reported; tried again", cause=answer.fault)
            continue
        state = commitments.after_report(answer.status)
        if state is not AnnouncementState.REPORTED:
            said = f"{asked_by} answered {answer.status:04X}H, expected 0000H"
            _log.warning("the report of a storage commitment failed", cause=said, state=str(state))
        if state is not AnnouncementState.OWED:
            commitments.settle(engine, [uid], state)
        if state is AnnouncementState.REPORTED:
            taken.append(uid)
    return taken
