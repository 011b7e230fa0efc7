"""The series of one study, as choosing among them needs to know them."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from ich_node.errors import Reason
from ich_node.records import Refusal
from ich_node.states import READ, UNFINISHED, SeriesState
from ich_node.store import results, revisions
from ich_node.store.engine import Connection, Engine, reading
from ich_node.store.results import KeptResult
from ich_node.store.revisions import Unfinished
from ich_node.store.tables import instance, result, revision, series


@dataclass(frozen=True)
class Member:
    """A series of a study.

    Parameters
    ----------
    series_instance_uid
        Its name.
    coming
        It is being received; also where an earlier revision was complete.
    item
        Its newest revision; None where it was never complete.
    state, refusal
        Of that revision.
    completed_at
        When that revision was complete, seconds since the epoch.
    was_read
        An earlier revision was analysed.
    has_results
        The newest revision has objects.
    paths
        The stored instances in the order in which they came.
    """

    series_instance_uid: str
    coming: bool
    item: Unfinished | None
    state: SeriesState | None
    refusal: Refusal | None
    completed_at: float
    was_read: bool
    has_results: bool
    paths: tuple[Path, ...]

    @property
    def is_due(self) -> bool:
        """Tell whether it is complete and not decided on, or being analysed."""
        return self.state in UNFINISHED

    @property
    def is_read(self) -> bool:
        """Tell whether it is analysed, or was and no newer revision says otherwise."""
        return self.state in READ or (self.was_read and self.state is not SeriesState.REFUSED)

    @property
    def was_passed_over(self) -> bool:
        """Tell whether another series was chosen in its place."""
        return self.refusal is not None and self.refusal.reason is Reason.NOT_CHOSEN


def of_study(engine: Engine, study_instance_uid: str) -> list[Member]:
    """Return every series of a study, in the order of their UIDs."""
    listed = sa.select(series).where(series.c.study_instance_uid == study_instance_uid)
    of_all = sa.select(series.c.series_instance_uid).where(
        series.c.study_instance_uid == study_instance_uid
    )
    with reading(engine) as connection:
        rows = connection.execute(listed.order_by(series.c.series_instance_uid)).mappings().all()
        known = sa.select(revision).where(revision.c.series_instance_uid.in_(of_all))
        by_series = defaultdict(list)
        for row in connection.execute(known.order_by(revision.c.number)).mappings():
            by_series[row["series_instance_uid"]].append(row)
        files = (
            sa.select(instance.c.series_instance_uid, instance.c.path)
            .where(instance.c.series_instance_uid.in_(of_all))
            .order_by(instance.c.received_at, instance.c.sop_instance_uid)
        )
        paths = defaultdict(list)
        for uid, path in connection.execute(files):
            paths[uid].append(Path(path))
        built = sa.select(result.c.revision_key).where(
            result.c.revision_key.in_(
                sa.select(revision.c.key).where(revision.c.series_instance_uid.in_(of_all))
            )
        )
        with_results = set(connection.execute(built).scalars())
    return [
        _member(row, by_series[uid], tuple(paths[uid]), with_results)
        for row in rows
        for uid in (row["series_instance_uid"],)
    ]


def _member(
    row: sa.RowMapping,
    every: Sequence[sa.RowMapping],
    paths: tuple[Path, ...],
    with_results: set[str],
) -> Member:
    newest = every[-1] if every else None
    return Member(
        series_instance_uid=row["series_instance_uid"],
        coming=row["state"] == SeriesState.RECEIVING,
        item=Unfinished(newest["key"], newest["attempt"]) if newest else None,
        state=SeriesState(newest["state"]) if newest else None,
        refusal=_refusal(newest) if newest else None,
        completed_at=newest["completed_at"] if newest else 0.0,
        was_read=any(one["state"] in READ for one in every[:-1]),
        has_results=newest is not None and newest["key"] in with_results,
        paths=paths,
    )


def _refusal(row: sa.RowMapping) -> Refusal | None:
    if row["state"] != SeriesState.REFUSED or not row["reason"]:
        return None
    return Refusal(Reason(row["reason"]), row["reason_text"] or "")


def later_read(connection: Connection, series_instance_uid: str, number: int) -> int | None:
    """Return the number of a revision after this one that is read or has objects; None without."""
    told = sa.select(result.c.revision_key)
    query = sa.select(sa.func.max(revision.c.number)).where(
        revision.c.series_instance_uid == series_instance_uid,
        revision.c.number > number,
        revision.c.state.in_(READ) | revision.c.key.in_(told),
    )
    found: int | None = connection.execute(query).scalar()
    return found


def tell(connection: Connection, key: str, kept: Sequence[KeptResult]) -> bool:
    """Enter the not-analysed SR of a study with the revision that speaks for it.

    Returns
    -------
    bool
        False where there is none, or that revision has objects or is not refused any more.
    """
    refused = revisions.state_in(connection, key) is SeriesState.REFUSED
    if not kept or not refused or results.has_any(connection, key):
        return False
    results.keep(connection, key, kept)
    outcome = {name: said for name, said in _outcome(connection, key).items() if name != _NOT_TOLD}
    connection.execute(
        sa.update(revision)
        .where(revision.c.key == key)
        .values(reported_at=time.time(), outcome=outcome)
    )
    text = "nothing of the study could be read; the destinations are told why"
    revisions.note(connection, key, "told", text)
    return True


def cannot_tell(connection: Connection, key: str, text: str) -> None:
    """Note with the revision that speaks for a study why no destination is told; once."""
    outcome = _outcome(connection, key)
    if outcome.get(_NOT_TOLD) == text:
        return
    connection.execute(
        sa.update(revision)
        .where(revision.c.key == key)
        .values(outcome={**outcome, _NOT_TOLD: text})
    )
    revisions.note(connection, key, _NOT_TOLD, text)


_NOT_TOLD = "not_told"


def _outcome(connection: Connection, key: str) -> dict[str, Any]:
    query = sa.select(revision.c.outcome).where(revision.c.key == key)
    return dict(connection.execute(query).scalar_one() or {})
