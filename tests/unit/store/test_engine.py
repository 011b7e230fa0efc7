"""Which errors are of the machine, and pass with it, and which are of the work."""

import sqlite3

import pytest
import sqlalchemy as sa

from ich_node.store.engine import may_pass


@pytest.mark.parametrize("number", [28, 122, 30, 5, 24, 12])  # full, quota, read-only, I/O, files
def test_errors_of_the_machine_may_pass(number: int) -> None:
    assert may_pass(OSError(number, "said"))


@pytest.mark.parametrize(
    "text", ["database or disk is full", "database is locked", "disk I/O error", "readonly"]
)
def test_what_sqlite_says_of_the_disk_may_pass(text: str) -> None:
    assert may_pass(sa.exc.OperationalError("", None, sqlite3.OperationalError(text)))
    assert may_pass(sa.exc.DatabaseError("", None, sqlite3.DatabaseError(text)))


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(2, "No such file"),
        ValueError("odd"),
        sa.exc.IntegrityError("", None, sqlite3.IntegrityError("UNIQUE")),
        sa.exc.ProgrammingError("", None, sqlite3.ProgrammingError("no such column")),
    ],
)
def test_errors_of_the_work_do_not(error: Exception) -> None:
    assert not may_pass(error)
