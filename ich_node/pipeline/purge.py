"""What has outlived `[retention]`: planned first, so that it can be shown, then deleted.

Originals go by age, and beyond their age where the data folder holds more than `max_gb`, the oldest
study first. Results go by their own age, and only after the originals of their study. Rows stay.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ich_node import logs
from ich_node.settings import Retention, Settings
from ich_node.store import retention, trail
from ich_node.store.engine import Engine
from ich_node.store.retention import Holding

PERIOD_S = 3600.0
_DAY_S = 86400.0
_GB = 1e9

_log = logs.get(__name__)


@dataclass(frozen=True)
class Deletion:
    """What goes of one study: ``kind`` is ``originals`` or ``results``; ``why`` for people."""

    kind: str
    study_instance_uid: str
    files: int
    size: int
    why: str


@dataclass(frozen=True)
class Plan:
    """What is to be deleted, and what is overdue and must stay.

    Parameters
    ----------
    deletions
        The oldest first.
    bound
        Overdue, but unread, unsent or not confirmed.
    held, limit
        Bytes of originals now, with a limit those of results too; and how many there may be (0: any
        number).
    """

    deletions: tuple[Deletion, ...]
    bound: tuple[Holding, ...]
    held: int
    limit: int

    @property
    def freed(self) -> int:
        """Bytes of originals that the deletions give back."""
        return sum(item.size for item in self.deletions)


def plan(engine: Engine, settings: Settings, now: float) -> Plan:
    """Say what `[retention]` asks for at `now`, seconds since the epoch; nothing is changed."""
    rules = settings.retention
    names = _names(settings)
    originals, results = retention.originals(engine, names), retention.results(engine, names)
    limit = int(rules.max_gb * _GB)
    # A large archive has millions of results: they are counted only where there is a limit.
    held = sum(item.size for item in originals)
    held += _size(settings.results_dir) if limit else 0
    gone = _originals(originals, rules, now, held - limit if limit else 0)
    old = _overdue(results, rules.results_days, now)
    deletions = gone + [
        Deletion("results", item.study_instance_uid, item.files, 0, _age(rules.results_days))
        for item in old
        if not item.bound
    ]
    late = _overdue(originals, rules.originals_days, now)
    bound = tuple(item for item in (*late, *old) if item.bound)
    return Plan(tuple(deletions), bound, held, limit)


def _names(settings: Settings) -> list[str]:
    return [item.name for item in settings.destinations]


def _originals(
    holdings: Sequence[Holding], rules: Retention, now: float, excess: int
) -> list[Deletion]:
    late = {item.study_instance_uid for item in _overdue(holdings, rules.originals_days, now)}
    gone = []
    for item in holdings:
        if item.bound:
            continue
        uid = item.study_instance_uid
        if uid in late:
            why = _age(rules.originals_days)
        elif excess > 0:
            why = f"more than max_gb = {rules.max_gb:g} is held"
        else:
            continue
        gone.append(Deletion("originals", uid, item.files, item.size, why))
        excess -= item.size
    return gone


def _overdue(holdings: Sequence[Holding], days: int, now: float) -> list[Holding]:
    return [item for item in holdings if days and now - item.at > days * _DAY_S]


def _age(days: int) -> str:
    return f"older than {days} days"


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def carry_out(engine: Engine, settings: Settings, planned: Plan) -> Plan:
    """Delete what was planned; return what was deleted.

    A study that got an image, or was asked for again, meanwhile is left alone.
    """
    names = _names(settings)
    do = {"originals": retention.delete_originals, "results": retention.delete_results}
    done = tuple(
        item
        for item in planned.deletions
        if do[item.kind](engine, names, item.study_instance_uid, item.why)
    )
    return Plan(done, planned.bound, planned.held, planned.limit)


@dataclass
class Watch:
    """Whether the clock may be believed where age decides what is deleted.

    A clock that is wrong by years would make everything old. The time of each pass is kept in a
    file; where the next one is not within a day of it, nothing is deleted by its age until a day
    has passed, by a clock that nobody sets, in which somebody can mend it.
    """

    stamp: Path
    doubted_at: float | None = None

    def believes(self, now: float, monotonic: float) -> bool:
        """Judge the clock at `now` (epoch, s) and `monotonic` (s)."""
        last = self.stamp.stat().st_mtime if self.stamp.exists() else now
        if -PERIOD_S <= now - last <= _DAY_S or self._waited(monotonic):
            self.stamp.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.stamp.touch()
            os.utime(self.stamp, (now, now))
            self.doubted_at = None
            return True
        _log.error(
            "the clock was set, or the node was off for long: nothing is deleted by its age for a "
            "day; look at the clock",
            days_since_last_pass=round((now - last) / _DAY_S, 1),
        )
        return False

    def _waited(self, monotonic: float) -> bool:
        if self.doubted_at is None:
            self.doubted_at = monotonic
        return monotonic - self.doubted_at >= _DAY_S


def watch(settings: Settings) -> Watch:
    """Return the watch of a node."""
    return Watch(settings.storage.data_dir / "locks" / "purged")


def purge(engine: Engine, settings: Settings, watching: Watch) -> None:
    """Delete what has outlived its time; a regular duty of the receiver."""
    if watching.believes(time.time(), time.monotonic()):
        if gone := trail.prune(engine, settings.audit.days, settings.audit.sinks):
            _log.info("entries of the audit trail deleted", entries=gone, days=settings.audit.days)
    else:
        by_space = settings.retention.model_copy(update={"originals_days": 0, "results_days": 0})
        settings = settings.model_copy(update={"retention": by_space})
    done = carry_out(engine, settings, plan(engine, settings, time.time()))
    if done.deletions:
        _log.info("deleted", studies=len(done.deletions), freed_mb=round(done.freed / 1e6))
    over = done.held - done.freed - done.limit
    if done.limit and over > 0:
        _log.error(
            "more than retention.max_gb is held and nothing more may be deleted: the rest is "
            "unread, unsent or not confirmed",
            held_gb=round((done.held - done.freed) / _GB, 3),
            max_gb=done.limit / _GB,
        )
