"""Figures of merit with their intervals, of plain arrays.

References
----------
DeLong E.R. et al., Comparing the areas under two or more correlated receiver operating
characteristic curves, Biometrics, 1988. Clopper C.J. and Pearson E.S., The use of confidence or
fiducial limits illustrated in the case of the binomial, Biometrika, 1934.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit
from scipy.stats import binomtest, norm, rankdata
from sklearn.metrics import roc_auc_score

Values = npt.NDArray[np.float64]
Truth = npt.NDArray[np.bool_]

LEVEL = 0.95


@dataclass(frozen=True)
class Measured:
    """A figure and its 95 % interval; all NaN where there was nothing to measure it on.

    ``text`` is how it is printed, for a proportion with its counts.
    """

    value: float
    low: float
    high: float
    counts: str = ""

    @property
    def text(self) -> str:
        """Value, interval and counts, as reports print them."""
        if math.isnan(self.value):
            return "not measured"
        counts = f", {self.counts}" if self.counts else ""
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f}{counts})"


UNMEASURED = Measured(math.nan, math.nan, math.nan)


def proportion(hits: int, of: int) -> Measured:
    """Return a proportion with its exact interval (Clopper and Pearson)."""
    if not of:
        return UNMEASURED
    found = binomtest(hits, of).proportion_ci(LEVEL, "exact")
    return Measured(hits / of, float(found.low), float(found.high), f"{hits} of {of}")


def auc(truth: Truth, scores: Values) -> Measured:
    """Return the area under the ROC curve with DeLong's interval on the logit scale.

    Where every pair is ordered rightly (or wrongly) that interval has no width. The exact one of as
    many pairs as share no case stands in for it then; it is valid, and wide.
    """
    positive, negative = scores[truth], scores[~truth]
    if not len(positive) or not len(negative):
        return UNMEASURED
    area = float(roc_auc_score(truth, scores))
    if area in (0.0, 1.0):
        apart = min(len(positive), len(negative))
        pairs = proportion(round(area) * apart, apart)
        return Measured(area, pairs.low, pairs.high)
    ranks = rankdata(scores)
    above = (ranks[truth] - rankdata(positive)) / len(negative)
    below = 1 - (ranks[~truth] - rankdata(negative)) / len(positive)
    error = math.sqrt(_variance_of_mean(above) + _variance_of_mean(below))
    reach = norm.ppf(0.5 + LEVEL / 2) * error / (area * (1 - area))
    middle = logit(area)
    return Measured(area, float(expit(middle - reach)), float(expit(middle + reach)))


def _variance_of_mean(values: Values) -> float:
    return float(values.var(ddof=1)) / len(values) if len(values) > 1 else 0.0


def sensitivity(truth: Truth, called: Truth) -> Measured:
    """Return how many of those with the finding are called."""
    return proportion(int(called[truth].sum()), int(truth.sum()))


def specificity(truth: Truth, called: Truth) -> Measured:
    """Return how many of those without the finding are left alone."""
    return proportion(int((~called[~truth]).sum()), int((~truth).sum()))


def balanced_cut(truth: Truth, scores: Values) -> float:
    """Return the score from which on to call, so that the worse of the two rates is best.

    Midway between the neighbouring scores.
    """
    levels = np.unique(scores)
    cuts = np.r_[levels[0], (levels[1:] + levels[:-1]) / 2]
    calls = scores[None] >= cuts[:, None]
    worse = np.minimum(calls[:, truth].mean(1), (~calls[:, ~truth]).mean(1))
    return float(cuts[int(worse.argmax())])


def dice(found: Truth, true: Truth) -> float:
    """Return Dice; 1 where both are empty."""
    both, all_ = int((found & true).sum()), int(found.sum() + true.sum())
    return 2 * both / all_ if all_ else 1.0
