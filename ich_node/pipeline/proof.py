"""What an attempt to have a delivery proven comes to.

Storage commitment counts, and C-FIND where there is none or it is not answered. What a destination
has lost it gets again.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from ich_node import faults
from ich_node.deliver.proof import Look, Transaction, identify, look
from ich_node.pipeline.pauses import doubling
from ich_node.settings import Destination, Tls
from ich_node.states import DeliveryEvent
from ich_node.store import proofs, results
from ich_node.store.deliveries import DeliveryRow, Ended
from ich_node.store.engine import Engine
from ich_node.store.proofs import Asked

COMMITMENT, QUERY = "storage commitment", "C-FIND"
# A destination may take so long to list what it has stored.
GRACE_S = 600.0
GIVE_UP_S = 7 * 86400.0
# How long a report is waited for before it is asked for anew: twice as long each time.
_FIRST_WAIT_S, _LONGEST_WAIT_S = 600.0, 21600.0
# Before what was lost goes out again: at once, then later. After the last it is given up.
_AFTER_LOSS_S = (0.0, 300.0, 1800.0, 7200.0)
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 5.0, 1800.0
# So many attempts with commitment alone, then C-FIND is asked too.
_PATIENCE = 3
_SILENT = f"{QUERY} finds no object, lost or hidden from our AE title; let it list them to us"
_NO_SUCH_OBJECT = 0x0112  # Failure Reason (PS3.3 C.14.1.1)


def attempt(
    engine: Engine,
    destination: Destination,
    calling_ae: str,
    key: str,
    row: DeliveryRow,
    tls: Tls,
) -> Ended:
    """Have a destination prove that it holds what it stored of a revision.

    What was reported meanwhile is read first; the destination is asked only where nothing was, and
    no report can be expected any more.

    Raises
    ------
    OSError, pydicom.errors.InvalidDicomError
        A kept object cannot be read.
    """
    if destination.commitment == "off":
        return Ended(DeliveryEvent.UNPROVABLE, 'no proof is asked for: commitment = "off"')
    if not row.stored:
        return Ended(DeliveryEvent.UNPROVABLE, "nothing to prove: nothing was due there")
    asked = proofs.of_delivery(engine, key, destination.name)
    told = read_reports(row, asked)
    if told is not None:
        return told
    whole = wait_s(len(asked))
    # No longer than the whole wait: the clock may have been set back.
    waits = min(asked[-1].at + whole - time.time(), whole) if asked else 0.0
    if waits > 0:
        text = f"{COMMITMENT} was asked for; the report is awaited"
        return Ended(DeliveryEvent.ASKED, text, next_in_s=waits)
    faults.point("prove.begun", key)
    kept = results.kept_of(engine, key)
    seen = look(
        destination,
        calling_ae,
        [identify(item.path) for item in kept if item.sop_instance_uid in row.stored],
        _transaction(engine, key, destination.name),
        overdue=bool(asked) or row.tries >= _PATIENCE,
        tls=tls,
    )
    faults.point("prove.asked", key)
    told = read_reports(row, proofs.of_delivery(engine, key, destination.name))
    if told is not None:
        return replace(told, queried=seen.queried)
    age_s = time.time() - (row.stored_at or 0.0)
    required = destination.commitment == "require"
    ended = judge(row, seen, requests=len(asked) + 1, age_s=age_s, required=required)
    ended = replace(ended, queried=seen.queried)
    goes_on = ended.event in (DeliveryEvent.CONFIRMED, DeliveryEvent.ASKED)
    return ended if goes_on else replace(ended, blind=True)


def _transaction(engine: Engine, key: str, name: str) -> Transaction:
    return Transaction(
        begin=partial(proofs.begin, engine, key, name),
        report=partial(proofs.take, engine),
        withdraw=partial(proofs.withdraw, engine),
    )


def wait_s(requests: int) -> float:
    """Seconds to wait for the report on the last of so many requests."""
    return doubling(requests, _FIRST_WAIT_S, _LONGEST_WAIT_S)


def _pause_s(row: DeliveryRow) -> float:
    return doubling(row.tries + 1, _FIRST_PAUSE_S, _LONGEST_PAUSE_S)


def read_reports(row: DeliveryRow, asked: Sequence[Asked]) -> Ended | None:
    """Decide from what was reported; None where no report has come."""
    reports = [item for item in asked if item.answered]
    if not reports:
        return None
    held = frozenset().union(*(item.stored for item in reports))
    if row.stored <= held:
        text = f"{len(row.stored)} objects confirmed by {COMMITMENT}"
        return Ended(DeliveryEvent.CONFIRMED, text, proof=COMMITMENT)
    failed: Mapping[str, int] = {
        uid: reason for item in reports for uid, reason in item.failed.items() if uid not in held
    }
    gone = {uid for uid in row.stored if failed.get(uid) == _NO_SUCH_OBJECT}
    if gone:
        return lost(row, gone, f"{COMMITMENT} says {_NO_SUCH_OBJECT:04X}H, no such object")
    reasons = ", ".join(sorted({f"{reason:04X}H" for reason in failed.values()})) or "no word"
    missing = len(row.stored - held)
    text = f"{COMMITMENT} is refused for {missing} of {len(row.stored)} objects ({reasons})"
    pause = _pause_s(row)
    said = f"{text}; asked again in {pause:.0f} s"
    read = [item.uid for item in reports]
    return Ended(DeliveryEvent.ASKED, said, next_in_s=pause, read=read)


def judge(row: DeliveryRow, seen: Look, *, requests: int, age_s: float, required: bool) -> Ended:
    """Decide from what one look brought, where nothing was reported in it.

    Parameters
    ----------
    requests
        How many storage commitments wait for their report, one asked for now included.
    age_s
        Seconds since everything was stored there.
    required
        Without storage commitment the delivery has failed.
    """
    if seen.found is not None and row.stored <= seen.found:
        text = f"{len(row.stored)} objects found by {QUERY}"
        return Ended(DeliveryEvent.CONFIRMED, text, proof=QUERY)
    if seen.nothing_offered:
        return _unprovable(seen.text or "it offers no way to prove it", required)
    missing = row.stored - seen.found if seen.found is not None else frozenset()
    if missing and age_s >= GRACE_S and not seen.silent:
        return lost(row, missing, f"{QUERY} does not find them")
    text = seen.fault or seen.text
    if missing:
        text = f"{QUERY} does not find {len(missing)} of {len(row.stored)} objects yet"
    if seen.silent and age_s >= GRACE_S:
        text = _SILENT
        if not (seen.fault or seen.asked or requests > 1):  # nothing else can tell
            return _unprovable(text, required)
    only_just = seen.asked and requests == 1  # a first request is waited for, however late it is
    if age_s >= GIVE_UP_S and not only_just:
        return _unprovable(f"no proof within {GIVE_UP_S / 86400:.0f} days: {text}", required)
    pause = wait_s(requests) if seen.asked else _pause_s(row)
    return Ended(DeliveryEvent.ASKED, f"{text}; next look in {pause:.0f} s", next_in_s=pause)


def lost(row: DeliveryRow, missing: frozenset[str] | set[str], why: str) -> Ended:
    """Have what the destination does not hold sent again, some times."""
    text = f"{len(missing)} of {len(row.stored)} objects were stored and are lost: {why}"
    if row.lost >= len(_AFTER_LOSS_S):
        said = f"given up after {row.lost + 1} times: {text}; look at its log"
        return Ended(DeliveryEvent.REFUSED, said, lost=missing)
    pause = _AFTER_LOSS_S[row.lost]
    said = f"{text}; sent again in {pause:.0f} s"
    return Ended(DeliveryEvent.LOST, said, next_in_s=pause, lost=missing)


def _unprovable(text: str, required: bool) -> Ended:
    if required:
        said = (
            f'stored, but commitment = "require" and there is none: {text}; let it offer storage '
            'commitment to us, or set "auto"; then `ich-node retry`'
        )
        return Ended(DeliveryEvent.REFUSED, said)
    return Ended(DeliveryEvent.UNPROVABLE, f"stored, not proven: {text}")
