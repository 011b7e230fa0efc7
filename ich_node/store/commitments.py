"""Storage commitments that were asked for: what is true of them, and who waits for the answer."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from pydicom import Dataset
from pydicom.filereader import read_file_meta_info

from ich_node.records import Referenced
from ich_node.states import AnnouncementState
from ich_node.store import events
from ich_node.store.engine import Connection, Engine, reading, writing
from ich_node.store.tables import announced, announcement, instance, result

# PS3.4 J.3.3.1: event types, and failure reasons (C.14.1.1).
_ALL_STORED, _FAILURES_EXIST = 1, 2
_NO_SUCH_OBJECT, _CLASS_CONFLICT = 0x0112, 0x0119
# Statuses of a report that was taken, besides 0000H and all of Bxxx, and of one that no other time
# will make good: it, its transaction or we are not known there (PS3.7 10.1.1.1.8, annex C).
_TAKEN = frozenset({0x0000, 0x0001, 0x0107, 0x0116})
_DECLINED = frozenset(
    {0x0105, 0x0106, 0x0112, 0x0113, 0x0114, 0x0115, 0x0117, 0x0118, 0x0119}
    | {0x0120, 0x0121, 0x0122, 0x0123, 0x0124, 0x0211, 0x0212}
)
# An answer is owed for so long, s; after that nobody waits for it.
OWED_S = 86400.0
# An association that owes an answer and has not said so for this long has died, s.
_DEAD_S = 120.0


@dataclass(frozen=True)
class Commitment:
    """What is true of the instances of a storage commitment request (PS3.4 J.3.3)."""

    uid: str
    calling_ae: str
    stored: tuple[Referenced, ...]
    missing: tuple[Referenced, ...]
    conflicting: tuple[Referenced, ...]

    @property
    def event_type(self) -> int:
        """1 where all is stored, 2 where something is not."""
        return _FAILURES_EXIST if self.missing or self.conflicting else _ALL_STORED

    def event_information(self) -> Dataset:
        """Return the data set of the N-EVENT-REPORT (PS3.4 table J.3-2)."""
        found = Dataset()
        found.TransactionUID = self.uid
        if self.stored:
            found.ReferencedSOPSequence = [_item(member) for member in self.stored]
        failed = [_item(member, _NO_SUCH_OBJECT) for member in self.missing]
        failed += [_item(member, _CLASS_CONFLICT) for member in self.conflicting]
        if failed:
            found.FailedSOPSequence = failed
        return found


def _item(member: Referenced, failure: int | None = None) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = member.sop_class_uid
    item.ReferencedSOPInstanceUID = member.sop_instance_uid
    if failure is not None:
        item.FailureReason = failure
    return item


def commitment(engine: Engine, uid: str) -> Commitment:
    """Return what of a list is stored here now, under the SOP class that the list names.

    That are images, and results of this node: what came back of them was dropped, but lies here.
    """
    query = (
        sa.select(announced, instance.c.sop_class_uid.label("stored_class"))
        .outerjoin(
            instance,
            sa.and_(
                instance.c.sop_instance_uid == announced.c.sop_instance_uid,
                instance.c.missing.is_(False),
                instance.c.deleted_at.is_(None),  # who asks may delete its own copy then
            ),
        )
        .where(announced.c.announcement_uid == uid)
        .order_by(announced.c.sop_instance_uid)
    )
    built = (
        sa.select(result.c.sop_instance_uid, result.c.path)
        .join(announced, announced.c.sop_instance_uid == result.c.sop_instance_uid)
        .where(announced.c.announcement_uid == uid, result.c.deleted_at.is_(None))
    )
    calling = sa.select(announcement.c.calling_ae).where(announcement.c.uid == uid)
    with reading(engine) as connection:
        listed = connection.execute(query).all()
        paths = {row.sop_instance_uid: Path(row.path) for row in connection.execute(built)}
        calling_ae = str(connection.execute(calling).scalar_one())
    ours = {own: _class_of(path) for own, path in paths.items()}
    stored, missing, conflicting = [], [], []
    for row in listed:
        member = Referenced(row.sop_class_uid, row.sop_instance_uid)
        here = row.stored_class or ours.get(row.sop_instance_uid)
        if here is None:
            missing.append(member)
        elif here == member.sop_class_uid:
            stored.append(member)
        else:
            conflicting.append(member)
    return Commitment(uid, calling_ae, tuple(stored), tuple(missing), tuple(conflicting))


def _class_of(path: Path) -> str | None:
    """Return the SOP class that a file says it is of; None where it says nothing any more."""
    try:
        return str(read_file_meta_info(path).MediaStorageSOPClassUID)
    except Exception:  # it is gone, or whatever a parser raises
        return None


@dataclass(frozen=True)
class Owed:
    """A commitment whose report waits for an association of ours, tried ``tries`` times.

    ``next_at`` is when it is tried next, epoch s; None: at once.
    """

    uid: str
    calling_ae: str
    tries: int
    next_at: float | None


def owed(engine: Engine) -> list[Owed]:
    """Return each commitment that waits for a report of its own, whether due or not."""
    with reading(engine) as connection:
        return owed_in(connection)


def owed_in(connection: Connection, study: str | None = None) -> list[Owed]:
    """Return the same as `owed`, in a transaction; of a study, those that list an image of it."""
    now = time.time()
    due = sa.or_(
        announcement.c.state == AnnouncementState.OWED,
        sa.and_(
            announcement.c.state == AnnouncementState.ASKED,
            announcement.c.received_at < now - _DEAD_S,
        ),
    )
    columns = (announcement.c[name] for name in ("uid", "calling_ae", "tries", "next_at"))
    query = sa.select(*columns).where(due, announcement.c.received_at > now - OWED_S)
    if study is not None:
        listed = (
            sa.select(announced.c.announcement_uid)
            .join(instance, instance.c.sop_instance_uid == announced.c.sop_instance_uid)
            .where(instance.c.study_instance_uid == study)
        )
        query = query.where(announcement.c.uid.in_(listed))
    rows = connection.execute(query.order_by(announcement.c.received_at)).mappings()
    return [Owed(**row) for row in rows]


def postpone(engine: Engine, next_at: Mapping[str, float], text: str) -> None:
    """Note why reports could not be given, and when each is tried next (epoch s, by UID)."""
    with writing(engine) as connection:
        for uid, at in next_at.items():
            connection.execute(
                sa.update(announcement)
                .where(
                    announcement.c.uid == uid,
                    announcement.c.state != AnnouncementState.REPORTED,
                )
                .values(state=AnnouncementState.OWED, tries=announcement.c.tries + 1, next_at=at)
            )
        events.insert(connection, "commitment", text, data={"uids": list(next_at)})


def hasten(engine: Engine, uids: Sequence[str]) -> None:
    """Let reports be tried at once: who waits for them is there again."""
    with writing(engine) as connection:
        connection.execute(
            sa.update(announcement).where(announcement.c.uid.in_(uids)).values(next_at=None)
        )


def after_report(status: int) -> AnnouncementState:
    """Return the state of a commitment whose N-EVENT-REPORT was answered with this status.

    It stays owed where the peer failed for now, as by 0110H and 0213H.
    """
    if status in _TAKEN or status >> 12 == 0xB:
        return AnnouncementState.REPORTED
    return AnnouncementState.DECLINED if status in _DECLINED else AnnouncementState.OWED


def settle(engine: Engine, uids: Sequence[str], state: AnnouncementState) -> None:
    """Note that commitments were reported, are still owed, or were declined."""
    with writing(engine) as connection:
        changed = connection.execute(
            sa.update(announcement)
            .where(announcement.c.uid.in_(uids), announcement.c.state != AnnouncementState.REPORTED)
            .values(state=state)
        )
        if changed.rowcount:
            text = f"storage commitment {state} for {changed.rowcount} requests"
            events.insert(connection, "commitment", text, data={"uids": list(uids)})
