"""What was fixed of each work when it was first done, so that it can be done again equally.

These rows stay when the objects are deleted: their UIDs are known elsewhere.
"""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime

import sqlalchemy as sa

from ich_node.records import Edition, Superseded
from ich_node.store.engine import Connection, Engine, reading, writing
from ich_node.store.tables import work


def find(engine: Engine, key: str) -> Edition | None:
    """Return what was fixed of a work, None before that."""
    with reading(engine) as connection:
        return _of(connection, key)


def begin(engine: Engine, key: str, edition: Edition) -> Edition:
    """Fix this of a work before anything of it is built, unless another process just has.

    Returns
    -------
    Edition
        What holds now.
    """
    supersedes = asdict(edition.supersedes) if edition.supersedes else None
    values = {"key": key, "made": edition.made.isoformat(), "supersedes": supersedes}
    try:
        with writing(engine) as connection:
            connection.execute(sa.insert(work).values(**values))
    except sa.exc.IntegrityError:
        with reading(engine) as connection:
            return _of(connection, key) or edition
    return edition


def _of(connection: Connection, key: str) -> Edition | None:
    row = connection.execute(sa.select(work).where(work.c.key == key)).mappings().first()
    if row is None:
        return None
    supersedes = Superseded(**row["supersedes"]) if row["supersedes"] else None
    return Edition(datetime.fromisoformat(row["made"]), supersedes)
