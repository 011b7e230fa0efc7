"""What is expected on real slices and scans, and the figures beside it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ich_node.codes import CLASSES, SUBTYPES
from training.calibrate import balanced
from training.evaluate import metrics
from training.evaluate.bars import Bar, at_least
from training.evaluate.metrics import Measured, Truth, Values
from training.evaluate.real import (
    CRANIUM,
    FOLDERS,
    PHANTOM,
    PNG,
    SUBDURAL,
    TILTED,
    BoxRow,
    RealRows,
    ScanRow,
    SliceRow,
)
from training.evaluate.simulated_bars import predictive_table

SMALLEST_AUC = 0.95
SMALLEST_RATE = 0.90
# Slices of `rsna-slices` in HU with a bleed that somebody drew a box around.
BOXED_SLICES = 4
_STRONGEST = 12


def real_bars(rows: RealRows, cut: float, backgrounds: Sequence[str] = ()) -> list[Bar]:
    """Hold rows against what is expected of them.

    Parameters
    ----------
    cut
        Shipped probability from which on a slice is called.
    backgrounds
        Scans that bleeds were drawn on for the training: of these nothing is expected.
    """
    bars = []
    found = rates(rows.slices, "", cut)
    bars.append(at_least("8-bit slices: AUC", found[0].value, SMALLEST_AUC, found[0].text))
    for name, one in zip(
        ("sensitivity", "specificity"), rates(rows.slices, "odd", cut)[1:], strict=True
    ):
        what = f"8-bit slices, odd half: {name} at {cut:.3f}"
        bars.append(at_least(what, one.value, SMALLEST_RATE, one.text))
    bars.append(boxes_bar(rows.boxes))
    for group in (TILTED, CRANIUM, PHANTOM):
        of_group = [scan_bar(scan, backgrounds) for scan in rows.scans if scan.group == group]
        bars += of_group or [Bar(group, "no finding", "", None)]
    bars.append(subdural_bar([row for row in rows.slices if row.group == SUBDURAL], cut))
    return bars


def rates(rows: Sequence[SliceRow], half: str, cut: float) -> tuple[Measured, Measured, Measured]:
    """Return AUC, sensitivity and specificity of the 8-bit slices of a half, or of both."""
    truth, scores = png_scores(rows, half)
    called = scores >= cut
    return (
        metrics.auc(truth, scores),
        metrics.sensitivity(truth, called),
        metrics.specificity(truth, called),
    )


def png_scores(rows: Sequence[SliceRow], half: str) -> tuple[Truth, Values]:
    """Return truth and probability of the 8-bit slices of a half, or of both where it is empty."""
    chosen = [row for row in rows if row.group == PNG and half in ("", row.half)]
    truth = np.array([row.bleed for row in chosen], bool)
    return truth, np.array([row.probabilities[0] for row in chosen])


def boxes_bar(rows: Sequence[BoxRow]) -> Bar:
    """Expect the mask to reach into a box of every slice that has one; fewer than all show less."""
    slices = {row.name for row in rows}
    reached = {row.name for row in rows if row.both}
    whole = len(slices) >= BOXED_SLICES
    return Bar(
        "boxed slices: the mask overlaps a box",
        f"{BOXED_SLICES} of {BOXED_SLICES}",
        f"{len(reached)} of {len(slices)}",
        (True if whole else None) if reached == slices else False,
    )


def scan_bar(row: ScanRow, backgrounds: Sequence[str] = ()) -> Bar:
    """Expect no finding in a scan without blood; a refusal is none."""
    found = ", ".join(row.present) if row.present else row.outcome
    what = f"{row.group}, {row.name}"
    if FOLDERS.get(row.group) in backgrounds:
        return Bar(what, "nothing", found, None, "background of its training: no test")
    clean = not row.present and not row.outcome.startswith("failed")
    return Bar(what, "no finding", found, clean)


def subdural_bar(rows: Sequence[SliceRow], cut: float) -> Bar:
    """Expect the subdural slice to be called, and subdural to be its likeliest subtype."""
    what, expected = f"{SUBDURAL}: any, and the likeliest subtype", f">= {cut:.3f}, subdural"
    if not rows:
        return Bar(what, expected, "", None)
    any_, *subtypes = rows[0].probabilities
    likeliest = SUBTYPES[int(np.argmax(subtypes))]
    met = bool(any_ >= cut and likeliest == "subdural")
    return Bar(what, expected, f"{any_:.3f}, {likeliest}", met)


def real_tables(rows: RealRows, cut: float) -> dict[str, list[list[str]]]:
    """Return the figures beside the bars, by title; the first line of a table is its head."""
    return {
        "8-bit slices": _png_table(rows.slices, cut),
        "Predictive values, 8-bit slices, odd half": _png_predictive(rows.slices, cut),
        "Boxed slices": [
            ["slice", "box", "mask in the box, px", "box, px", "whole mask, px"],
            *([_short(r.name), r.label, str(r.both), str(r.box), str(r.mask)] for r in rows.boxes),
        ],
        "Scans without blood": [
            ["scan", "outcome", "findings", "any", "mL", "slices called"],
            *(_scan_line(scan) for scan in rows.scans),
        ],
        "Other slices with a bleed, and the strongest that are called without one": [
            ["data", "slice", "bleed", *CLASSES],
            *(_slice_line(row) for row in _worth_showing(rows.slices, cut)),
        ],
    }


def _png_table(rows: Sequence[SliceRow], cut: float) -> list[list[str]]:
    head = ["half", "AUC", "sensitivity", "specificity", "F1", "Brier", "calibration error"]
    table = [[*head, "cut", "best balanced cut"]]
    for half in ("odd", "even", ""):
        truth, scores = png_scores(rows, half)
        if not len(truth):
            continue
        figures = (
            metrics.f1(truth, scores >= cut),
            metrics.brier(truth, scores),
            metrics.calibration_error(metrics.reliability(truth, scores)),
            cut,
            balanced(scores, truth.astype(np.float64)),
        )
        texts = [one.text for one in rates(rows, half, cut)]
        table.append([half or "both", *texts, *(f"{one:.3f}" for one in figures)])
    return table


def _png_predictive(rows: Sequence[SliceRow], cut: float) -> list[list[str]]:
    truth, scores = png_scores(rows, "odd")
    return predictive_table(truth, scores >= cut)


def _scan_line(row: ScanRow) -> list[str]:
    seen = row.slices > 0
    return [
        f"{row.group}, {row.name}",
        row.outcome,
        ", ".join(row.present) or "none",
        f"{row.probability:.3f}" if seen else "-",
        f"{row.volume_ml:.1f}" if seen else "-",
        f"{row.flagged} of {row.slices}" if seen else "-",
    ]


def _worth_showing(rows: Sequence[SliceRow], cut: float) -> list[SliceRow]:
    others = [row for row in rows if row.group != PNG]
    called = [row for row in others if row.bleed is False and row.probabilities[0] >= cut]
    called.sort(key=lambda row: -row.probabilities[0])
    return [row for row in others if row.bleed is not False] + called[:_STRONGEST]


def _slice_line(row: SliceRow) -> list[str]:
    known = {True: "yes", False: "no", None: "not said"}[row.bleed]
    return [row.group, _short(row.name), known, *(f"{p:.3f}" for p in row.probabilities)]


def _short(name: str) -> str:
    return name if len(name) < 20 else f"...{name[-12:]}"
