"""Which series are complete: evidence gathered, decisions made, revisions opened.

It runs beside the receiver and must not hold it up: what is slow (pixels, other systems) is asked
for in the background, and a look takes what has been answered by then.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from types import MappingProxyType

from ich_node import faults, logs
from ich_node.complete.evidence import (
    GRACE_S,
    LOOK_PART,
    against,
    decide,
    is_settled,
    is_worth_a_look,
    may_ask,
)
from ich_node.complete.snapshot import SeriesSnapshot
from ich_node.complete.stack import Stack, stack_of
from ich_node.pipeline.counting import Ask, Counting
from ich_node.pipeline.looking import BATCH, NATIVE, Ends, LookAtEnds, look_at_ends
from ich_node.records import Arrival
from ich_node.store import announcements, instances, revisions
from ich_node.store.engine import Engine, may_pass
from ich_node.store.jobs import Jobs
from ich_node.store.revisions import Receiving

_log = logs.get(__name__)

# Nothing is asked for before this, s, but a PACS.
_EARLIEST_S = LOOK_PART * GRACE_S
# A series whose judging failed is judged again after this, s.
_AGAIN_S = 5.0
NOTHING_HEARD: Mapping[str, float] = MappingProxyType({})


@dataclass
class _Known:
    """A series as it was at its last image, and what was found out about it since."""

    found: Receiving
    snapshot: SeriesSnapshot
    end_slices: Ends | None
    counting: Counting | None = None
    ends: Future[list[bool | None]] | None = None
    place_in_batch: int = 0
    lists_read: bool = False
    logged: set[str] = field(default_factory=set)

    def ends_outside(self) -> bool | None:
        """What the look at the end slices said; None where it is not over, or must be repeated."""
        if self.ends is None or not self.ends.done():
            return None
        if self.ends.exception() is not None:  # no process could be had: not whole, until it grows
            return False
        answer = self.ends.result()[self.place_in_batch]
        if answer is None:
            self.ends = None
        return answer


@dataclass
class _Fault:
    """A series that cannot be judged: why, as far as it was logged, and when to try again."""

    logged: set[str] = field(default_factory=set)
    due: float = 0.0


@dataclass
class Completion:
    """What is known of the series that are being received.

    Parameters
    ----------
    listening_since
        When the receiver began to listen; epoch, s.
    pacs
        By name of the source, how to ask its PACS for its number of instances.
    look_at_ends
        As the function of this name.
    """

    engine: Engine
    jobs: Jobs
    listening_since: float
    pacs: Mapping[str, Ask] = field(default_factory=dict)
    look_at_ends: LookAtEnds = look_at_ends
    _looked_at: float = 0.0
    _last: dict[str, tuple[float, float]] = field(default_factory=dict)
    _lists_version: float = -1.0
    _known: dict[str, _Known] = field(default_factory=dict)
    _faults: dict[str, _Fault] = field(default_factory=dict)
    _background: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="ends")
    )

    def __post_init__(self) -> None:
        self._looked_at = self.listening_since

    def look(
        self,
        open_series: Mapping[str, int],
        now: float,
        ahead_s: float = 0.0,
        heard: Mapping[str, float] = NOTHING_HEARD,
    ) -> int:
        """Declare every series complete that the evidence calls complete.

        Parameters
        ----------
        open_series
            How many open associations brought an instance of each series.
        now
            Seconds since the epoch, on a clock that nobody sets.
        ahead_s
            How far the clock that stamps the images is ahead of it, s: it was set since.
        heard
            How long ago, s, an image of a series came since the last look, were it one that is
            here already: a sender that begins anew is not done.

        Returns
        -------
        int
            How many series were being received.
        """
        receiving = revisions.receiving(self.engine)
        self._time(receiving, now, ahead_s, heard)
        self._forget_lists()
        known: list[_Known] = []
        for found in receiving:
            if self._may_be_over(found, open_series, now):
                with self._by_itself(found.series_instance_uid, now):
                    known.append(self._update(found, open_series, now))
        there = {found.series_instance_uid for found in receiving}
        kept = {uid: series for uid, series in self._known.items() if uid in there}
        self._known = kept | {series.found.series_instance_uid: series for series in known}
        self._faults = {uid: fault for uid, fault in self._faults.items() if uid in there}
        self._ask_for_ends(known, now)
        for series in known:
            with self._by_itself(series.found.series_instance_uid, now):
                self._decide(series, now)
        return len(receiving)

    @contextmanager
    def _by_itself(self, uid: str, now: float) -> Iterator[None]:
        """Keep a fault of one series from the others; that of the machine is all of theirs."""
        try:
            yield
        except Exception as error:
            if may_pass(error):
                raise
            fault = self._faults.setdefault(uid, _Fault())
            fault.due = now + _AGAIN_S
            said = logs.cause(error)
            if said["error"] not in fault.logged:
                fault.logged.add(said["error"])
                _log.error("a series cannot be judged; tried again", series=uid, **said)

    def _time(
        self,
        receiving: Sequence[Receiving],
        now: float,
        ahead_s: float,
        heard: Mapping[str, float],
    ) -> None:
        """Note when the last image of each series came, on the clock that nobody sets.

        What is new came after the last look, whatever its stamp says; at the first look, that is
        since we listen: while nobody did nothing could come, and that time is no quiet time.
        """
        last = {}
        for found in receiving:
            uid, stamp = found.series_instance_uid, found.last_received_at
            came = min(max(stamp - ahead_s, self._looked_at), now)
            known = self._last.get(uid)
            if known is not None and known[0] == stamp:
                came = known[1]
            last[uid] = (stamp, max(came, now - heard[uid]) if uid in heard else came)
        self._last, self._looked_at = last, now

    def _may_be_over(self, found: Receiving, open_series: Mapping[str, int], now: float) -> bool:
        """Tell whether to look closer: what comes image by image now costs nothing but this."""
        uid = found.series_instance_uid
        if uid in self._faults and now < self._faults[uid].due:
            return False
        since = now - self._last[uid][1]
        if open_series.get(uid, 0):
            return since >= GRACE_S
        # Many senders open an association for every image. Only a PACS can tell any earlier.
        return found.source in self.pacs or since >= min(_EARLIEST_S, found.quiet_seconds)

    def _forget_lists(self) -> None:
        """Let lists be read again after one came."""
        version = announcements.version(self.engine)
        if version != self._lists_version:
            self._lists_version = version
            for known in self._known.values():
                known.lists_read = False

    def _update(self, found: Receiving, open_series: Mapping[str, int], now: float) -> _Known:
        uid = found.series_instance_uid
        open_associations = open_series.get(uid, 0)
        known = self._known.get(uid)
        if known is None or known.found != found:
            known = self._read(found, known)
        known.snapshot = replace(
            known.snapshot,
            last_received=self._last[uid][1],
            open_associations=open_associations,
            ends_outside=known.ends_outside(),
        )
        if not known.lists_read:
            expected = announcements.expected(self.engine, uid)
            known.snapshot, known.lists_read = replace(known.snapshot, expected=expected), True
        if known.counting is not None and may_ask(known.snapshot, now):
            known.counting.look(found, now)
            known.snapshot = replace(known.snapshot, counts=known.counting.counts)
        return known

    def _read(self, found: Receiving, before: _Known | None) -> _Known:
        arrivals = instances.arrivals(self.engine, found.series_instance_uid)
        times = [item.received_at for item in arrivals]
        longest = max((late - early for early, late in pairwise(times)), default=0.0)
        stack = stack_of(arrivals)
        snapshot = SeriesSnapshot(
            instances=len(arrivals),
            last_received=self._last[found.series_instance_uid][1],
            open_associations=0,
            # After more than that the quiet time decides: so long is no pause, the clock was set.
            longest_pause_s=min(longest, found.quiet_seconds),
            stack=stack,
        )
        ask = self.pacs.get(found.source)
        counting = Counting(ask) if ask is not None and stack.worth_reading else None
        logged = before.logged if before else set()
        return _Known(found, snapshot, _ends(stack, arrivals), counting, logged=logged)

    def _ask_for_ends(self, known: Sequence[_Known], now: float) -> None:
        wanted = [
            (series, series.end_slices)
            for series in known
            if series.end_slices is not None
            and series.ends is None
            and series.snapshot.ends_outside is None
            and is_worth_a_look(series.snapshot, now)
        ][:BATCH]
        if not wanted:
            return
        stacks = [end_slices for _, end_slices in wanted]
        asked = self._background.submit(self.look_at_ends, stacks)
        for place, (series, _) in enumerate(wanted):
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
        for opinion in against(series.snapshot, now):
            if opinion.kind not in series.logged:
                series.logged.add(opinion.kind)
                _log.warning(
                    "evidence against; the quiet time decides",
                    series=series.found.series_instance_uid,
                    evidence=opinion.text,
                )


def _ends(stack: Stack, arrivals: Sequence[Arrival]) -> Ends | None:
    """Return where the end slices lie; all that is kept of hundreds of arrivals."""
    if not stack.ends:
        return None
    by_uid = {item.sop_instance_uid: item for item in arrivals}
    slices = [by_uid[uid] for uid in stack.ends]
    lowest, wide, highest = (item.path for item in slices)
    return Ends((lowest, wide, highest), all(item.transfer_syntax_uid in NATIVE for item in slices))
