"""Scores become probabilities, and thresholds keep what they are asked to keep."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from ich_node.codes import CLASSES
from training.calibrate import Scored, balanced, calibrate, platt, threshold


def test_platt_recovers_slope_and_offset():
    """Logits that were stretched and shifted are brought back to probabilities."""
    rng = np.random.default_rng(0)
    true = rng.normal(0, 2, 4000)
    truth = (rng.random(4000) < 1 / (1 + np.exp(-true))).astype(float)
    slope, offset = platt(3 * true - 4, truth)
    assert slope == pytest.approx(1 / 3, rel=0.15)
    assert offset == pytest.approx(4 / 3, rel=0.15)


def test_platt_stays_finite_where_the_classes_part():
    """A class told perfectly does not drive the slope to infinity."""
    slope, offset = platt(np.r_[np.full(20, -5.0), np.full(20, 5.0)], np.repeat([0.0, 1.0], 20))
    assert 0 < slope < 10
    assert abs(offset) < 10


def test_threshold_keeps_clean_heads_clean():
    """However well a lower cut would do, as many clean heads stay clean as was asked for."""
    probabilities = np.array([0.1, 0.6, 0.5, 0.7, 0.9])
    clean = np.array([True, True, False, False, False])
    cut = threshold(probabilities, (~clean).astype(float), 1.0)
    assert probabilities[clean].max() < cut < 0.7
    nearer = np.array([0.1, 0.6, 0.5, 0.55, 0.9])
    assert threshold(nearer, (~clean).astype(float), 1.0) > 0.6
    assert threshold(nearer, (~clean).astype(float), 0.5) < 0.5


def test_threshold_stands_in_the_gap():
    """Where clean and bleeding heads part, the cut leaves room on both sides."""
    probabilities = np.array([0.02, 0.05, 0.85, 0.95])
    clean = np.array([True, True, False, False])
    cut = threshold(probabilities, (~clean).astype(float), 0.95)
    assert 0.2 < cut < 0.7


def test_a_class_that_never_comes_is_left_alone():
    """Without a case of it, or with nothing else, there is nothing to fit."""
    scored = Scored(np.zeros((4, 6)), np.tile([1.0, 0, 0, 0, 0, np.nan], (4, 1)))
    calibration, thresholds = calibrate(scored)
    assert set(calibration.values()) == {(1.0, 0.0)}
    assert set(thresholds.values()) == {0.5}


def test_the_balanced_cut_calls_as_well_as_it_leaves_alone():
    """Where another would trade many of one for few of the other."""
    clean, bleeds = np.linspace(0, 0.6, 50), np.linspace(0.35, 1, 50)
    probabilities, truth = np.r_[clean, bleeds], np.repeat([0.0, 1.0], 50)
    cut = balanced(probabilities, truth)
    sensitive, specific = (bleeds >= cut).mean(), (clean < cut).mean()
    assert sensitive == pytest.approx(specific, abs=0.03)
    assert sensitive > 0.75


def _cases(seed, clean=60, bleeding=60, apart=1.5):
    """Cases whose subtypes are told by logits that overlap."""
    rng = np.random.default_rng(seed)
    truth = np.zeros((clean + bleeding, 6))
    truth[clean:, 0] = 1
    truth[np.arange(clean, clean + bleeding), rng.integers(1, 6, bleeding)] = 1
    return Scored(rng.normal(0, 1, truth.shape) + apart * truth, truth)


def _spared(scored, names=CLASSES):
    """Share of the cases without a bleed that none of some classes calls."""
    calibration, thresholds = calibrate(scored)
    clean = scored.truth[:, 0] == 0
    called = np.zeros(clean.sum(), bool)
    for name in names:
        slope, offset = calibration[name]
        logits = scored.logits[clean, CLASSES.index(name)]
        called |= expit(slope * logits + offset) >= thresholds[name]
    return 1 - called.mean()


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10**6))
def test_all_classes_together_leave_the_clean_alone(seed):
    """One of five subtypes calls a case: each in 15 % of those without it would call a half."""
    scored = _cases(seed)
    assert _spared(scored, ["any"]) >= 0.95
    assert _spared(scored) >= 0.9


def test_subtypes_are_called_rather_too_often_where_that_costs_no_clean_case():
    """Told apart from what is clean and not from each other: each in 15 % of those without it."""
    scored = _cases(3)
    scored.logits[scored.truth[:, 0] == 0] -= 20
    calibration, thresholds = calibrate(scored)
    for index, name in enumerate(CLASSES[1:], 1):
        others = scored.truth[:, index] == 0
        slope, offset = calibration[name]
        called = expit(slope * scored.logits[others, index] + offset) >= thresholds[name]
        assert called.mean() == pytest.approx(0.15, abs=0.02)


def test_two_subtypes_that_are_taken_for_each_other_are_still_called():
    """What is told from no bleed at all is not left uncalled for being told badly from another."""
    scored = _cases(4, apart=0)
    bleeding = scored.truth[:, 0] == 1
    scored.logits[bleeding] += 4
    calibration, thresholds = calibrate(scored)
    slope, offset = calibration["subdural"]
    subdural = CLASSES.index("subdural")
    called = expit(slope * scored.logits[:, subdural] + offset) >= thresholds["subdural"]
    assert called[bleeding].mean() > 0.1
    assert called[~bleeding].mean() == 0
