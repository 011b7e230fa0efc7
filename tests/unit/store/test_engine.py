"""How connections are used; which errors are of the machine and pass with it."""

import sqlite3
from contextlib import ExitStack

import pytest
import sqlalchemy as sa

from ich_node.store.engine import Engine, may_pass, reading


@pytest.mark.parametrize("number", [28, 122, 30, 5, 24, 12])  # full, quota, read-only, I/O, files
def test_errors_of_the_machine_may_pass(number: int) -> None:
    assert may_pass(OSError(number, "said"))


@pytest.mark.parametrize(
    "text", ["database or disk is full", "database is locked", "disk I/O error", "readonly"]
)
def test_what_sqlite_says_of_the_disk_may_pass(text: str) -> None:
    assert may_pass(sa.exc.OperationalError("", None, sqlite3.OperationalError(text)))
    assert may_pass(sa.exc.DatabaseError("", None, sqlite3.DatabaseError(text)))
    assert may_pass(sqlite3.OperationalError(text))  # of a `Prepared` statement


def test_connections_that_are_all_in_use_may_pass() -> None:
    assert may_pass(sa.exc.TimeoutError("QueuePool limit of size 5 overflow 10 reached"))


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(2, "No such file"),
        ValueError("odd"),
        sa.exc.IntegrityError("", None, sqlite3.IntegrityError("UNIQUE")),
        sa.exc.ProgrammingError("", None, sqlite3.ProgrammingError("no such column")),
        sqlite3.IntegrityError("UNIQUE"),
        sqlite3.ProgrammingError("type 'list' is not supported"),
    ],
)
def test_errors_of_the_work_do_not(error: Exception) -> None:
    assert not may_pass(error)


def test_reads_one_after_the_other_use_one_connection(engine: Engine) -> None:
    """Each has a cache of its own, which only the reads of this one fill."""
    with ExitStack() as at_once:
        for _ in range(3):
            at_once.enter_context(reading(engine))
    used = set()
    for _ in range(6):
        with reading(engine) as connection:
            used.add(id(connection.connection.dbapi_connection))
    assert len(used) == 1
