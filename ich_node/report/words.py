"""The sentences that people read, in the SR and under the picture."""

from __future__ import annotations

from collections.abc import Mapping

from ich_node import __version__
from ich_node.codes import CLASSES, OF_CLASS, SUBTYPES
from ich_node.records import ModelIdentity, Prediction
from ich_node.report.identity import PRODUCT
from ich_node.report.measure import percent_text, volume_text


def conclusion(prediction: Prediction, volumes_ml: Mapping[str, float]) -> str:
    """Return the whole result in one line: what was found, how large, how probable."""
    anywhere = prediction.scores["any"]
    if not anywhere.present:
        return (
            f"No intracranial haemorrhage found (probability {percent_text(anywhere.probability)})."
        )
    found = [
        f"{OF_CLASS[name].name.lower()} {size_text(volumes_ml[name])}, "
        f"probability {percent_text(prediction.scores[name].probability)}"
        for name in SUBTYPES
        if prediction.scores[name].present
    ]
    what = "; ".join(found) or "no subtype reaches its threshold, so there is no mask"
    return (
        f"Intracranial haemorrhage found, {volume_text(volumes_ml['any'])} in all, probability "
        f"{percent_text(anywhere.probability)}: {what}."
    )


def size_text(ml: float) -> str:
    """Return the volume of a class that is present, saying it where there is no mask."""
    return volume_text(ml) if ml else "0 mL, no segment"


def scores_text(prediction: Prediction) -> str:
    """Return every class with its probability and threshold."""
    each = (
        f"{name} {percent_text(score.probability)} ({percent_text(score.threshold)})"
        for name in CLASSES
        for score in [prediction.scores[name]]
    )
    return f"Probability (threshold): {', '.join(each)}."


def left_out_text(name: str, given: int, left_out: int) -> str:
    """Return what is said where some regions of a class have no outline."""
    which = f"the largest {given}" if given > 1 else "the largest one"
    return (
        f"{OF_CLASS[name].name}: outlines are given of {which} of {given + left_out} regions; "
        "volume and segmentation hold them all."
    )


def model_parameters(model: ModelIdentity) -> list[str]:
    """Return what, beside name and version, decides the numbers."""
    return [
        f"weights SHA-256 {model.sha256}",
        f"device {model.device}",
        f"precision {model.precision}",
        f"software {PRODUCT} {__version__}",
    ]


def superseded_text(revision: int) -> str:
    """Return what is said of the report whose place another one takes."""
    return (
        f"This report supersedes that of revision {revision} of the series, which was made before "
        "all of its images had come."
    )
