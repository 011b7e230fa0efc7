"""What is remembered of a destination beyond its deliveries."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence

import sqlalchemy as sa

from ich_node.records import Verdict
from ich_node.store.engine import Connection, Engine, reading
from ich_node.store.tables import refused_class


def learn(connection: Connection, name: str, verdicts: Sequence[Verdict]) -> list[str]:
    """Remember the SOP classes that a destination did not accept; forget those that it stored.

    Returns
    -------
    list of str
        The classes that it did not refuse before.
    """
    stored = {verdict.sop_class_uid for verdict in verdicts if verdict.stored}
    refused = {verdict.sop_class_uid for verdict in verdicts if verdict.class_refused}
    _forget(connection, name, stored)
    new = sorted(refused - stored - set(_known(connection, name)))
    for uid in new:
        connection.execute(
            sa.insert(refused_class).values(destination=name, sop_class_uid=uid, since=time.time())
        )
    return new


def refused_classes(engine: Engine, name: str) -> dict[str, float]:
    """Return the SOP classes that a destination does not accept, and since when (epoch, s)."""
    with reading(engine) as connection:
        return _known(connection, name)


def _known(connection: Connection, name: str) -> dict[str, float]:
    rows = connection.execute(sa.select(refused_class).where(refused_class.c.destination == name))
    return {row["sop_class_uid"]: row["since"] for row in rows.mappings()}


def _forget(connection: Connection, name: str, classes: Collection[str]) -> None:
    connection.execute(
        sa.delete(refused_class).where(
            refused_class.c.destination == name, refused_class.c.sop_class_uid.in_(classes)
        )
    )
