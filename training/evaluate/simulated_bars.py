"""What is expected on simulated heads, and the figures beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import TypeVar

import numpy as np

from ich_node.codes import CLASSES, SUBTYPES
from training.evaluate import clusters, metrics
from training.evaluate.bars import Bar, at_least
from training.evaluate.clusters import Groups
from training.evaluate.heads import HeadRow, HeadSlice
from training.evaluate.metrics import Measured, Truth, Values

SMALLEST_AUC = 0.98
SMALLEST_SUBTYPE_AUC = 0.93
SMALLEST_DICE = 0.80
LARGE_ML = 5.0
# Upper ends of the bands of volume, mL; a bleed of just that size is in the next band.
BAND_ENDS = (0.0, 0.4, 1.0, LARGE_ML, np.inf)
BANDS = ("< 0.4 mL", "0.4 to 1 mL", "1 to 5 mL", ">= 5 mL")
PREVALENCES = (0.027, 0.06, 0.15)
_SEEDS_SHOWN = 8

Table = list[list[str]]
Row = TypeVar("Row", HeadRow, HeadSlice)
# Truth, probability and verdict of cases.
Called = tuple[Truth, Values, Truth]


def simulated_bars(heads: Sequence[HeadRow]) -> list[Bar]:
    """Hold heads against what is expected of them."""
    found = [metrics.auc(*volume_scores(heads, index)) for index in range(len(CLASSES))]
    bars = [at_least("volume AUC, any", found[0].value, SMALLEST_AUC, found[0].text)]
    large = metrics.mean(dice_where(heads, 0, LARGE_ML, np.inf))
    bars.append(at_least("mean Dice, bleeds >= 5 mL", large.value, SMALLEST_DICE, large.text))
    for name, one in zip(SUBTYPES, found[1:], strict=True):
        bars.append(at_least(f"volume AUC, {name}", one.value, SMALLEST_SUBTYPE_AUC, one.text))
    return bars


def volume_scores(heads: Sequence[HeadRow], index: int) -> tuple[Truth, Values]:
    """Return truth and probability of a class in each head."""
    return _scores(_known(heads, index), index)


def _scores(rows: Sequence[Row], index: int) -> tuple[Truth, Values]:
    truth = np.array([row.held[index] == 1 for row in rows], bool)
    return truth, np.array([row.probabilities[index] for row in rows])


def _known(rows: Sequence[Row], index: int) -> list[Row]:
    """Return those of which it is known whether they hold a class."""
    return [row for row in rows if not np.isnan(row.held[index])]


def volume_cases(heads: Sequence[HeadRow]) -> dict[str, Called]:
    """Return the heads of each class, called as the node calls them."""
    found = {}
    for index, name in enumerate(CLASSES):
        called = np.array([row.present[index] for row in _known(heads, index)], bool)
        found[name] = (*volume_scores(heads, index), called)
    return found


def slice_cases(slices: Sequence[HeadSlice], cuts: Mapping[str, float]) -> dict[str, Called]:
    """Return the slices of each class, called from its shipped probability on."""
    found = {}
    for index, name in enumerate(CLASSES):
        truth, scores = slice_scores(slices, index)
        found[name] = (truth, scores, scores >= cuts[name])
    return found


def slice_scores(slices: Sequence[HeadSlice], index: int) -> tuple[Truth, Values]:
    """Return truth and probability of a class in each slice."""
    return _scores(_known(slices, index), index)


def band_of(volume_ml: float) -> int:
    """Return the index into `BANDS` of a bleed's volume, mL."""
    return int(np.searchsorted(BAND_ENDS[1:-1], volume_ml, side="right"))


def dice_where(heads: Sequence[HeadRow], index: int, low: float, high: float) -> Values:
    """Return Dice of a class where its true volume is in low..high (without), mL, and not 0."""
    return np.array(
        [
            row.dice[index]
            for row in heads
            if row.true_ml[index] > 0 and low <= row.true_ml[index] < high
        ]
    )


def simulated_tables(
    heads: Sequence[HeadRow], slices: Sequence[HeadSlice], slice_cuts: Mapping[str, float]
) -> dict[str, Table]:
    """Return the figures by title; the first line of a table is its head."""
    volumes, single = volume_cases(heads), slice_cases(slices, slice_cuts)
    return {
        "Volumes": _detection([_volume_figures(*one) for one in volumes.values()]),
        "Slices": _detection(
            [
                _slice_figures(*single[name], _seeds(_known(slices, i)))
                for i, name in enumerate(CLASSES)
            ]
        ),
        "Heads without a bleed": _clean_table(heads),
        **_bands_of_heads(heads),
        **_bands_of_slices(slices, slice_cuts),
        "Dice by true volume": _dice_table(heads),
        "Volume error": _volume_table(heads),
        "Predictive values": predictive_table(volumes["any"][0], volumes["any"][2]),
        "Calibration": _calibration_table(volumes, single),
        "Reliability of any, volumes": _reliability_table(*volumes["any"][:2]),
    }


def _detection(figures: Sequence[Sequence[str]]) -> Table:
    header = ["class", "with", "without", "AUC", "sensitivity", "specificity", "F1"]
    return [header, *([name, *own] for name, own in zip(CLASSES, figures, strict=True))]


def _volume_figures(truth: Truth, scores: Values, called: Truth) -> list[str]:
    found = (
        metrics.auc(truth, scores),
        metrics.sensitivity(truth, called),
        metrics.specificity(truth, called),
    )
    return _with_counts(truth, called, found)


def _seeds(slices: Sequence[HeadSlice]) -> Groups:
    return np.array([row.seed for row in slices], np.int64)


def _slice_figures(truth: Truth, scores: Values, called: Truth, seeds: Groups) -> list[str]:
    found = (
        clusters.auc(truth, scores, seeds),
        clusters.share(called[truth], seeds[truth]),
        clusters.share(~called[~truth], seeds[~truth]),
    )
    return _with_counts(truth, called, found)


def _with_counts(truth: Truth, called: Truth, found: Sequence[Measured]) -> list[str]:
    counts = [str(int(truth.sum())), str(int((~truth).sum()))]
    f1 = metrics.f1(truth, called)
    return [*counts, *(one.text for one in found), "-" if f1 != f1 else f"{f1:.3f}"]


def _clean_table(heads: Sequence[HeadRow]) -> Table:
    """Return what is seen where nothing is."""
    clean = [row for row in heads if row.held[0] == 0]
    masks = [row.found_ml[0] for row in clean if row.found_ml[0]]
    called = [str(row.seed) for row in clean if row.present[0]]
    return [
        ["heads", "called", "with a mask", "its median, mL", "its largest, mL", "seeds called"],
        [
            str(len(clean)),
            str(len(called)),
            str(len(masks)),
            f"{np.median(masks):.2f}" if masks else "-",
            f"{max(masks):.2f}" if masks else "-",
            ", ".join(called[:_SEEDS_SHOWN]) + (", ..." if len(called) > _SEEDS_SHOWN else ""),
        ],
    ]


def _bands_of_heads(heads: Sequence[HeadRow]) -> dict[str, Table]:
    def area(rows: Sequence[HeadRow], index: int) -> Measured:
        return metrics.auc(*_scores(rows, index))

    def called(rows: Sequence[HeadRow], index: int) -> Measured:
        return metrics.proportion(sum(row.present[index] for row in rows), len(rows))

    return {
        "AUC by true volume": _by_band(heads, area, against=True),
        "Sensitivity by true volume": _by_band(heads, called, against=False),
    }


def _bands_of_slices(slices: Sequence[HeadSlice], cuts: Mapping[str, float]) -> dict[str, Table]:
    def area(rows: Sequence[HeadSlice], index: int) -> Measured:
        return clusters.auc(*_scores(rows, index), _seeds(rows))

    def called(rows: Sequence[HeadSlice], index: int) -> Measured:
        _, scores = _scores(rows, index)
        return clusters.share(scores >= cuts[CLASSES[index]], _seeds(rows))

    return {
        "AUC of slices by true volume in the slice": _by_band(slices, area, against=True),
        "Sensitivity of slices by true volume in the slice": _by_band(
            slices, called, against=False
        ),
    }


def _by_band(
    rows: Sequence[Row], figure: Callable[[Sequence[Row], int], Measured], *, against: bool
) -> Table:
    """Return a figure of each class for the rows of each band.

    Parameters
    ----------
    figure
        Of rows and the class's index.
    against
        Together with all rows that do not hold the class.
    """
    table = [["class", *BANDS]]
    for index, name in enumerate(CLASSES):
        beside = _without(rows, index) if against else []
        line = [name]
        for band in range(len(BANDS)):
            held = _in_band(rows, index, band)
            line.append(figure(held + beside, index).text)
        table.append(line)
    return table


def _without(rows: Sequence[Row], index: int) -> list[Row]:
    return [row for row in rows if row.held[index] == 0]


def _in_band(rows: Sequence[Row], index: int, band: int) -> list[Row]:
    held = [row for row in rows if row.true_ml[index] > 0]
    return [row for row in held if band_of(row.true_ml[index]) == band]


def _dice_table(heads: Sequence[HeadRow]) -> Table:
    table = [["class", *BANDS, "all", "median of all"]]
    for index, name in enumerate(CLASSES):
        bands = [dice_where(heads, index, *ends) for ends in pairwise(BAND_ENDS)]
        whole = np.concatenate(bands)
        median = f"{np.median(whole):.3f}" if len(whole) else "-"
        table.append([name, *(metrics.mean(one).text for one in (*bands, whole)), median])
    return table


def volume_pairs(heads: Sequence[HeadRow], index: int) -> tuple[Values, Values]:
    """Return found and true mL of a class where one of them is not 0."""
    known = [row for row in heads if not np.isnan(row.true_ml[index])]
    rows = [row for row in known if row.true_ml[index] or row.found_ml[index]]
    return (
        np.array([row.found_ml[index] for row in rows]),
        np.array([row.true_ml[index] for row in rows]),
    )


def _volume_table(heads: Sequence[HeadRow]) -> Table:
    table = [["class", "heads", "bias, mL", "limits of agreement, mL", "mean absolute error, mL"]]
    for index, name in enumerate(CLASSES):
        found, true = volume_pairs(heads, index)
        if len(found) < 2:
            table.append([name, str(len(found)), "-", "-", "-"])
            continue
        one = metrics.agreement(found, true)
        table.append(
            [
                name,
                str(one.n),
                f"{one.bias.value:+.2f} ({one.bias.low:+.2f} to {one.bias.high:+.2f})",
                f"{one.lower:+.2f} to {one.upper:+.2f} (each +-{one.limit_error:.2f})",
                f"{np.abs(found - true).mean():.2f}",
            ]
        )
    return table


def predictive_table(truth: Truth, called: Truth) -> Table:
    """Return what a call is worth where fewer, or more, bleed than among these."""
    sens = metrics.sensitivity(truth, called).value
    spec = metrics.specificity(truth, called).value
    table = [["prevalence of any", "PPV", "NPV"]]
    for share in PREVALENCES:
        ppv, npv = metrics.predictive_values(sens, spec, share)
        shown = ("-" if value != value else f"{value:.3f}" for value in (ppv, npv))
        table.append([f"{share:.1%}", *shown])
    return table


def _calibration_table(*kinds: Mapping[str, Called]) -> Table:
    table = [["class", "volumes: Brier", "calibration error", "slices: Brier", "calibration error"]]
    for name in CLASSES:
        line = [name]
        for cases in kinds:
            truth, scores, _ = cases[name]
            error = metrics.calibration_error(metrics.reliability(truth, scores))
            line += [f"{metrics.brier(truth, scores):.3f}", f"{error:.3f}"]
        table.append(line)
    return table


def _reliability_table(truth: Truth, scores: Values) -> Table:
    lines = [
        [str(one.cases), f"{one.probability:.3f}", one.observed.text]
        for one in metrics.reliability(truth, scores)
    ]
    return [["cases", "mean probability", "with a bleed"], *lines]


def side_by_side(runs: Mapping[str, Sequence[HeadRow]]) -> Table:
    """Return the leading figures of several runs, one a line: for ablations."""
    table = [["run", "heads", "AUC any", "mean AUC of subtypes", "Dice >= 5 mL", "Dice, all"]]
    for name, heads in runs.items():
        areas = [metrics.auc(*volume_scores(heads, index)) for index in range(len(CLASSES))]
        subtypes = np.array([one.value for one in areas[1:]])
        known = subtypes[~np.isnan(subtypes)]
        table.append(
            [
                name,
                str(len(heads)),
                areas[0].text,
                f"{known.mean():.3f}" if len(known) else "not measured",
                metrics.mean(dice_where(heads, 0, LARGE_ML, np.inf)).text,
                metrics.mean(dice_where(heads, 0, 0, np.inf)).text,
            ]
        )
    return table
