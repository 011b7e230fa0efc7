"""Which series are complete: evidence gathered, decisions made, revisions opened.

It runs beside the receiver and must not hold it up: what is slow (pixels, other systems) is asked
for in the background, and a look takes what has been answered by then.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

from ich_node import faults, logs
from ich_node.complete.evidence import against, decide, is_settled, is_worth_a_look
from ich_node.complete.snapshot import SeriesSnapshot
from ich_node.complete.stack import stack_of
from ich_node.records import Arrival
from ich_node.store import instances, revisions
from ich_node.store.engine import Engine
from ich_node.store.jobs import Jobs
from ich_node.store.revisions import Receiving

_log = logs.get(__name__)

# So many series are looked at by one process, and so long it may take for them, s.
_BATCH, _ENDS_S = 32, 60.0

Ends = tuple[Path, Path, Path]
LookAtEnds = Callable[[Sequence[Ends]], list[bool]]


def look_at_ends(stacks: Sequence[Ends]) -> list[bool]:
    """Ask a process of its own whether stacks end outside the brain.

    Parameters
    ----------
    stacks
        Of each, its lowest slice, one in the wide brain, and its highest.

    Returns
    -------
    list of bool
        One for each stack; False too for one that ended the process or took too long. Those
        behind it have none.
    """
    paths = [str(path) for ends in stacks for path in ends]
    command = [sys.executable, "-m", "ich_node.assemble.ends", *paths]
    try:
        done = subprocess.run(  # noqa: S603  our own interpreter and module
            command, capture_output=True, text=True, timeout=_ENDS_S, check=False
        )
        said = done.stdout
    except subprocess.TimeoutExpired as error:
        said = error.stdout.decode() if isinstance(error.stdout, bytes) else ""
    answers = [line == "whole" for line in said.splitlines()]
    if len(answers) < len(stacks):
        _log.warning("the end slices of a series cannot be looked at; it waits for its quiet time")
        answers.append(False)
    return answers[: len(stacks)]


@dataclass
class _Known:
    """A series as it was at its last image, and what was found out about it since."""

    found: Receiving
    arrivals: Mapping[str, Arrival]
    snapshot: SeriesSnapshot
    ends: Future[list[bool]] | None = None
    place_in_batch: int = 0
    logged: set[str] = field(default_factory=set)

    def ends_outside(self) -> bool | None:
        """What the look at the end slices said; None where it is not over, or must be repeated."""
        if self.ends is None or not self.ends.done():
            return None
        answers = [] if self.ends.exception() else self.ends.result()
        if self.place_in_batch < len(answers):
            return answers[self.place_in_batch]
        self.ends = None
        return None


@dataclass
class Completion:
    """What is known of the series that are being received.

    Parameters
    ----------
    listening_since
        While nobody listened nothing could come: that time is no quiet time. Epoch, s.
    look_at_ends
        As the function of this name.
    """

    engine: Engine
    jobs: Jobs
    listening_since: float
    look_at_ends: LookAtEnds = look_at_ends
    _known: dict[str, _Known] = field(default_factory=dict)
    _background: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="ends")
    )

    def look(self, open_series: Mapping[str, int], now: float) -> int:
        """Declare every series complete that the evidence calls complete.

        Parameters
        ----------
        open_series
            How many open associations brought an instance of each series.
        now
            Seconds since the epoch.

        Returns
        -------
        int
            How many series were being received.
        """
        receiving = revisions.receiving(self.engine)
        known = [self._update(found, open_series) for found in receiving]
        self._known = {series.found.series_instance_uid: series for series in known}
        self._ask_for_ends(known, now)
        for series in known:
            self._decide(series, now)
        return len(receiving)

    def _update(self, found: Receiving, open_series: Mapping[str, int]) -> _Known:
        uid = found.series_instance_uid
        open_associations = open_series.get(uid, 0)
        known = self._known.get(uid)
        if known is None or known.found != found:
            known = self._read(found, known)
        known.snapshot = replace(
            known.snapshot,
            open_associations=open_associations,
            ends_outside=known.ends_outside(),
        )
        return known

    def _read(self, found: Receiving, before: _Known | None) -> _Known:
        arrivals = instances.arrivals(self.engine, found.series_instance_uid)
        times = [item.received_at for item in arrivals]
        stack = stack_of(arrivals)
        snapshot = SeriesSnapshot(
            instances=len(arrivals),
            last_received=max(found.last_received_at, self.listening_since),
            open_associations=0,
            longest_pause_s=max((late - early for early, late in pairwise(times)), default=0.0),
            stack=stack,
        )
        by_uid = {item.sop_instance_uid: item for item in arrivals}
        return _Known(found, by_uid, snapshot, logged=before.logged if before else set())

    def _ask_for_ends(self, known: Sequence[_Known], now: float) -> None:
        wanted = [
            series
            for series in known
            if series.ends is None
            and series.snapshot.ends_outside is None
            and is_worth_a_look(series.snapshot, now)
        ][:_BATCH]
        if not wanted:
            return
        stacks = [_ends(series) for series in wanted]
        asked = self._background.submit(self.look_at_ends, stacks)
        for place, series in enumerate(wanted):
            series.ends, series.place_in_batch = asked, place

    def _decide(self, series: _Known, now: float) -> None:
        decision = decide(series.snapshot, now, series.found.quiet_seconds)
        if decision is None:
            self._log_against(series, now)
            return
        faults.point("complete.begun", series.found.series_instance_uid)
        key = revisions.open_revision(self.engine, self.jobs, series.found, decision.evidence)
        faults.point("complete.committed", series.found.series_instance_uid)
        if key is not None:
            _log.info("complete", revision=key, evidence=decision.evidence)

    def _log_against(self, series: _Known, now: float) -> None:
        if not is_settled(series.snapshot, now):
            return
        for text in against(series.snapshot, now):
            if text not in series.logged:
                series.logged.add(text)
                _log.warning(
                    "evidence against; the quiet time decides",
                    series=series.found.series_instance_uid,
                    evidence=text,
                )


def _ends(series: _Known) -> Ends:
    lowest, wide, highest = (series.arrivals[uid].path for uid in series.snapshot.stack.ends)
    return lowest, wide, highest
