"""Rows of many instances at once: each is entered, or fails for itself."""

import sqlite3
from collections.abc import Callable
from dataclasses import replace

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from ich_node.records import Received
from ich_node.store import instances
from ich_node.store.engine import Engine, reading
from ich_node.store.instances import Entry
from ich_node.store.prepared import Prepared, _compiled
from ich_node.store.tables import instance, series, study

Make = Callable[[int], Received]


def entry(received: Received) -> Entry:
    return Entry(received, priority=5, quiet_seconds=30.0)


def values(engine: Engine, column: sa.Column[str]) -> list[str]:
    with reading(engine) as connection:
        return sorted(connection.execute(sa.select(column)).scalars())


def test_instances_of_several_series_are_entered_in_one_go(engine: Engine, received: Make) -> None:
    other = replace(received(2), series_instance_uid="1.2.4", study_instance_uid="1.9")
    entries = [entry(received(1)), entry(other), entry(received(3))]
    assert instances.add_all(engine, entries) == [None] * 3
    assert values(engine, instance.c.sop_instance_uid) == ["1.2.3.1", "1.2.3.2", "1.2.3.3"]
    assert values(engine, series.c.series_instance_uid) == ["1.2.3", "1.2.4"]
    assert values(engine, study.c.study_instance_uid) == ["1.2", "1.9"]


def test_an_entry_that_fails_keeps_no_other_out(engine: Engine, received: Make) -> None:
    instances.add(engine, received(2), priority=5, quiet_seconds=30.0)
    errors = instances.add_all(engine, [entry(received(number)) for number in (1, 2, 3)])
    assert [error is None for error in errors] == [True, False, True]
    assert values(engine, instance.c.sop_instance_uid) == ["1.2.3.1", "1.2.3.2", "1.2.3.3"]


def test_a_database_that_is_locked_is_waited_for_once_for_all_of_them(
    engine: Engine, received: Make
) -> None:
    """Each alone would wait as long again, and its sender with it."""
    tried = []

    def wait_for_lock(*_event: object) -> None:
        tried.append(1)
        locked = sqlite3.OperationalError("database is locked")
        raise sa.exc.OperationalError("BEGIN IMMEDIATE", None, locked)

    entries = [entry(received(number)) for number in (1, 2, 3)]
    sa.event.listen(engine, "begin", wait_for_lock)
    errors = instances.add_all(engine, entries)
    sa.event.remove(engine, "begin", wait_for_lock)
    assert [isinstance(error, sa.exc.OperationalError) for error in errors] == [True] * 3
    assert len(tried) == 1
    assert instances.add_all(engine, entries) == [None] * 3


def test_a_prepared_statement_speaks_to_the_driver_of_postgresql_too() -> None:
    """Its driver takes values by name; SQLite's takes them in order."""
    statement = Prepared(
        sa.select(instance.c.path)
        .where(instance.c.sop_instance_uid == sa.bindparam("uid"))
        .where(instance.c.calling_ae == "PACS")
    )
    text, names, constants = _compiled(statement, postgresql.psycopg.dialect())
    assert names is None
    assert "%(uid)s" in text
    assert list(constants.values()) == ["PACS"]
