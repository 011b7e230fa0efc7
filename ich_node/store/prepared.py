"""Statements that run for every image: compiled once, and given to the driver as they are.

SQLAlchemy prepares a statement anew each time, which takes it many times what SQLite needs to run
it. Values go to the driver unconverted: text, numbers and None only.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Dialect

from ich_node.store.engine import Connection


@dataclass(frozen=True, eq=False)
class Prepared:
    """A statement in the terms of SQLAlchemy; its values are named by `bindparam`."""

    statement: sa.UpdateBase | sa.SelectBase

    def run(self, connection: Connection, **values: Any) -> Any:  # noqa: ANN401
        """Run it in the connection's transaction; return the driver's cursor (PEP 249)."""
        text, names, constants = _compiled(self, connection.dialect)
        given = constants | values
        cursor = connection.connection.cursor()
        cursor.execute(text, given if names is None else tuple(given[name] for name in names))
        return cursor


@lru_cache(maxsize=64)
def _compiled(
    prepared: Prepared, dialect: Dialect
) -> tuple[str, tuple[str, ...] | None, dict[str, Any]]:
    """Return text, order of the values (None where the driver takes them by name), constants."""
    compiled = prepared.statement.compile(dialect=dialect)
    names = compiled.positiontup
    constants = {name: value for name, value in compiled.params.items() if value is not None}
    return str(compiled), None if names is None else tuple(names), constants
