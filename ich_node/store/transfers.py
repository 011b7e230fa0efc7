"""Who sent what: what each association brought of each study, as the trail tells it."""

from __future__ import annotations

import time
from typing import Any

import sqlalchemy as sa

from ich_node.records import Sender
from ich_node.store import events
from ich_node.store.engine import Connection, Engine, reading, writing
from ich_node.store.prepared import Prepared
from ich_node.store.tables import instance, series, transfer

BEGUN, ENDED = "transfer_begun", "transferred"

_BEGIN = Prepared(
    sa.insert(transfer)
    .prefix_with("OR IGNORE")
    .values(
        {
            column.name: sa.bindparam(column.name)
            for column in transfer.c
            if column.name != "ended_at"
        }
    )
)


def begin(connection: Connection, sender: Sender, study: str, now: float) -> None:
    """Note, with the first image of a study that an association brings, who it is from."""
    values = {**vars(sender), "study_instance_uid": study, "began_at": now}
    if _BEGIN.run(connection, **values).rowcount:
        text = f"{sender.calling_ae} at {sender.address} began to send"
        events.insert(connection, BEGUN, text, study=study, data=vars(sender))


def end(engine: Engine, association: str | None = None) -> None:
    """Note what an association brought, once it has ended; of None, of all that are open.

    A receiver that was killed leaves them open: the next one ends them before it listens.
    """
    open_ones: sa.ColumnElement[bool] = transfer.c.ended_at.is_(None)
    if association is not None:
        open_ones = sa.and_(open_ones, transfer.c.association == association)
    query = sa.select(transfer).where(open_ones).order_by(transfer.c.began_at)
    with reading(engine) as connection:
        if connection.execute(query).first() is None:  # most bring nothing new: no write for them
            return
    with writing(engine) as connection:
        for row in connection.execute(query).mappings().all():
            _end(connection, row)
        connection.execute(sa.update(transfer).where(open_ones).values(ended_at=time.time()))


def _end(connection: Connection, row: sa.RowMapping) -> None:
    study, association = row["study_instance_uid"], row["association"]
    counted = (
        sa.select(instance.c.sop_class_uid, sa.func.count())
        .join(series, series.c.series_instance_uid == instance.c.series_instance_uid)
        .where(
            series.c.study_instance_uid == study,
            instance.c.association == association,
        )
        .group_by(instance.c.sop_class_uid)
    )
    classes = {uid: int(number) for uid, number in connection.execute(counted)}
    text = f"{row['calling_ae']} at {row['address']} sent {sum(classes.values())} objects"
    sender = {name: row[name] for name in ("association", "calling_ae", "address", "source")}
    events.insert(connection, ENDED, text, study=study, data={**sender, "classes": classes})


def senders(connection: Connection, study: str) -> list[dict[str, Any]]:
    """Return who sent images of a study: AE title, address, and in how many associations."""
    who = (transfer.c.calling_ae, transfer.c.address)
    query = (
        sa.select(*who, sa.func.count().label("associations"))
        .where(transfer.c.study_instance_uid == study)
        .group_by(*who)
        .order_by(sa.func.min(transfer.c.began_at))
    )
    return [dict(row) for row in connection.execute(query).mappings()]
