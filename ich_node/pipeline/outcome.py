"""What came of a series, as `result.json` states it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ich_node import __version__
from ich_node.codes import CLASSES
from ich_node.records import CtVolume, Edition, Prediction, Refusal
from ich_node.states import Status

RESULT_JSON = "result.json"
# Reasons of a failure: an error of ours, or processes that ended at this series.
ERROR, CRASHED = "error", "crashed"


@dataclass(frozen=True)
class Context:
    """What is known of a series besides its pixels.

    ``timings_s`` are seconds per stage; ``other_series`` those of the folder or study that were not
    chosen; ``notes`` are what people should know of a series that is read; ``edition`` what stays
    of its result when it is built again.
    """

    series_instance_uid: str
    evidence: str
    timings_s: Mapping[str, float] = field(default_factory=dict)
    other_series: Sequence[Mapping[str, str]] = ()
    notes: Sequence[str] = ()
    edition: Edition | None = None


def analysed(
    context: Context, volume: CtVolume, prediction: Prediction, volumes_ml: Mapping[str, float]
) -> dict[str, Any]:
    """Return the content of `result.json` for an analysed series."""
    findings = {
        name: {
            "probability": round(prediction.scores[name].probability, 6),
            "threshold": round(prediction.scores[name].threshold, 6),
            "present": prediction.scores[name].present,
            "volume_ml": volumes_ml[name],
        }
        for name in CLASSES
    }
    model = prediction.model
    return {
        **_frame(Status.ANALYSED, context),
        "notes": [*context.notes, *prediction.notes],
        "findings": findings,
        "slice_probabilities": [round(p, 6) for p in prediction.slice_probabilities],
        "model": {
            "name": model.name,
            "version": model.version,
            "sha256": model.sha256,
            "device": model.device,
            "precision": model.precision,
        },
        "geometry": dict(volume.geometry),
    }


def refused(context: Context, refusal: Refusal) -> dict[str, Any]:
    """Return the content of `result.json` for a series that must not be read."""
    return {
        **_frame(Status.REFUSED, context),
        "reason": str(refusal.reason),
        "reason_text": refusal.text,
    }


def failed(context: Context, reason: str, text: str) -> dict[str, Any]:
    """Return the content of `result.json` where something of ours went wrong."""
    return {**_frame(Status.FAILED, context), "reason": reason, "reason_text": text}


def _frame(status: Status, context: Context) -> dict[str, Any]:
    return {
        "status": str(status),
        "reason": None,
        "reason_text": None,
        "series_instance_uid": context.series_instance_uid,
        "findings": None,
        "slice_probabilities": None,
        "model": None,
        "timings_s": {name: round(value, 3) for name, value in context.timings_s.items()},
        "geometry": None,
        "evidence": context.evidence,
        "other_series": [dict(entry) for entry in context.other_series],
        "notes": list(context.notes),
        "software_version": __version__,
        "intended_use": "Research use only. Not a medical device.",
    }


def write(outcome: Mapping[str, Any], folder: Path) -> Path:
    """Write `result.json` into a folder and return its path."""
    path = folder / RESULT_JSON
    path.write_text(json.dumps(outcome, indent=2) + "\n", encoding="utf-8")
    return path


def read(folder: Path) -> dict[str, Any]:
    """Read `result.json` back from a folder of results."""
    told: dict[str, Any] = json.loads((folder / RESULT_JSON).read_text(encoding="utf-8"))
    return told
