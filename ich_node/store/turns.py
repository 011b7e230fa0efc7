"""Whose series is analysed next: by priority, and sources of the same priority in turn."""

from __future__ import annotations

import sqlalchemy as sa

from ich_node.states import SeriesState
from ich_node.store.engine import Connection
from ich_node.store.tables import revision, series

# Turns of one priority: those of priority 5 begin at 5 times this.
_TURNS = 100_000_000


def next_turn(connection: Connection, row: sa.RowMapping) -> int:
    """Return the place in the queue of one more revision of a series.

    The priority of its source counts first. Sources of the same priority take turns: a revision
    comes after those of its own source, but after no more than one of each other one.
    """
    first = row["priority"] * _TURNS
    of_its_source = sa.case((series.c.source == row["source"], revision.c.turn))
    query = (
        sa.select(sa.func.min(revision.c.turn), sa.func.max(of_its_source))
        .join(series, series.c.series_instance_uid == revision.c.series_instance_uid)
        .where(
            revision.c.state == SeriesState.COMPLETE,
            revision.c.attempt == 1,  # another one may wait for its study: it is no measure
            revision.c.turn.between(first, first + _TURNS - 1),
        )
    )
    now, last_of_its_source = connection.execute(query).one()
    turn = max(now or first, first if last_of_its_source is None else last_of_its_source + 1)
    return int(min(turn, first + _TURNS - 1))
