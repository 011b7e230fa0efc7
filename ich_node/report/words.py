"""The sentences that people read, in the SR and under the picture."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from ich_node import __version__
from ich_node.codes import CLASSES, OF_CLASS, SUBTYPES
from ich_node.geometry import part_mm
from ich_node.records import ModelIdentity, Prediction, Refusal, SourceSlices, Superseded
from ich_node.report.identity import PRODUCT
from ich_node.report.measure import percent_text, volume_text

_CLASS_OF_NAME = {OF_CLASS[name].name: name for name in CLASSES}


def conclusion(
    prediction: Prediction, volumes_ml: Mapping[str, float], source: SourceSlices
) -> str:
    """Return the whole result in one line: what was found, where, how large, how probable."""
    anywhere = prediction.scores["any"]
    where = where_text(source)
    if not anywhere.present:
        return (
            f"No intracranial haemorrhage found{where} "
            f"(probability of haemorrhage {percent_text(anywhere.probability)})."
        )
    found = [
        f"{OF_CLASS[name].name.lower()} {size_text(volumes_ml[name])}, "
        f"probability {percent_text(prediction.scores[name].probability)}"
        for name in SUBTYPES
        if prediction.scores[name].present
    ]
    what = "; ".join(found) or "no subtype reaches its threshold, so there is no mask"
    return (
        f"Intracranial haemorrhage found{where}, {volume_text(volumes_ml['any'])} in all, "
        f"probability {percent_text(anywhere.probability)}: {what}."
    )


def where_text(source: SourceSlices) -> str:
    """Return what qualifies a result where the images do not cover a whole head; else nothing."""
    covered = part_mm(source.extents_mm)
    return "" if covered is None else f" in the {covered:g} mm that were read"


def size_text(ml: float) -> str:
    """Return the volume of a class that is present, saying it where there is no mask."""
    return volume_text(ml) if ml else "0 mL, no segment"


def table(prediction: Prediction, volumes_ml: Mapping[str, float]) -> list[tuple[str, str, str]]:
    """Return name, probability and volume of each of `codes.CLASSES`, as pictures show them."""
    rows = []
    for name in CLASSES:
        score = prediction.scores[name]
        size = size_text(volumes_ml[name]) if score.present else "-"
        rows.append((OF_CLASS[name].name, percent_text(score.probability), size))
    return rows


def rows_text(rows: Sequence[tuple[str, str, str]]) -> str:
    """Return rows of `table` as lines that `rows_read` takes apart again."""
    return "\n".join(" | ".join(row) for row in rows)


def rows_read(text: str) -> dict[str, tuple[float, float | None]]:
    """Return percent, and mL where a class is present, of each class in lines of `rows_text`."""
    found: dict[str, tuple[float, float | None]] = {}
    for line in text.splitlines():
        cells = line.split(" | ")
        if len(cells) == 3 and cells[0] in _CLASS_OF_NAME:
            number = re.search(r"[\d.]+", cells[2])
            below = cells[2].startswith("<")  # less than a tenth: half of it, give or take as much
            volume = float(number[0]) / (2 if below else 1) if number else None
            found[_CLASS_OF_NAME[cells[0]]] = (float(cells[1].removesuffix(" %")), volume)
    return found


def refusal_text(refusal: Refusal) -> str:
    """Return the sentence that says why a series was not analysed."""
    return f"Not analysed: {refusal.text}"


def scores_text(prediction: Prediction) -> str:
    """Return every class with its probability and threshold."""
    each = (
        f"{name} {percent_text(score.probability)} ({percent_text(score.threshold)})"
        for name in CLASSES
        for score in [prediction.scores[name]]
    )
    return f"Probability of haemorrhage (threshold): {', '.join(each)}."


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


def superseded_text(before: Superseded) -> str:
    """Return what is said of the report whose place another one takes."""
    if before.same_images:
        why = "by other software, model, device or settings, of the same images"
    else:
        why = "before all of its images had come"
    return (
        f"This report supersedes that of revision {before.revision} of the series, which was made "
        f"{why}."
    )
