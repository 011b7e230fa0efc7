"""Storage commitments that we ask destinations for, and what is reported of them (PS3.4 J)."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import sqlalchemy as sa
from pydicom import Dataset
from pydicom.uid import generate_uid

from ich_node.states import DeliveryState
from ich_node.store import revisions
from ich_node.store.engine import Connection, Engine, reading, writing
from ich_node.store.tables import commitment_request as request
from ich_node.store.tables import delivery

# PS3.4 J.3.3.1 and PS3.7 10.1.1.1.8.
_ALL_STORED, _FAILURES_EXIST = 1, 2
_SUCCESS, _NO_SUCH_EVENT, _INVALID_ARGUMENT = 0x0000, 0x0113, 0x0115


@dataclass(frozen=True)
class Asked:
    """A storage commitment that we asked for, with what was reported; `at` is epoch, s.

    ``failed`` maps SOP Instance UIDs to Failure Reasons (0008,1197).
    """

    uid: str
    at: float
    answered: bool
    stored: frozenset[str]
    failed: Mapping[str, int]


def begin(engine: Engine, key: str, destination: str) -> str:
    """Enter a new transaction before it is asked for; return its Transaction UID."""
    uid = str(generate_uid(prefix=None))
    with writing(engine) as connection:
        connection.execute(
            sa.insert(request).values(
                uid=uid, revision_key=key, destination=destination, asked_at=time.time(), open=True
            )
        )
    return uid


def withdraw(engine: Engine, uid: str) -> None:
    """Forget a transaction that the destination did not take."""
    with writing(engine) as connection:
        connection.execute(sa.delete(request).where(request.c.uid == uid))


def take(engine: Engine, event_type: int, information: Dataset) -> int:
    """Take the report on a storage commitment, in whatever association it comes.

    The same report again changes nothing.

    Parameters
    ----------
    event_type
        Event Type ID (0000,1002): 1 for success, 2 where failures exist.
    information
        The data set of the N-EVENT-REPORT (PS3.4 table J.3-2).

    Returns
    -------
    int
        The status to answer with: 0000H, 0113H for another event, 0115H for a transaction that we
        did not ask for or a list that cannot be read.
    """
    if event_type not in (_ALL_STORED, _FAILURES_EXIST):
        return _NO_SUCH_EVENT
    try:
        uid = str(information.get("TransactionUID") or "").strip()
        failed = {
            str(item.ReferencedSOPInstanceUID): int(item.get("FailureReason") or 0)
            for item in information.get("FailedSOPSequence") or ()
        }
        listed = information.get("ReferencedSOPSequence") or ()
        stored = sorted({str(item.ReferencedSOPInstanceUID) for item in listed} - set(failed))
    except Exception:  # whatever an element raises that is missing or cannot be decoded
        return _INVALID_ARGUMENT
    return _enter(engine, uid, stored, failed)


def _enter(engine: Engine, uid: str, stored: Collection[str], failed: Mapping[str, int]) -> int:
    with writing(engine) as connection:
        row = connection.execute(sa.select(request).where(request.c.uid == uid)).mappings().first()
        if row is None:
            return _INVALID_ARGUMENT
        if row["answered_at"] is None:
            connection.execute(
                sa.update(request)
                .where(request.c.uid == uid)
                .values(answered_at=time.time(), stored=list(stored), failed=dict(failed))
            )
            text = f"{row['destination']}: holds {len(stored)} objects"
            if failed:
                reasons = ", ".join(sorted({f"{reason:04X}H" for reason in failed.values()}))
                text += f", not {len(failed)} ({reasons})"
            revisions.note(connection, row["revision_key"], "commitment_reported", text)
    return _SUCCESS


def of_delivery(engine: Engine, key: str, destination: str) -> list[Asked]:
    """Return the open transactions of a delivery, the first first."""
    query = sa.select(request).where(*_of(key, destination)).order_by(request.c.asked_at)
    with reading(engine) as connection:
        return [
            Asked(
                row["uid"],
                row["asked_at"],
                row["answered_at"] is not None,
                frozenset(row["stored"] or ()),
                row["failed"] or {},
            )
            for row in connection.execute(query).mappings()
        ]


def answered(engine: Engine) -> list[tuple[str, str]]:
    """Return revision and destination of each delivery that awaits what has been reported."""
    query = (
        sa.select(request.c.revision_key, request.c.destination)
        .distinct()
        .join(
            delivery,
            sa.and_(
                delivery.c.revision_key == request.c.revision_key,
                delivery.c.destination == request.c.destination,
            ),
        )
        .where(
            request.c.open.is_(True),
            request.c.answered_at.is_not(None),
            delivery.c.state == DeliveryState.AWAITING,
            delivery.c.next_at > time.time(),
        )
    )
    with reading(engine) as connection:
        return [(key, name) for key, name in connection.execute(query)]


def is_reported(connection: Connection, key: str, destination: str) -> bool:
    """Tell whether a report has come that is not read; one on its way waits for the transaction."""
    query = sa.select(request.c.answered_at).where(*_of(key, destination)).with_for_update()
    return any(at is not None for at in connection.execute(query).scalars())


def close(connection: Connection, key: str, destination: str) -> None:
    """Let all that was asked for count no more, reported or not."""
    connection.execute(sa.update(request).where(*_of(key, destination)).values(open=False))


def spend(connection: Connection, uids: Collection[str]) -> None:
    """Let the reports on these transactions count no more; one that came since does."""
    connection.execute(sa.update(request).where(request.c.uid.in_(uids)).values(open=False))


def _of(key: str, destination: str) -> list[sa.ColumnElement[bool]]:
    return [
        request.c.revision_key == key,
        request.c.destination == destination,
        request.c.open.is_(True),
    ]
