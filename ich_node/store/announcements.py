"""What senders say that there is: lists of instances."""

from __future__ import annotations

import time

import sqlalchemy as sa

from ich_node.records import Announcement, Expected
from ich_node.states import ANSWERED, AnnouncementState
from ich_node.store import events
from ich_node.store.engine import Connection, Engine, reading, writing
from ich_node.store.tables import announced, announcement, instance, result


def keep(engine: Engine, found: Announcement) -> bool:
    """Enter a list; False, and nothing changed, where its UID is known."""
    with writing(engine) as connection:
        if _state(connection, found.uid) is not None:
            return False
        connection.execute(
            sa.insert(announcement).values(
                uid=found.uid,
                kind=found.kind,
                state=found.state,
                calling_ae=found.calling_ae,
                received_at=time.time(),
            )
        )
        _enter(connection, found)
    return True


def amend(engine: Engine, found: Announcement) -> AnnouncementState | None:
    """Bring a performed procedure step to another state, with what it lists by now.

    Returns
    -------
    AnnouncementState or None
        Its state before, which stays where it had ended; None for one that is unknown.
    """
    with writing(engine) as connection:
        before = _state(connection, found.uid)
        if before is AnnouncementState.IN_PROGRESS:
            connection.execute(
                sa.update(announcement)
                .where(announcement.c.uid == found.uid)
                .values(state=found.state, received_at=time.time())
            )
            _enter(connection, found)
    return before


def _state(connection: Connection, uid: str) -> AnnouncementState | None:
    query = sa.select(announcement.c.state).where(announcement.c.uid == uid)
    state = connection.execute(query).scalar()
    return None if state is None else AnnouncementState(state)


def _enter(connection: Connection, found: Announcement) -> None:
    """Replace what a list holds, and note it."""
    connection.execute(sa.delete(announced).where(announced.c.announcement_uid == found.uid))
    rows = {
        member.sop_instance_uid: {"announcement_uid": found.uid, **vars(member)}
        for member in found.members
    }
    if rows:
        connection.execute(sa.insert(announced), list(rows.values()))
    text = f"{found.kind} of {found.calling_ae} ({found.state}) lists {len(rows)} instances"
    events.insert(connection, "announced", text, data={"uid": found.uid})


def version(engine: Engine) -> float:
    """Return a number that changes when a list comes or changes."""
    with reading(engine) as connection:
        return float(connection.scalar(sa.select(sa.func.max(announcement.c.received_at))) or 0.0)


def expected(engine: Engine, series_instance_uid: str) -> Expected | None:
    """Return what lists say of a series; None where none speaks of it.

    A storage commitment does not say to which series an instance belongs: one that has not come
    may belong to any series of its list.
    """
    uid = series_instance_uid
    ours = sa.select(instance.c.sop_instance_uid).where(instance.c.series_instance_uid == uid)
    lists = sa.select(announced.c.announcement_uid).where(
        sa.or_(announced.c.series_instance_uid == uid, announced.c.sop_instance_uid.in_(ours))
    )
    belongs = sa.or_(
        instance.c.series_instance_uid == uid,
        announced.c.series_instance_uid == uid,
        sa.and_(
            announced.c.series_instance_uid.is_(None),
            instance.c.sop_instance_uid.is_(None),
            result.c.sop_instance_uid.is_(None),
        ),
    )
    query = (
        sa.select(announcement.c.kind, announced.c.sop_instance_uid, instance.c.series_instance_uid)
        .join(announcement, announcement.c.uid == announced.c.announcement_uid)
        .outerjoin(instance, instance.c.sop_instance_uid == announced.c.sop_instance_uid)
        .outerjoin(result, result.c.sop_instance_uid == announced.c.sop_instance_uid)
        .where(
            announced.c.announcement_uid.in_(lists),
            announcement.c.state.in_(ANSWERED),
            belongs,
        )
    )
    with reading(engine) as connection:
        rows = connection.execute(query).all()
        stored = set(connection.execute(ours).scalars())
    if not rows:
        return None
    listed = {row.sop_instance_uid for row in rows}
    return Expected(
        kinds=tuple(sorted({row.kind for row in rows})),
        listed=len(listed),
        missing=len(listed - stored),
        unlisted=len(stored - listed),
    )
