"""What an administrator asks: which studies came, where they stand, and why."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from ich_node.errors import StoreError
from ich_node.states import DeliveryState
from ich_node.store.engine import Connection, Engine, reading
from ich_node.store.tables import delivery, event, instance, result, revision, series, study

# Keys of `result.json` that are null until the analysis has ended.
_LATER = ("status", "findings", "slice_probabilities", "model", "geometry", "other_series")


def studies(engine: Engine) -> list[dict[str, Any]]:
    """Return every study with the state of its series, the latest first.

    Returns
    -------
    list of dict
        ``{study_instance_uid, received_at, series: [{series_instance_uid, state, reason, evidence,
        revision, modality, instances}]}``; no patient data.
    """
    newest = sa.select(study.c.study_instance_uid, study.c.first_received_at).order_by(
        study.c.first_received_at.desc()
    )
    with reading(engine) as connection:
        grouped = _series_by_study(connection)
        return [
            {
                "study_instance_uid": uid,
                "received_at": received_at,
                "series": grouped.get(uid, []),
            }
            for uid, received_at in connection.execute(newest)
        ]


def _series_by_study(
    connection: Connection, only: str | None = None
) -> dict[str, list[dict[str, Any]]]:
    counts = (
        sa.select(instance.c.series_instance_uid, sa.func.count().label("instances"))
        .group_by(instance.c.series_instance_uid)
        .subquery()
    )
    query = (
        sa.select(
            series, counts.c.instances, revision.c.reason, revision.c.evidence, revision.c.outcome
        )
        .outerjoin(counts, counts.c.series_instance_uid == series.c.series_instance_uid)
        .outerjoin(
            revision,
            sa.and_(
                revision.c.series_instance_uid == series.c.series_instance_uid,
                revision.c.number == series.c.revision,
            ),
        )
        .order_by(series.c.first_received_at)
    )
    if only is not None:
        query = query.where(series.c.study_instance_uid == only)
    grouped: dict[str, list[dict[str, Any]]] = {}
    for row in connection.execute(query).mappings():
        findings = (row["outcome"] or {}).get("findings") or {}
        grouped.setdefault(row["study_instance_uid"], []).append(
            {
                "series_instance_uid": row["series_instance_uid"],
                "state": row["state"],
                "reason": row["reason"],
                "evidence": row["evidence"],
                "revision": row["revision"],
                "modality": row["modality"],
                "instances": row["instances"] or 0,
                "present": [name for name, found in findings.items() if found["present"]],
            }
        )
    return grouped


def show(engine: Engine, study_instance_uid: str) -> dict[str, Any]:
    """Return the whole story of one study: series, revisions, deliveries, events.

    Raises
    ------
    StoreError
        No such study has come.
    """
    with reading(engine) as connection:
        head = (
            connection.execute(
                sa.select(study).where(study.c.study_instance_uid == study_instance_uid)
            )
            .mappings()
            .first()
        )
        if head is None:
            raise StoreError(
                f"no study {study_instance_uid} has come; `ich-node studies` lists those that have"
            )
        listed = _series_by_study(connection, study_instance_uid).get(study_instance_uid, [])
        for entry in listed:
            entry["revisions"] = _revisions(connection, entry["series_instance_uid"])
        return {
            "study_instance_uid": study_instance_uid,
            "source": head["source"],
            "received_at": head["first_received_at"],
            "series": listed,
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
    arrived = [
        item["updated_at"] for item in deliveries if item["state"] == DeliveryState.DELIVERED
    ]
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
    return [
        dict(row) for row in connection.execute(query.order_by(delivery.c.destination)).mappings()
    ]


def _events(connection: Connection, study_instance_uid: str) -> list[dict[str, Any]]:
    query = (
        sa.select(event.c.at, event.c.kind, event.c.series_instance_uid, event.c.text, event.c.data)
        .where(event.c.study_instance_uid == study_instance_uid)
        .order_by(event.c.id)
    )
    return [dict(row) for row in connection.execute(query).mappings()]
