"""Opening and migrating the database."""

from __future__ import annotations

import sqlite3
from contextlib import AbstractContextManager
from functools import lru_cache
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import Connection, Engine
from sqlalchemy.engine import make_url

from ich_node.errors import Damaged, NewerDatabase, StoreError, of_the_machine, without_secrets

__all__ = [
    "Connection",
    "DatabaseError",
    "Engine",
    "is_current",
    "is_damage",
    "may_pass",
    "migrate",
    "open_engine",
    "reading",
    "writing",
]

DatabaseError = sa.exc.DBAPIError  # what the database itself raises

_MIGRATIONS = Path(__file__).parent / "migrations"
_BUSY_SECONDS = 30.0
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
# Of the database: as SQLAlchemy names it, as the driver does (`Prepared`), and no connection free.
_OF_THE_DATABASE = (DatabaseError, sqlite3.DatabaseError, sa.exc.TimeoutError)
_OF_THE_WORK = (
    *(sa.exc.IntegrityError, sa.exc.DataError, sa.exc.ProgrammingError),
    *(sqlite3.IntegrityError, sqlite3.DataError, sqlite3.ProgrammingError),
)


def may_pass(error: BaseException) -> bool:
    """Tell whether an error says nothing of the work: once the machine is mended it succeeds.

    A full or read-only disk, too many open files, a database that is locked, full or damaged, or
    all of whose connections are in use.
    """
    if isinstance(error, _OF_THE_DATABASE):
        return not isinstance(error, _OF_THE_WORK)
    return of_the_machine(error)


def is_damage(error: BaseException) -> bool:
    """Tell whether an error says that the database file is damaged, or was taken away."""
    said = error.orig if isinstance(error, DatabaseError) else error
    if not isinstance(said, sqlite3.Error):
        return False
    code = getattr(said, "sqlite_errorcode", None)
    return (code is not None and code & 0xFF in _DAMAGED) or "no such table" in str(said)


def open_engine(url: str) -> Engine:
    """Open the database at an SQLAlchemy URL.

    SQLite runs in WAL mode with `synchronous = FULL`: a committed row survives a power cut, and
    readers never wait for writers. A writing transaction takes its lock when it begins, so that
    two processes queue instead of failing half-way.

    Raises
    ------
    StoreError
        The URL cannot be used.
    """
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() != "sqlite":
            return sa.create_engine(parsed, pool_pre_ping=True, hide_parameters=True)
        if parsed.database:
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        engine = sa.create_engine(
            parsed,
            connect_args={"timeout": _BUSY_SECONDS},
            hide_parameters=True,  # they hold patient data, and errors quote them otherwise
            poolclass=sa.QueuePool,
            pool_use_lifo=True,  # each connection has a cache of 2 MB: few are kept warm, not all
        )
    except (sa.exc.ArgumentError, ImportError, OSError) as error:
        raise StoreError(without_secrets(f"database.url: {error}")) from error
    sa.event.listen(engine, "connect", _prepare_sqlite)
    sa.event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # we emit BEGIN ourselves, below
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    reads = connection.get_execution_options().get("ich_reading", False)
    statement = "BEGIN" if reads else "BEGIN IMMEDIATE"
    try:
        connection.connection.cursor().execute(statement)
    except sqlite3.OperationalError as error:  # as SQLAlchemy names those of its own statements
        raise sa.exc.OperationalError(statement, None, error) from error
    except sqlite3.DatabaseError as error:
        raise sa.exc.DatabaseError(statement, None, error) from error


def reading(engine: Engine) -> AbstractContextManager[Connection]:
    """Open a transaction that only reads, and so waits for nobody."""
    return _reader(engine).begin()


@lru_cache(maxsize=4)
def _reader(engine: Engine) -> Engine:
    return engine.execution_options(ich_reading=True)  # dearer than a short query


def writing(engine: Engine) -> AbstractContextManager[Connection]:
    """Open a transaction that writes; it commits when the block ends without an error."""
    return engine.begin()


def is_current(engine: Engine) -> bool:
    """Tell whether the tables are of this version's schema; if not they are of an earlier one.

    Raises
    ------
    NewerDatabase
        They belong to a newer version.
    """
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    with reading(engine) as connection:
        found = MigrationContext.configure(connection).get_current_revision()
    known = [script.revision for script in ScriptDirectory(str(_MIGRATIONS)).walk_revisions()]
    if found is not None and found not in known:
        raise NewerDatabase(
            f"the database is of a newer version (schema {found}; this one knows {known[0]}): "
            "install that version again, or restore a copy of the database from before it"
        )
    return found == known[0]


def migrate(engine: Engine) -> None:
    """Bring the tables to this version's schema.

    Raises
    ------
    StoreError
        The database cannot be reached; `Damaged`, where it is.
    NewerDatabase
        It belongs to a newer version.
    """
    from alembic import command  # readers of the database need neither it nor its start-up time
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    try:
        if is_current(engine):
            return
        with writing(engine) as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except NewerDatabase:
        raise
    except Exception as error:
        said = getattr(error, "orig", error)  # without the statement
        kind = Damaged if is_damage(error) else StoreError
        raise kind(f"the database cannot be brought up to date: {said}") from error
