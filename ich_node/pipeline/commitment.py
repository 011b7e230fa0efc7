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
    """Report every commitment that is owed to a configured destination; return those answered.

    A peer is known by its AE title. One that is no destination has no address: it asks again, and
    is told in the association that it asks in.
    """
    known = {destination.ae_title: destination for destination in destinations}
    answered, away = [], set()
    for uid, asked_by in commitments.owed(engine):
        if asked_by not in known or asked_by in away:
            continue
        truth = commitments.commitment(engine, uid)
        fault = report(known[asked_by], calling_ae, truth, tls=tls)
        if fault:
            away.add(asked_by)
            _log.warning("a storage commitment cannot be reported; tried again", cause=fault)
            continue
        commitments.settle(engine, [uid], AnnouncementState.REPORTED)
        answered.append(uid)
    return answered
