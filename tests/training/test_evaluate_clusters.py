"""Slices of one head count as what they are: not independent."""

import numpy as np
import pytest

from training.evaluate import clusters, metrics


def _slices(heads, each, seed=0):
    """Heads that bleed or do not, as a whole: every slice is like the other slices of its head."""
    rng = np.random.default_rng(seed)
    ill = rng.random(heads) < 0.5
    strength = rng.normal(ill * 1.0, 1.0)
    groups = np.repeat(np.arange(heads), each)
    return (
        np.repeat(ill, each),
        np.repeat(strength, each) + rng.normal(0, 0.01, len(groups)),
        groups,
    )


def test_auc_is_that_of_all_slices():
    """Ties count half; which head a slice is of changes the interval alone."""
    rng = np.random.default_rng(1)
    truth, scores = rng.random(60) < 0.3, rng.integers(0, 8, 60) / 8
    found = clusters.auc(truth, scores, rng.integers(900, 910, 60))
    assert found.value == pytest.approx(metrics.auc(truth, scores).value)
    assert found.low < found.value < found.high


def test_copies_of_slices_teach_nothing():
    """Ten times as many slices of the same heads: the interval stays, DeLong's shrinks."""
    once, often = _slices(40, 1), _slices(40, 10)
    one, ten = clusters.auc(*once), clusters.auc(*often)
    assert ten.high - ten.low == pytest.approx(one.high - one.low, rel=0.1)
    naive = metrics.auc(*often[:2])
    assert naive.high - naive.low < 0.5 * (ten.high - ten.low)


def test_one_slice_a_head_is_the_usual_case():
    """Where slices are independent, the interval is about DeLong's."""
    truth, scores, groups = _slices(300, 1)
    ours, delong = clusters.auc(truth, scores, groups), metrics.auc(truth, scores)
    assert ours.low == pytest.approx(delong.low, abs=0.01)
    assert ours.high == pytest.approx(delong.high, abs=0.01)


def test_shares_are_counted_over_slices_and_their_intervals_over_heads():
    """Two heads of four, all ten slices each: between none and all, not 0.34 to 0.66."""
    groups = np.repeat(np.arange(4), 10)
    found = clusters.share(groups < 2, groups)
    assert (found.value, found.counts) == (0.5, "20 of 40")
    assert (found.low, found.high) == (0, 1)


def test_nothing_wrong_in_few_heads_is_not_certain():
    """All forty slices of four heads: the exact lower limit of four cases."""
    groups = np.repeat(np.arange(4), 10)
    found = clusters.share(np.ones(40, bool), groups)
    assert (found.value, found.high) == (1, 1)
    assert found.low == pytest.approx(0.025 ** (1 / 4))
    area = clusters.auc(groups < 1, (groups < 1).astype(float), groups)
    assert (area.value, area.high) == (1, 1)
    assert area.low == pytest.approx(0.025)


def test_one_kind_of_slices_is_not_measured():
    nothing = np.zeros(3, bool)
    groups = np.arange(3)
    assert clusters.auc(nothing, np.ones(3), groups).text == "not measured"
    assert clusters.share(nothing[:0], groups[:0]).text == "not measured"
