"""From scores of cases whose truth is known: calibrated probabilities, and where to call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import expit

from ich_node.codes import CLASSES, SUBTYPES

Calibration = dict[str, tuple[float, float]]
Array = npt.NDArray[np.float64]

NEUTRAL: Calibration = dict.fromkeys(CLASSES, (1.0, 0.0))
# So much of the cases without a bleed is not called by `any` itself, and by no class at all.
_SPECIFICITY, _TOGETHER = 0.95, 0.9
# A mask is shown only for subtypes that are present: rather found too often than too seldom.
_OF_SUBTYPE = 0.85
_SHARES = np.linspace(_OF_SUBTYPE, 1.0, 31)


@dataclass(frozen=True)
class Scored:
    """Logits and truth of cases, both (case, 6); truth 1, 0, or NaN where it is not known."""

    logits: Array
    truth: Array


def platt(logits: Array, truth: Array) -> tuple[float, float]:
    """Fit slope and offset of a logit by maximum likelihood with Platt's smoothed targets."""
    positive, negative = truth.sum(), (1 - truth).sum()
    smooth = np.where(truth > 0, (positive + 1) / (positive + 2), 1 / (negative + 2))

    def loss(parameters: Array) -> float:
        z = parameters[0] * logits + parameters[1]
        return float(np.mean(np.logaddexp(0, z) - smooth * z))

    slope, offset = minimize(loss, np.array([1.0, 0.0]), method="Nelder-Mead").x
    return float(slope), float(offset)


def threshold(probabilities: Array, truth: Array, specificity: float = _SPECIFICITY) -> float:
    """Choose where sensitivity and specificity together are best, of enough specificity.

    Parameters
    ----------
    probabilities, truth
        Of each case.
    specificity
        The least that is allowed, 0..1.
    """
    return _best(
        probabilities,
        truth,
        lambda sensitive, specific: (specific >= specificity, specific + sensitive),
    )


def balanced(probabilities: Array, truth: Array) -> float:
    """Choose where the lesser of sensitivity and specificity is best."""
    return _best(
        probabilities,
        truth,
        lambda sensitive, specific: (min(specific, sensitive), specific + sensitive),
    )


def _best(
    probabilities: Array, truth: Array, worth: Callable[[float, float], tuple[float, float]]
) -> float:
    """Return the best cut, midway between two cases: room on both sides."""
    steps = np.unique(np.concatenate([[0.0], probabilities, [1.0]]))
    cuts = (steps[1:] + steps[:-1]) / 2
    bleeds = truth > 0

    def of(cut: float) -> tuple[float, float]:
        found = probabilities >= cut
        specific = float((~found[~bleeds]).mean()) if (~bleeds).any() else 1.0
        sensitive = float(found[bleeds].mean()) if bleeds.any() else 0.0
        return worth(sensitive, specific)

    return round(float(np.clip(max(cuts, key=of), 0.02, 0.98)), 4)


def calibrate(scored: Scored) -> tuple[Calibration, dict[str, float]]:
    """Return slope and offset of each class's logit, and the probability from which it is called.

    A class without a case, or with nothing else, keeps (1, 0) and 0.5. A subtype is called in at
    most 15 % of the cases without it, and in so few of those without a bleed that all classes
    together leave 90 % of them alone, or as many as `any` by itself does.
    """
    calibration, thresholds = dict(NEUTRAL), dict.fromkeys(CLASSES, 0.5)
    fitted = []
    for name in CLASSES:
        logits, truth = _known(scored, name)
        if 0 < truth.sum() < len(truth):
            fitted.append(name)
            calibration[name] = platt(logits, truth)
    if "any" in fitted:
        logits, truth = _known(scored, "any")
        thresholds["any"] = threshold(_probability(calibration["any"], logits), truth)
    subtypes = [name for name in SUBTYPES if name in fitted]
    clean = Scored(*(part[scored.truth[:, 0] == 0] for part in (scored.logits, scored.truth)))
    of_any = [name for name in fitted if name == "any"]
    least = min(_TOGETHER, 1 - _called(clean, calibration, thresholds, of_any))
    for share in _SHARES:
        for name in subtypes:
            logits, truth = _known(scored, name)
            cut = np.quantile(_probability(calibration[name], logits[truth == 0]), _OF_SUBTYPE)
            if len(clean.logits):
                of_clean = clean.logits[:, CLASSES.index(name)]
                cut = max(cut, np.quantile(_probability(calibration[name], of_clean), share))
            thresholds[name] = min(1.0, float(np.floor(cut * 1e4 + 1) / 1e4))  # above it
        if 1 - _called(clean, calibration, thresholds, fitted) >= least:
            break
    return calibration, thresholds


def _known(scored: Scored, name: str) -> tuple[Array, Array]:
    """Return logits and truth of a class in the cases in which it is known."""
    logits, truth = (part[:, CLASSES.index(name)] for part in (scored.logits, scored.truth))
    return logits[~np.isnan(truth)], truth[~np.isnan(truth)]


def _probability(line: tuple[float, float], logits: Array) -> Array:
    return np.asarray(expit(line[0] * logits + line[1]), np.float64)


def _called(
    cases: Scored, calibration: Calibration, thresholds: dict[str, float], names: Sequence[str]
) -> float:
    """Return the share of cases that one of some classes calls; 0 of none."""
    found = [
        _probability(calibration[name], cases.logits[:, CLASSES.index(name)]) >= thresholds[name]
        for name in names
    ]
    return float(np.any(found, axis=0).mean()) if found and len(cases.logits) else 0.0
