"""Figures of merit agree with hand calculation and with their definitions."""

import math

import numpy as np
import pytest

from training.evaluate import metrics
from training.evaluate.simulated_bars import band_of


def booleans(*values):
    return np.array(values, bool)


def test_auc_is_the_share_of_pairs_in_order():
    """A tie counts half."""
    truth, scores = booleans(1, 1, 0, 0), np.array([0.9, 0.4, 0.4, 0.1])
    assert metrics.auc(truth, scores).value == pytest.approx(3.5 / 4)


def test_interval_of_auc_is_delongs():
    """By his definition: the variance of each case's share of pairs in order."""
    rng = np.random.default_rng(3)
    truth = rng.random(40) < 0.4
    scores = rng.normal(truth * 1.0, 1.0)
    pairs = (scores[truth][:, None] > scores[~truth][None]).astype(float)
    error = math.sqrt(
        pairs.mean(1).var(ddof=1) / pairs.shape[0] + pairs.mean(0).var(ddof=1) / pairs.shape[1]
    )
    area = pairs.mean()
    reach = 1.959964 * error / (area * (1 - area))
    odds = math.log(area / (1 - area))
    found = metrics.auc(truth, scores)
    assert found.value == pytest.approx(area)
    assert found.low == pytest.approx(1 / (1 + math.exp(reach - odds)), rel=1e-5)
    assert found.high == pytest.approx(1 / (1 + math.exp(-reach - odds)), rel=1e-5)


def test_perfect_auc_of_few_cases_is_not_certain():
    """Five pairs without a common case, all in order: the lower limit is 0.025 ** (1 / 5)."""
    truth = booleans(*[1] * 5, *[0] * 9)
    found = metrics.auc(truth, truth.astype(float))
    assert (found.value, found.high) == (1, 1)
    assert found.low == pytest.approx(0.025 ** (1 / 5))


def test_one_kind_of_cases_has_no_auc():
    assert metrics.auc(booleans(1, 1), np.array([0.1, 0.2])).text == "not measured"


@pytest.mark.parametrize(
    ("hits", "of", "low", "high"),
    [(9, 10, 0.5550, 0.9975), (0, 10, 0, 0.3085), (45, 50, 0.7819, 0.9667)],
)
def test_intervals_of_proportions_are_exact(hits, of, low, high):
    """Clopper and Pearson's, as tabulated."""
    found = metrics.proportion(hits, of)
    assert (found.low, found.high) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


def test_sensitivity_and_specificity_count_their_own_cases():
    truth, called = booleans(1, 1, 1, 0, 0), booleans(1, 1, 0, 1, 0)
    assert metrics.sensitivity(truth, called).counts == "2 of 3"
    assert metrics.specificity(truth, called).counts == "1 of 2"
    assert metrics.f1(truth, called) == pytest.approx(2 / 3)


def test_limits_of_agreement_are_two_deviations_wide():
    """Differences 1, 2, 3: mean 2, SD 1."""
    found = metrics.agreement(np.array([2.0, 4, 6]), np.array([1.0, 2, 3]))
    assert found.bias.value == 2
    assert (found.lower, found.upper) == (pytest.approx(0.04, abs=1e-3), pytest.approx(3.96, 1e-3))


def test_predictive_values_follow_the_prevalence():
    """Of 100 with 10 ill, 9 are rightly and 9 wrongly called, 81 rightly left and 1 missed."""
    assert metrics.predictive_values(0.9, 0.9, 0.1) == (pytest.approx(0.5), pytest.approx(81 / 82))
    assert math.isnan(metrics.predictive_values(0.0, 1.0, 0.1)[0])


def test_calibration_error_weighs_gaps_by_cases():
    """Three cases at 0.2 of which one is true, one at 1.0 that is true."""
    truth, probabilities = booleans(0, 0, 1, 1), np.array([0.2, 0.2, 0.2, 1.0])
    bins = metrics.reliability(truth, probabilities)
    assert [one.cases for one in bins] == [3, 1]
    assert metrics.calibration_error(bins) == pytest.approx(3 / 4 * (1 / 3 - 0.2))
    assert metrics.brier(truth, probabilities) == pytest.approx((0.04 + 0.04 + 0.64) / 4)


def test_mean_of_few_has_no_interval():
    assert metrics.mean(np.array([0.2, 0.4])).text == "0.300 (n 2)"
    many = metrics.mean(np.linspace(0, 1, 50))
    assert 0.35 < many.low < many.value < many.high < 0.65


def test_dice_of_empty_masks_is_one():
    """Nothing there and nothing found is right; half an overlap is 2/3."""
    nothing = np.zeros(4, bool)
    assert metrics.dice(nothing, nothing) == 1
    assert metrics.dice(nothing, ~nothing) == 0
    assert metrics.dice(booleans(1, 1), booleans(1, 0)) == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("volume_ml", "band"), [(0.399, 0), (0.4, 1), (0.999, 1), (1.0, 2), (4.999, 2), (5.0, 3)]
)
def test_a_bleed_at_the_edge_belongs_to_the_larger_band(volume_ml, band):
    assert band_of(volume_ml) == band
