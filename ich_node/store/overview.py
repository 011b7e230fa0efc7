"""What an administrator asks: which studies came, where they stand, and why."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa

from ich_node.errors import StoreError
from ich_node.states import ARRIVED, DUE, DeliveryState, SeriesState
from ich_node.store import destinations, transfers
from ich_node.store.engine import Connection, Engine, reading
from ich_node.store.tables import delivery, event, instance, result, revision, series, study

# The latest revision of a series.
_LATEST = sa.and_(
    revision.c.series_instance_uid == series.c.series_instance_uid,
    revision.c.number == series.c.revision,
)
# Keys of `result.json` that are null until the analysis has ended.
_LATER = ("status", "findings", "slice_probabilities", "model", "geometry", "other_series", "notes")


@dataclass(frozen=True)
class Chosen:
    """Which studies are asked for; without a value, all of them.

    Parameters
    ----------
    states
        At least one series of the study is in one of these.
    deliveries
        The latest revision of at least one series has a delivery in one of these.
    since, until
        When the first image of the study came, both included; seconds since the epoch.
    patient_id
        Exactly this Patient ID (0010,0020).
    limit
        The latest so many.
    show_patient_id
        Say the Patient ID of each study too.
    """

    states: tuple[SeriesState, ...] = ()
    deliveries: tuple[DeliveryState, ...] = ()
    since: float | None = None
    until: float | None = None
    patient_id: str | None = None
    limit: int | None = None
    show_patient_id: bool = False


EVERY = Chosen()


def studies(engine: Engine, chosen: Chosen = EVERY) -> list[dict[str, Any]]:
    """Return the chosen studies with the state of all their series, the latest first.

    Returns
    -------
    list of dict
        ``{study_instance_uid, received_at, series: [{series_instance_uid, state, reason, evidence,
        revision, modality, instances, not_told, deliveries}]}``; no patient data but the
        ``patient_id`` asked for. ``not_told`` says why no destination is told of a refusal that it
        should be told of. ``deliveries`` of the latest revision are ``{destination: state}``, the
        state ``held`` for one that waits because its destination is.
    """
    wanted = sa.select(study).where(*_conditions(chosen)).limit(chosen.limit)
    wanted = wanted.order_by(study.c.first_received_at.desc(), study.c.study_instance_uid)
    with reading(engine) as connection:
        grouped = _series_by_study(connection, wanted.subquery())
        return [
            {
                "study_instance_uid": row["study_instance_uid"],
                **({"patient_id": row["patient_id"]} if chosen.show_patient_id else {}),
                "received_at": row["first_received_at"],
                "series": grouped.get(row["study_instance_uid"], []),
            }
            for row in connection.execute(wanted).mappings()
        ]


def count(engine: Engine, chosen: Chosen = EVERY) -> int:
    """Return how many studies are chosen, whatever the limit."""
    with reading(engine) as connection:
        counted = sa.select(sa.func.count()).select_from(study).where(*_conditions(chosen))
        return int(connection.scalar(counted) or 0)


def _conditions(chosen: Chosen) -> list[sa.ColumnElement[bool]]:
    found: list[sa.ColumnElement[bool]] = []
    if chosen.since is not None:
        found.append(study.c.first_received_at >= chosen.since)
    if chosen.until is not None:
        found.append(study.c.first_received_at <= chosen.until)
    if chosen.patient_id is not None:
        found.append(study.c.patient_id == chosen.patient_id)
    if chosen.states:
        of_state = sa.select(series.c.study_instance_uid).where(series.c.state.in_(chosen.states))
        found.append(study.c.study_instance_uid.in_(of_state))
    if chosen.deliveries:
        sent = (
            sa.select(series.c.study_instance_uid)
            .join(revision, _LATEST)
            .join(delivery, delivery.c.revision_key == revision.c.key)
            .where(delivery.c.state.in_(chosen.deliveries))
        )
        found.append(study.c.study_instance_uid.in_(sent))
    return found


def _series_by_study(
    connection: Connection, wanted: sa.FromClause
) -> dict[str, list[dict[str, Any]]]:
    """Return the series of the studies in `wanted`."""
    counted = (
        sa.select(sa.func.count())
        .where(instance.c.series_instance_uid == series.c.series_instance_uid)
        .scalar_subquery()
    )
    query = (
        sa.select(
            series,
            counted.label("instances"),
            revision.c.reason,
            revision.c.evidence,
            # An outcome is long, and its findings are all that is told here.
            revision.c.outcome["findings"].label("findings"),
            revision.c.outcome["not_told"].label("not_told"),
        )
        .join(wanted, wanted.c.study_instance_uid == series.c.study_instance_uid)
        .outerjoin(revision, _LATEST)
        .order_by(series.c.first_received_at)
    )
    sent = _deliveries_by_series(connection, wanted)
    grouped: dict[str, list[dict[str, Any]]] = {}
    for row in connection.execute(query).mappings():
        findings = row["findings"] or {}
        grouped.setdefault(row["study_instance_uid"], []).append(
            {
                "series_instance_uid": row["series_instance_uid"],
                "state": row["state"],
                "reason": row["reason"],
                "evidence": row["evidence"],
                "revision": row["revision"],
                "modality": row["modality"],
                "instances": row["instances"],
                "not_told": row["not_told"],
                "present": [name for name, found in findings.items() if found["present"]],
                "deliveries": sent.get(row["series_instance_uid"], {}),
            }
        )
    return grouped


def _deliveries_by_series(
    connection: Connection, wanted: sa.FromClause
) -> dict[str, dict[str, str]]:
    """Return the state of each delivery of the latest revision of each series in `wanted`."""
    held = destinations.held_in(connection)
    query = (
        sa.select(series.c.series_instance_uid, delivery.c.destination, delivery.c.state)
        .join(wanted, wanted.c.study_instance_uid == series.c.study_instance_uid)
        .join(revision, _LATEST)
        .join(delivery, delivery.c.revision_key == revision.c.key)
        .order_by(delivery.c.destination)
    )
    found: dict[str, dict[str, str]] = {}
    for uid, name, state in connection.execute(query):
        found.setdefault(uid, {})[name] = "held" if name in held and state in DUE else state
    return found


def show(engine: Engine, study_instance_uid: str) -> dict[str, Any]:
    """Return the whole story of one study: series, revisions, deliveries, events.

    ``owed`` are the reports of storage commitment that somebody waits for.

    Raises
    ------
    StoreError
        No such study has come.
    """
    from ich_node.store import commitments  # its data sets need pydicom; `studies` has none

    with reading(engine) as connection:
        asked = sa.select(study).where(study.c.study_instance_uid == study_instance_uid)
        head = connection.execute(asked).mappings().first()
        if head is None:
            raise StoreError(
                f"no study {study_instance_uid} has come; `ich-node studies` lists those that have"
            )
        listed = _series_by_study(connection, asked.subquery()).get(study_instance_uid, [])
        for entry in listed:
            entry["revisions"] = _revisions(connection, entry["series_instance_uid"])
        return {
            "study_instance_uid": study_instance_uid,
            "source": head["source"],
            "received_at": head["first_received_at"],
            "senders": transfers.senders(connection, study_instance_uid),
            "series": listed,
            "owed": [asdict(one) for one in commitments.owed_in(connection, study_instance_uid)],
            "events": _events(connection, study_instance_uid),
        }


def _revisions(connection: Connection, series_instance_uid: str) -> list[dict[str, Any]]:
    query = (
        sa.select(revision)
        .where(revision.c.series_instance_uid == series_instance_uid)
        .order_by(revision.c.number)
    )
    return [_revision(connection, row) for row in connection.execute(query).mappings()]


def _revision(connection: Connection, row: sa.RowMapping) -> dict[str, Any]:
    """One revision: the content of `result.json`, then its own story."""
    outcome = dict(row["outcome"] or {})
    deliveries = _deliveries(connection, row["key"])
    timings = dict(outcome.get("timings_s") or {})
    arrived = [item["stored_at"] for item in deliveries if item["state"] in ARRIVED]
    if arrived and len(arrived) == len(deliveries) and row["reported_at"] is not None:
        timings["deliver"] = round(max(arrived) - row["reported_at"], 3)
        timings["last_image_to_delivered"] = round(max(arrived) - row["last_received_at"], 3)
    return {
        **dict.fromkeys(_LATER),
        **outcome,
        "timings_s": timings,
        "revision": row["number"],
        "state": row["state"],
        "reason": row["reason"],
        "reason_text": row["reason_text"],
        "evidence": row["evidence"],
        "results": _results(connection, row["key"]),
        "deliveries": deliveries,
    }


def _results(connection: Connection, key: str) -> list[dict[str, Any]]:
    query = sa.select(
        result.c.kind, result.c.sop_instance_uid, result.c.path, result.c.sha256
    ).where(result.c.revision_key == key)
    return [dict(row) for row in connection.execute(query.order_by(result.c.kind)).mappings()]


def _deliveries(connection: Connection, key: str) -> list[dict[str, Any]]:
    columns = [column for column in delivery.c if column.name != "revision_key"]
    query = sa.select(*columns).where(delivery.c.revision_key == key)
    held = destinations.held_in(connection)
    return [
        {**row, "held": row["destination"] in held and row["state"] in DUE}
        for row in connection.execute(query.order_by(delivery.c.destination)).mappings()
    ]


def _events(connection: Connection, study_instance_uid: str) -> list[dict[str, Any]]:
    query = (
        sa.select(event.c.at, event.c.kind, event.c.series_instance_uid, event.c.text, event.c.data)
        .where(event.c.study_instance_uid == study_instance_uid)
        # Some senders open an association for every image: these are counted as `senders`.
        .where(event.c.kind.not_in((transfers.BEGUN, transfers.ENDED)))
        .order_by(event.c.id)
    )
    return [dict(row) for row in connection.execute(query).mappings()]
