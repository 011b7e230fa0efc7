"""Figures over slices whose intervals know that the slices of one head resemble each other.

Heads are drawn again, not slices (bootstrap by clusters): an interval for as many cases as there
are slices would be far too narrow.

References
----------
Obuchowski N.A., Nonparametric analysis of clustered ROC curve data, Biometrics, 1997, for how far
such intervals differ; Field C.A. and Welsh A.H., Bootstrapping clustered data, J. R. Statist. Soc.
B, 2007.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from training.evaluate.metrics import LEVEL, UNMEASURED, Measured, Truth, Values, proportion

Groups = npt.NDArray[np.int64]

_DRAWS = 2000


def auc(truth: Truth, scores: Values, groups: Groups) -> Measured:
    """Return the area under the ROC curve over all slices, its interval over heads.

    Parameters
    ----------
    groups
        For each slice, which head it is of.
    """
    _, group = np.unique(groups, return_inverse=True)
    count = int(group.max(initial=-1)) + 1
    positive, negative = _held(group[truth], count), _held(group[~truth], count)
    if not positive.any() or not negative.any():
        return UNMEASURED
    order = _pairs_in_order(truth, scores, group, count)
    area = float(order.sum() / (positive.sum() * negative.sum()))
    if area in (0.0, 1.0):
        return _certain(area, min(int((held > 0).sum()) for held in (positive, negative)))
    drawn = _draws(count)
    pairs = (drawn @ positive) * (drawn @ negative)
    return _between(area, ((drawn @ order) * drawn).sum(1), pairs)


def share(hits: Truth, groups: Groups) -> Measured:
    """Return the share of slices that are hits, its interval over heads.

    Parameters
    ----------
    groups
        For each slice, which head it is of.
    """
    if not len(hits):
        return UNMEASURED
    _, group = np.unique(groups, return_inverse=True)
    count = int(group.max()) + 1
    right, all_ = _held(group[hits], count), _held(group, count)
    counts = f"{int(right.sum())} of {int(all_.sum())}"
    value = float(right.sum() / all_.sum())
    if value in (0.0, 1.0):
        return replace(_certain(value, count), counts=counts)
    drawn = _draws(count)
    return replace(_between(value, drawn @ right, drawn @ all_), counts=counts)


def _held(group: Groups, count: int) -> Values:
    return np.bincount(group, minlength=count).astype(float)


def _pairs_in_order(truth: Truth, scores: Values, group: Groups, count: int) -> Values:
    """Return, for the positives of each head and the negatives of each, how many pairs are right.

    Pairs of equal scores count half.
    """
    negative, of = scores[~truth], group[~truth]
    order = np.zeros((count, count))
    for one in range(count):
        levels = np.sort(scores[truth & (group == one)])
        above = len(levels) - np.searchsorted(levels, negative, "right")
        equal = len(levels) - np.searchsorted(levels, negative, "left") - above
        order[one] = np.bincount(of, above + equal / 2, minlength=count)
    return order


def _draws(count: int) -> Values:
    """Return how often each head is drawn, for each of many draws of as many heads."""
    rng = np.random.default_rng(0)
    return rng.multinomial(count, np.full(count, 1 / count), _DRAWS).astype(float)


def _between(value: float, parts: Values, wholes: Values) -> Measured:
    """Return a value with the range of the draws in which there was something to measure."""
    found = parts[wholes > 0] / wholes[wholes > 0]
    tail = 50 * (1 - LEVEL)
    low, high = np.percentile(found, (tail, 100 - tail))
    return Measured(value, float(low), float(high))


def _certain(value: float, heads: int) -> Measured:
    """Return 0 or 1 with the exact interval of as many cases as there are heads."""
    return replace(proportion(round(value) * heads, heads), counts="")
