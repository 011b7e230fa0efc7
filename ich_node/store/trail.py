"""The trail as a whole: who started, asked and read; what it says; and what has outlived its time.

Its entries are the events. The database itself refuses to change them, and to delete any that is
not older than the boundary of an open pruning.
"""

from __future__ import annotations

import os
import pwd
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from ich_node import __version__
from ich_node.store import events
from ich_node.store.engine import Connection, Engine, reading, writing
from ich_node.store.tables import audit_position, audit_pruning, event, study, transfer

STARTED, STOPPED, ASKED, READ, PRUNED = (
    "started",
    "stopped",
    "asked",
    "trail_read",
    "trail_pruned",
)
# The first of a trail whose beginning is lost: its database was damaged or gone.
REBUILT = "database_rebuilt"
_BATCH = 500
_UID = re.compile(r"[0-9.]{1,64}")


@dataclass(frozen=True)
class Entry:
    """One line of the trail; ``at`` is epoch, s; ``patient_id`` is that of the study, if known."""

    id: int
    at: float
    kind: str
    study_instance_uid: str | None
    series_instance_uid: str | None
    text: str
    data: dict[str, Any]
    patient_id: str | None


@dataclass(frozen=True)
class Span:
    """Which entries are meant: ``since`` and ``until`` (epoch, s; both included), ``study``."""

    since: float | None = None
    until: float | None = None
    study: str | None = None


def user() -> str:
    """Return who runs this process, and by way of sudo for whom, as the system knows them."""
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's user without a name
        name = f"uid {os.getuid()}"
    asked_by = os.environ.get("SUDO_USER", "")
    return f"{name} (sudo: {asked_by})" if asked_by else name


def started(engine: Engine, configuration: str) -> None:
    """Note that a node starts, with the SHA-256 of its configuration, and what that tells."""
    with writing(engine) as connection:
        before = _latest(connection, (STARTED, STOPPED))
        last = _latest(connection, (STARTED,))
        known = (last["data"] or {}) if last is not None else {}
        changed = bool(known) and known.get("configuration_sha256") != configuration
        who = user()
        text = f"version {__version__} started by {who}, configuration {configuration[:12]}"
        text += ", changed since the last start" if changed else ""
        if before is not None and before["kind"] == STARTED:
            text += "; the run before did not end in order"
        data = {
            "user": who,
            "version": __version__,
            "configuration_sha256": configuration,
            "configuration_changed": changed,
        }
        events.insert(connection, STARTED, text, data=data)


def stopped(engine: Engine) -> None:
    """Note that a node ends in order."""
    events.add(engine, STOPPED, "ended in order", data={"user": user(), "version": __version__})


def asked(engine: Engine, command: str, about: str = "", destinations: Sequence[str] = ()) -> None:
    """Note who asks for a command, before it is done; ``about`` is a Study Instance UID."""
    chosen = about if _UID.fullmatch(about) else None
    what = " ".join([f"`ich-node {command}", *([about] if chosen else destinations)]) + "`"
    data = {"user": user(), "command": command, "destinations": list(destinations)}
    events.add(engine, ASKED, f"{what} by {data['user']}", study=chosen, data=data)


def was_read(engine: Engine, span: Span) -> None:
    """Note who reads the trail."""
    asked_for = {name: value for name, value in vars(span).items() if value is not None}
    data = {"user": user(), **asked_for}
    events.add(engine, READ, f"the audit trail is read by {data['user']}", data=data)


def _latest(
    connection: Connection, kinds: Sequence[str], before: int | None = None
) -> sa.RowMapping | None:
    query = sa.select(event).where(event.c.kind.in_(kinds)).order_by(event.c.id.desc()).limit(1)
    if before is not None:
        query = query.where(event.c.id < before)
    return connection.execute(query).mappings().first()


def entries(
    engine: Engine, span: Span | None = None, after: int = 0, until: int | None = None
) -> Iterator[Entry]:
    """Return the trail in its order, a few hundred lines in memory at a time.

    Parameters
    ----------
    after, until
        Only entries with a greater ``id``, and with no greater one than ``until``.
    """
    chosen = [
        condition for condition in _conditions(span or Span(), until) if condition is not None
    ]
    while found := _page(engine, [*chosen, event.c.id > after]):
        yield from found
        after = found[-1].id


def _conditions(span: Span, until: int | None) -> list[sa.ColumnElement[bool] | None]:
    return [
        event.c.at >= span.since if span.since is not None else None,
        event.c.at <= span.until if span.until is not None else None,
        event.c.study_instance_uid == span.study if span.study is not None else None,
        event.c.id <= until if until is not None else None,
    ]


def _page(engine: Engine, chosen: Sequence[sa.ColumnElement[bool]]) -> list[Entry]:
    query = (
        sa.select(event, study.c.patient_id)
        .outerjoin(study, study.c.study_instance_uid == event.c.study_instance_uid)
        .where(*chosen)
        .order_by(event.c.id)
        .limit(_BATCH)
    )
    with reading(engine) as connection:
        rows = connection.execute(query).mappings().all()
    return [Entry(**{**row, "data": row["data"] or {}}) for row in rows]


def newest(engine: Engine) -> int:
    """Return the ``id`` of the newest entry; 0 where there is none."""
    with reading(engine) as connection:
        return int(connection.scalar(sa.select(sa.func.max(event.c.id))) or 0)


def prune(engine: Engine, days: int, sinks: Sequence[str] = ()) -> int:
    """Delete what is older than so many days, and note it; return how many entries went.

    What one of these sinks has not got yet stays. 0 days delete nothing.
    """
    before = time.time() - days * 86400.0
    with reading(engine) as connection:
        old = _old(connection, before, sinks)
        if not days or not connection.scalar(sa.select(sa.func.count()).where(old)):
            return 0
    with writing(engine) as connection:
        number = int(connection.scalar(sa.select(sa.func.count()).where(old)) or 0)
        text = f"{number} entries of the audit trail deleted: older than {days} days"
        # First, so that the greatest id is never given twice.
        events.insert(connection, PRUNED, text, data={"entries": number, "days": days})
        connection.execute(sa.insert(audit_pruning).values(before=before))
        connection.execute(sa.delete(event).where(old))
        connection.execute(sa.delete(transfer).where(transfer.c.ended_at < before))
        connection.execute(sa.delete(audit_pruning))
    return number


def _old(connection: Connection, before: float, sinks: Sequence[str]) -> sa.ColumnElement[bool]:
    old: sa.ColumnElement[bool] = event.c.at < before
    if sinks:
        query = sa.select(audit_position.c.sink, audit_position.c.event_id)
        got = {row.sink: row.event_id for row in connection.execute(query)}
        old = sa.and_(old, event.c.id <= min(got.get(sink, 0) for sink in sinks))
    return old


def position(engine: Engine, sink: str) -> int:
    """Return up to which entry a sink has got the trail; a new one begins at the latest start.

    Where the database was made anew for that start, it begins at the entry that says so.
    """
    with reading(engine) as connection:
        query = sa.select(audit_position.c.event_id).where(audit_position.c.sink == sink)
        known = connection.scalar(query)
        if known is not None:
            return int(known)
        last = _latest(connection, (STARTED,))
        if last is not None:
            before = _latest(connection, (STARTED, STOPPED, REBUILT), last["id"])
            last = before if before is not None and before["kind"] == REBUILT else last
    begins = int(last["id"]) - 1 if last is not None else newest(engine)
    with writing(engine) as connection:
        connection.execute(sa.insert(audit_position).values(sink=sink, event_id=begins))
    return begins


def advance(engine: Engine, sink: str, to: int) -> None:
    """Note that a sink has got the trail up to this entry."""
    with writing(engine) as connection:
        connection.execute(
            sa.update(audit_position).where(audit_position.c.sink == sink).values(event_id=to)
        )
