"""What is remembered of a destination beyond its deliveries."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence

import sqlalchemy as sa

from ich_node.records import Verdict
from ich_node.store import events
from ich_node.store.engine import Connection, Engine, reading
from ich_node.store.tables import held_destination, refused_class


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


def hold(connection: Connection, name: str) -> bool:
    """Hold a destination; False, and nothing changed, where it is held already."""
    if name in held_in(connection):
        return False
    connection.execute(sa.insert(held_destination).values(destination=name, since=time.time()))
    events.insert(connection, "destination_held", f"{name}: held; its deliveries wait")
    return True


def release(connection: Connection, name: str) -> bool:
    """Hold a destination no more; False where it was not held."""
    gone = sa.delete(held_destination).where(held_destination.c.destination == name)
    if connection.execute(gone).rowcount == 0:
        return False
    events.insert(connection, "destination_released", f"{name}: released")
    return True


def held(engine: Engine) -> dict[str, float]:
    """Return the destinations that are held, and since when (epoch, s)."""
    with reading(engine) as connection:
        return held_in(connection)


def held_in(connection: Connection) -> dict[str, float]:
    """Return the same as `held`, in a transaction."""
    rows = connection.execute(sa.select(held_destination)).mappings()
    return {row["destination"]: row["since"] for row in rows}


def _known(connection: Connection, name: str) -> dict[str, float]:
    rows = connection.execute(sa.select(refused_class).where(refused_class.c.destination == name))
    return {row["sop_class_uid"]: row["since"] for row in rows.mappings()}


def _forget(connection: Connection, name: str, classes: Collection[str]) -> None:
    connection.execute(
        sa.delete(refused_class).where(
            refused_class.c.destination == name, refused_class.c.sop_class_uid.in_(classes)
        )
    )
