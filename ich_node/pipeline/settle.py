"""A study settles: a series is chosen, waits, or ends, and what that means for the others.

What the end of a series makes due for its study (another one's turn, the one report that nothing
could be read) is entered in the transaction that ends it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ich_node import faults, logs
from ich_node.errors import Reason, SeriesRefused
from ich_node.pipeline import choice, kept, stages
from ich_node.pipeline.outcome import Context
from ich_node.pipeline.worker import Worker
from ich_node.records import Refusal, Revision
from ich_node.states import UNFINISHED, SeriesEvent, SeriesState
from ich_node.store import deliveries, members, revisions
from ich_node.store.engine import Connection, writing
from ich_node.store.members import Member
from ich_node.store.results import KeptResult

_log = logs.get(__name__)


class Waits(Exception):
    """A series waits for a better one; the job that takes it up again is enqueued."""


def choose(worker: Worker, revision: Revision) -> None:
    """Go on if this series of its study is one to read now.

    Raises
    ------
    SeriesRefused
        It is none, another one is better, or a later revision holds more of it.
    Waits
        A better one may be coming.
    """
    found = members.of_study(worker.engine, revision.study_instance_uid)
    this_one = next(one for one in found if one.series_instance_uid == revision.series_instance_uid)
    if this_one.item is not None and not _is_newest(this_one, revision):
        later = int(this_one.item.key.rpartition(":")[2])
        raise choice.replaced(later)
    mine = choice.facts_of_paths(revision.paths, worker.rules)
    if mine is None or this_one.item is None:  # assembling says what is wrong with the files
        return
    if this_one.state is not SeriesState.COMPLETE:  # chosen before its process was killed
        return
    made = choice.decide(
        mine,
        choice.siblings_of(found, revision.series_instance_uid, worker.rules),
        worker.rules,
        waited_s=_since(this_one.completed_at),
        was_read=this_one.was_read,
    )
    if made.refusal is not None:
        raise SeriesRefused(made.refusal.reason, made.refusal.text)
    if made.wait_s:
        text = f"waits up to {made.wait_s:.0f} s: a better series of its study may be coming"
        event = SeriesEvent.WAITS
        with writing(worker.engine) as connection:
            revisions.requeue(
                connection, worker.jobs, this_one.item, text, made.wait_s, event=event
            )
        _log.info("waits", revision=revision.key, text=text)
        raise Waits


def check_not_overtaken(connection: Connection, revision: Revision) -> None:
    """Look whether a later revision of a series went ahead of one that is being read.

    Its report holds more and would be followed, unlinked, by that of fewer images.

    Raises
    ------
    SeriesRefused
        One is being read, is read, or has objects.
    """
    if revisions.state_in(connection, revision.key) not in UNFINISHED:
        return  # a step that had ended is run again
    later = members.later_read(connection, revision.series_instance_uid, revision.number)
    if later is not None:
        raise choice.replaced(later)


def _since(at: float) -> float:
    """Seconds since a moment; endless where the clock was set back to before it."""
    passed = time.time() - at
    return passed if passed >= 0 else math.inf


def context_of(
    worker: Worker, revision: Revision, timings_s: Mapping[str, float], folder: Path
) -> Context:
    """Return what is known of a series that is read, and of the others of its study.

    ``folder`` is that of its results.
    """
    context = Context(
        revision.series_instance_uid,
        revision.evidence,
        timings_s,
        edition=kept.edition(worker.engine, revision, folder),
    )
    mine = choice.facts_of_paths(revision.paths, worker.rules)
    if mine is None:
        return context
    found = members.of_study(worker.engine, revision.study_instance_uid)
    return replace(
        context,
        other_series=choice.others(found, mine, worker.rules),
        notes=choice.notes(found, mine, worker.rules),
    )


def end(worker: Worker, revision: Revision, event: SeriesEvent, told: Mapping[str, Any]) -> None:
    """End a series as refused or failed, with what that makes due for its study.

    Parameters
    ----------
    event
        REFUSED or FAILED.
    told
        The content of `result.json`.
    """
    found = members.of_study(worker.engine, revision.study_instance_uid)
    due = _due(
        worker, [_ended(one, event, told) if _is_newest(one, revision) else one for one in found]
    )
    faults.point("close.done", revision.key)
    with writing(worker.engine) as connection:
        revisions.apply(
            connection,
            revision.key,
            event,
            told["reason_text"],
            facts={"reason": told["reason"]},
            reason=told["reason"],
            reason_text=told["reason_text"],
            outcome=told,
        )
        _enter(connection, worker, due)
    _log.info(str(event), revision=revision.key, text=told["reason_text"])
    # Where two workers end two series at once, each takes the other's for under way; not so now.
    due = _due(worker, members.of_study(worker.engine, revision.study_instance_uid))
    if due.heir is not None or due.speaker is not None:
        with writing(worker.engine) as connection:
            _enter(connection, worker, due)


@dataclass(frozen=True)
class _Due:
    """What is due for a study: a series that has its turn, or a report of one that speaks.

    ``fault`` says why there is no report.
    """

    heir: Member | None = None
    speaker: str | None = None
    report: Sequence[KeptResult] = ()
    fault: str = ""


def _due(worker: Worker, found: Sequence[Member]) -> _Due:
    heir = choice.heir(found, worker.rules)
    if heir is not None:
        return _Due(heir)
    speaks = choice.spokesman(found, worker.rules)
    if speaks is None or speaks[0].item is None:
        return _Due()
    key = speaks[0].item.key
    try:
        report = _report(worker, revisions.load(worker.engine, key), speaks[1])
    except stages.NotTold as error:  # the refusal stands all the same
        said = f"no destination is told: {error}; once that is mended, `ich-node reprocess`"
        return _Due(speaker=key, fault=said)
    return _Due(speaker=key, report=report)


def _report(worker: Worker, revision: Revision, refusal: Refusal) -> list[KeptResult]:
    """Build the one SR that says why nothing of a study was read, or find it built.

    Raises
    ------
    NotTold
        It could not be built, or another object beside it; then neither goes.
    """
    folder = worker.results_dir / kept.result_key(
        revision.sop_instance_uids, refusal, worker.wanted
    )
    context = Context(
        revision.series_instance_uid,
        revision.evidence,
        edition=kept.edition(worker.engine, revision, folder),
    )

    def build(part: Path) -> None:
        stages.build_refused(context, revision.paths, refusal, part, worker.wanted)

    def add(part: Path, kinds: Collection[str]) -> None:
        wanted = replace(worker.wanted, kinds=tuple(kinds))
        stages.add_refused(context, revision.paths, refusal, part, wanted)

    kept.clear_damaged(worker.engine, revision.series_instance_uid, folder)
    kept.build_once(folder, build)
    kept.build_missing(folder, worker.wanted.kinds, add)
    return kept.kept_files(folder)


def _enter(connection: Connection, worker: Worker, due: _Due) -> None:
    if due.heir is not None and due.heir.item is not None:
        item = due.heir.item
        if revisions.state_in(connection, item.key) is SeriesState.REFUSED:
            text = "chosen after all: what was chosen in its place could not be read"
            event = SeriesEvent.CHOSEN
            revisions.requeue(connection, worker.jobs, item, text, event=event)
            _log.info("chosen", revision=item.key, text=text)
    if due.speaker is not None and due.fault:
        members.cannot_tell(connection, due.speaker, due.fault)
    elif due.speaker is not None and members.tell(connection, due.speaker, due.report):
        deliveries.open_deliveries(connection, worker.jobs, due.speaker, worker.destinations)
        _log.info("told", revision=due.speaker)


def _is_newest(member: Member, revision: Revision) -> bool:
    """Tell whether what is known of a series is known of this revision of it."""
    return member.item is not None and member.item.key == revision.key


def _ended(member: Member, event: SeriesEvent, told: Mapping[str, Any]) -> Member:
    """Return a series as it will stand."""
    if event is SeriesEvent.FAILED:
        return replace(member, state=SeriesState.FAILED, refusal=None)
    refusal = Refusal(Reason(told["reason"]), told["reason_text"])
    return replace(member, state=SeriesState.REFUSED, refusal=refusal)
