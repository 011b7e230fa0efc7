"""Figures of merit with their intervals, of plain arrays.

References
----------
DeLong E.R. et al., Comparing the areas under two or more correlated receiver operating
characteristic curves, Biometrics, 1988. Clopper C.J. and Pearson E.S., The use of confidence or
fiducial limits illustrated in the case of the binomial, Biometrika, 1934. Bland J.M. and Altman
D.G., Statistical methods for assessing agreement between two methods of clinical measurement,
Lancet, 1986.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit
from scipy.stats import binomtest, bootstrap, norm, rankdata
from sklearn.metrics import brier_score_loss, f1_score, roc_auc_score

Values = npt.NDArray[np.float64]
Truth = npt.NDArray[np.bool_]

LEVEL = 0.95
# With fewer cases a mean is given no interval.
_FEWEST = 5


@dataclass(frozen=True)
class Measured:
    """A figure, its 95 % interval and the cases that it rests on.

    The interval is NaN where the cases are too few for one, the value as well where there is none.
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
        interval = "" if math.isnan(self.low) else f"{self.low:.3f} to {self.high:.3f}"
        beside = ", ".join(part for part in (interval, self.counts) if part)
        return f"{self.value:.3f} ({beside})"


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


def dice(found: Truth, true: Truth) -> float:
    """Return Dice; 1 where both are empty."""
    both, all_ = int((found & true).sum()), int(found.sum() + true.sum())
    return 2 * both / all_ if all_ else 1.0


def mean(values: Values) -> Measured:
    """Return the mean with its bootstrap interval (BCa, 2,000 draws)."""
    if not len(values):
        return UNMEASURED
    middle = float(values.mean())
    if len(values) < _FEWEST or np.ptp(values) == 0:
        return Measured(middle, math.nan, math.nan, f"n {len(values)}")
    found = bootstrap((values,), np.mean, n_resamples=2000, rng=0).confidence_interval
    return Measured(middle, float(found.low), float(found.high), f"n {len(values)}")


@dataclass(frozen=True)
class Agreement:
    """Bland and Altman's measures of found - true.

    ``bias`` and its 95 % interval, and limits of agreement ``lower`` and ``upper``, each known to
    about ``limit_error`` (half of its 95 % interval); ``n`` pairs.
    """

    bias: Measured
    lower: float
    upper: float
    limit_error: float
    n: int


def agreement(found: Values, true: Values) -> Agreement:
    """Return how far two measurements of the same agree: bias and bias +- 1.96 SD.

    Raises
    ------
    ValueError
        There are fewer than two pairs.
    """
    if len(found) < 2:
        raise ValueError(f"{len(found)} pairs; limits of agreement need two")
    off = found - true
    spread, count = float(off.std(ddof=1)), len(off)
    middle, z = float(off.mean()), float(norm.ppf(0.5 + LEVEL / 2))
    reach = z * spread / math.sqrt(count)
    bias = Measured(middle, middle - reach, middle + reach, f"n {count}")
    return Agreement(
        bias,
        middle - z * spread,
        middle + z * spread,
        z * spread * math.sqrt(1 / count + z**2 / (2 * (count - 1))),
        count,
    )


def f1(truth: Truth, called: Truth) -> float:
    """Return the harmonic mean of sensitivity and precision; NaN if nothing is true or called."""
    return float(f1_score(truth, called, zero_division=np.nan))


def predictive_values(sens: float, spec: float, prevalence: float) -> tuple[float, float]:
    """Return PPV and NPV at a prevalence (Bayes); NaN where none is called, or all are."""
    right, wrong = sens * prevalence, (1 - spec) * (1 - prevalence)
    clear, missed = spec * (1 - prevalence), (1 - sens) * prevalence
    ppv = right / (right + wrong) if right + wrong > 0 else math.nan
    npv = clear / (clear + missed) if clear + missed > 0 else math.nan
    return ppv, npv


def brier(truth: Truth, probabilities: Values) -> float:
    """Return the mean squared error of probabilities."""
    return float(brier_score_loss(truth, probabilities, pos_label=1, labels=[False, True]))


@dataclass(frozen=True)
class Bin:
    """Cases of about the same probability: how many, their mean probability, how often true."""

    cases: int
    probability: float
    observed: Measured


def reliability(truth: Truth, probabilities: Values, bins: int = 10) -> list[Bin]:
    """Return the bins of equal width in 0..1 that hold a case."""
    at = np.minimum((probabilities * bins).astype(int), bins - 1)
    return [
        Bin(
            int((at == index).sum()),
            float(probabilities[at == index].mean()),
            proportion(int(truth[at == index].sum()), int((at == index).sum())),
        )
        for index in np.unique(at)
    ]


def calibration_error(bins: list[Bin]) -> float:
    """Return the expected calibration error: the mean gap of the bins, by their cases."""
    gaps = [one.cases * abs(one.probability - one.observed.value) for one in bins]
    return sum(gaps) / sum(one.cases for one in bins)
