"""What has outlived `[retention]`: planned first, so that it can be shown, then deleted.

Originals go by age, and before their time where the data folder holds more than `max_gb`, the
oldest study first. What is kept apart goes as they do, but header corrections, which were answered
as stored, never before their time. Results go by their own age, and only after the originals of
their study; copies of damaged databases as the trail that is in them. Rows stay.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from ich_node import logs
from ich_node.settings import Retention, Settings
from ich_node.store import apart, retention, trail
from ich_node.store.apart import Apart
from ich_node.store.engine import Engine
from ich_node.store.retention import Holding

PERIOD_S = 3600.0
_DAY_S = 86400.0
_GB = 1e9

_log = logs.get(__name__)

Kept = Holding | Apart
_K = TypeVar("_K", bound=Kept)


@dataclass(frozen=True)
class Deletion:
    """What goes of one study.

    Parameters
    ----------
    kind
        ``originals``, ``results``, the folder of what is kept apart, or ``database``.
    study_instance_uid
        Empty where nobody knows whose it is.
    files, size
        How many, and their bytes (results: 0, the rows do not say).
    why
        For people.
    which
        Of what is kept apart: these.
    """

    kind: str
    study_instance_uid: str
    files: int
    size: int
    why: str
    which: tuple[Apart, ...] = ()


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
        Bytes of originals and of what is kept apart now, with a limit those of results too; and how
        many there may be (0: any number).
    """

    deletions: tuple[Deletion, ...]
    bound: tuple[Holding, ...]
    held: int
    limit: int

    @property
    def freed(self) -> int:
        """Bytes that the deletions give back, those of results not counted."""
        return sum(item.size for item in self.deletions)


def plan(engine: Engine, settings: Settings, now: float) -> Plan:
    """Say what `[retention]` asks for at `now`, seconds since the epoch; nothing is changed."""
    rules, names = settings.retention, _names(settings)
    originals, results = retention.originals(engine, names), retention.results(engine, names)
    kept = apart.files(engine, settings.storage.data_dir, names)
    limit = int(rules.max_gb * _GB)
    # A large archive has millions of results: they are counted only where there is a limit.
    held = sum(item.size for item in originals) + sum(item.size for item in kept)
    held += _size(settings.results_dir) if limit else 0
    old = _overdue(results, rules.results_days, now)
    copies = _overdue(apart.databases(settings.database_url), settings.audit.days, now)
    going = _outlived([*originals, *kept], rules, now, held - limit if limit else 0)
    going += [(item, _age(rules.results_days)) for item in old if not item.bound]
    going += [(item, _age(settings.audit.days)) for item in copies]
    late = _overdue(originals, rules.originals_days, now)
    late += apart.by_study(_overdue(kept, rules.originals_days, now))
    bound = tuple(item for item in (*late, *old) if item.bound)
    return Plan(tuple(_deletions(going)), bound, held, limit)


def _names(settings: Settings) -> list[str]:
    return [item.name for item in settings.destinations]


def _outlived(
    items: Sequence[Kept], rules: Retention, now: float, excess: int
) -> list[tuple[Kept, str]]:
    """Return what goes by age, or because `excess` bytes too many are held, and which of them."""
    gone = []
    for item in sorted(items, key=lambda item: item.at):
        if item.bound:
            continue
        if _overdue([item], rules.originals_days, now):
            why = _age(rules.originals_days)
        elif excess > 0 and item.kind != apart.CORRECTIONS:
            why = f"more than max_gb = {rules.max_gb:g} is held"
        else:
            continue
        gone.append((item, why))
        excess -= item.size
    return gone


def _deletions(going: Sequence[tuple[Kept, str]]) -> list[Deletion]:
    """Return a deletion for each kind of each study, and each cause."""
    found: dict[tuple[str, str, str], list[Kept]] = {}
    for item, why in going:
        found.setdefault((item.kind, item.study_instance_uid, why), []).append(item)
    return [
        Deletion(
            kind=kind,
            study_instance_uid=study,
            files=sum(item.files for item in items),
            size=sum(item.size for item in items),
            why=why,
            which=tuple(item for item in items if isinstance(item, Apart)),
        )
        for (kind, study, why), items in found.items()
    ]


def _overdue(items: Sequence[_K], days: int, now: float) -> list[_K]:
    return [item for item in items if days and now - item.at > days * _DAY_S]


def _age(days: int) -> str:
    return f"older than {days} days"


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def carry_out(engine: Engine, settings: Settings, planned: Plan) -> Plan:
    """Delete what was planned; return what was deleted.

    A study that got an image, or was asked for again, meanwhile is left alone.
    """
    names = _names(settings)
    done = tuple(item for item in planned.deletions if _delete(engine, names, item))
    return replace(planned, deletions=done)


def _delete(engine: Engine, names: Sequence[str], item: Deletion) -> int:
    if item.which:
        return apart.delete(engine, names, item.which, item.why)
    originals = item.kind == retention.ORIGINALS
    do = retention.delete_originals if originals else retention.delete_results
    return do(engine, names, item.study_instance_uid, item.why)


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
        trail_stays = settings.audit.model_copy(update={"days": 0})
        settings = settings.model_copy(update={"retention": by_space, "audit": trail_stays})
    done = carry_out(engine, settings, plan(engine, settings, time.time()))
    if done.deletions:
        studies = {item.study_instance_uid for item in done.deletions}
        _log.info("deleted", studies=len(studies), freed_mb=round(done.freed / 1e6))
    over = done.held - done.freed - done.limit
    if done.limit and over > 0:
        _log.error(
            "more than retention.max_gb is held and nothing more may be deleted: the rest is "
            "unread, unsent or not confirmed, headers changed less than originals_days ago, or "
            "results, which go by results_days alone",
            held_gb=round((done.held - done.freed) / _GB, 3),
            max_gb=done.limit / _GB,
        )
