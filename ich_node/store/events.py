"""What happened, in order: the audit trail. Append-only, without the patient's identity."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from ich_node.store.engine import Connection, Engine, reading, writing
from ich_node.store.tables import event

Facts = Mapping[str, Any]  # what an event keeps beside its text, for machines
NO_FACTS: Facts = {}


def add(
    engine: Engine,
    kind: str,
    text: str,
    *,
    study: str | None = None,
    series: str | None = None,
    data: Facts | None = None,
) -> None:
    """Append one event in a transaction of its own."""
    with writing(engine) as connection:
        insert(connection, kind, text, study=study, series=series, data=data)


def latest(engine: Engine) -> float:
    """Return the latest time that any event has, epoch s; 0 where there is none."""
    with reading(engine) as connection:
        return connection.execute(sa.select(sa.func.max(event.c.at))).scalar_one() or 0.0


def insert(
    connection: Connection,
    kind: str,
    text: str,
    *,
    study: str | None = None,
    series: str | None = None,
    data: Facts | None = None,
) -> None:
    """Append one event in the transaction that made it true."""
    connection.execute(
        sa.insert(event).values(
            at=time.time(),
            kind=kind,
            study_instance_uid=study,
            series_instance_uid=series,
            text=text,
            data=dict(data) if data is not None else None,
        )
    )
