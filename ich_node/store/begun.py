"""Which process began the stage at hand of a revision, and how many died at it."""

from __future__ import annotations

import sqlalchemy as sa

from ich_node.states import UNFINISHED
from ich_node.store.engine import Engine, writing
from ich_node.store.tables import revision


def begin(engine: Engine, key: str, process: str) -> int:
    """Note that a stage of this revision begins, before anything of it is done.

    `revisions.apply` ends it. After a crash these notes tell which series was at hand, how often.

    Parameters
    ----------
    process
        Names one life of one process: ``EXECUTOR:PID:...``. It may begin a stage many times.

    Returns
    -------
    int
        How many processes began this stage and did not live to end it.
    """
    this_one = revision.c.key == key
    with writing(engine) as connection:
        query = sa.select(revision.c.starts, revision.c.begun_by).where(this_one)
        starts, begun_by = connection.execute(query).one()
        died = starts if begun_by != process else max(0, starts - 1)
        connection.execute(
            sa.update(revision).where(this_one).values(starts=died + 1, begun_by=process)
        )
    return int(died)


def forgive(engine: Engine, process: str, limit: int) -> list[str]:
    """Take back the last begin of what a process had at hand when it was killed from outside.

    Parameters
    ----------
    process
        How the name of that process begins, as `begin` was given it.
    limit
        How often a revision is forgiven.

    Returns
    -------
    list of str
        Keys of the revisions that were at hand.
    """
    at_hand = sa.and_(
        revision.c.begun_by.startswith(process, autoescape=True),
        revision.c.starts > 0,
        revision.c.forgiven < limit,
        revision.c.state.in_(UNFINISHED),
    )
    with writing(engine) as connection:
        keys = list(connection.execute(sa.select(revision.c.key).where(at_hand)).scalars())
        connection.execute(
            sa.update(revision)
            .where(revision.c.key.in_(keys))
            .values(starts=revision.c.starts - 1, forgiven=revision.c.forgiven + 1)
        )
    return keys
