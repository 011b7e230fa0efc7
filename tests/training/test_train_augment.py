"""What changes a slice keeps its meaning: labels stay under what they name."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ich_node.infer.preprocess import OURS, PUBLISHED, SIZE, preprocess, value_range
from tests.training.phantom import phantom
from training.augment import look, pose_and_scan, scan, without_crumbs
from training.recipe import Data

STILL = {"turn_deg": 0, "scale": 0, "shift": 0, "bend": 0}


def _square():
    labels = np.zeros((2, SIZE, SIZE), np.uint8)
    labels[0, 70:140, 120:190] = 3
    labels[1, 90:170, 60:130] = 255
    return np.where(labels > 0, 100, 0).astype(np.float32), labels


def _posed(seed, data, hu, labels, size):
    """Slices in another pose, averaged to the matrix of their labels."""
    fine, kept = pose_and_scan(np.random.default_rng(seed), data, hu, labels, size, None)
    return fine.reshape(len(fine), size, 2, size, 2).mean((2, 4)), kept


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    flip=st.sampled_from(["ours", "published"]),
    bend=st.sampled_from([0.0, 0.02]),
)
def test_mask_moves_with_its_slice(seed, flip, bend):
    """Turn, scale, shift, mirror and bend act on image and labels alike, and make no new value."""
    hu, labels = _square()
    for size in (SIZE, 192):
        moved, kept = _posed(seed, Data(flip=flip, bend=bend), hu, labels, size)
        assert moved.shape == kept.shape == (2, size, size)
        for plane, mask, value in zip(moved, kept, (3, 255), strict=True):
            assert set(np.unique(mask)) <= {0, value}
            bright, marked = plane > 50, mask > 0
            assert 2 * (bright & marked).sum() >= 0.95 * (bright.sum() + marked.sum())
            assert marked.sum() > 0


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_finer_slices_have_the_pose_of_their_labels(seed):
    """Brought to the labels' size as the node does it, the slice lies under its mask.

    Within half a pixel: labels go to the nearest one, and of a square that is not turned a whole
    edge goes the same way.
    """
    hu, labels = _square()
    fine, kept = pose_and_scan(np.random.default_rng(seed), Data(), hu, labels, 192, None)
    assert fine.shape == (2, 384, 384)
    for plane, mask in zip(preprocess(fine, OURS), kept, strict=True):
        bright, marked = plane > 0.5, mask > 0
        assert 2 * (bright & marked).sum() >= 0.96 * (bright.sum() + marked.sum())
        np.testing.assert_allclose(*_places(bright, marked), atol=0.5)


def test_finer_slices_lie_to_no_side_of_their_labels():
    """Over many poses what goes to the nearest pixel evens out; what is put beside does not."""
    hu, labels = _square()
    off = []
    for seed in range(60):
        fine, kept = pose_and_scan(np.random.default_rng(seed), Data(), hu, labels, 192, None)
        for plane, mask in zip(preprocess(fine, OURS), kept, strict=True):
            here, there = _places(plane > 0.5, mask > 0)
            off.append(here - there)
    np.testing.assert_allclose(np.mean(off, axis=0), 0, atol=0.04)


def _places(*masks):
    return (np.argwhere(mask).mean(0) for mask in masks)


def test_bone_leaves_grey_edges_as_a_finer_matrix_does():
    """Cut at the window's end before it is averaged: half a pixel of bone is half as bright."""
    bone = np.full((1, SIZE, SIZE), 30, np.float32)
    bone[:, :, 100:] = 1500
    blank = np.zeros(bone.shape, np.uint8)
    data = Data(**STILL)
    fine, _ = pose_and_scan(np.random.default_rng(0), data, bone, blank, SIZE, None)
    edge = preprocess(np.minimum(fine, 80), OURS)[0, 96]
    assert ((edge > 0.45) & (edge < 0.95)).sum() >= 1
    assert fine.max() == 1500


def test_only_slices_without_noise_are_scanned():
    hu, labels = _square()
    bare, scanned = (
        pose_and_scan(np.random.default_rng(5), Data(), hu, labels, 192, spacing)[0]
        for spacing in (None, (5.0, 0.9, 0.9))
    )
    assert set(np.unique(bare[:, 150:200, 150:160])) <= set(np.unique(bare))
    assert np.abs(scanned - bare).mean() > 0.5


def test_slices_of_a_head_move_as_one():
    hu, labels = _square()
    twice = np.stack([hu[0], hu[0]]), np.stack([labels[0], labels[0]])
    moved, kept = _posed(3, Data(), *twice, 192)
    np.testing.assert_array_equal(moved[0], moved[1])
    np.testing.assert_array_equal(kept[0], kept[1])


@pytest.mark.parametrize(
    ("flip", "turned"),
    [
        pytest.param("ours", lambda plane: plane[:, :, ::-1], id="ours: left and right"),
        pytest.param("published", lambda plane: plane[:, ::-1, ::-1], id="published: 180 degrees"),
    ],
)
def test_flip_is_what_its_name_says(flip, turned):
    """Half of the slices stay, half are turned: masks to the pixel, edges averaged."""
    hu, labels = _square()
    found = [_posed(seed, Data(flip=flip, **STILL), hu, labels, SIZE) for seed in range(12)]
    same = [np.array_equal(kept, labels) for _, kept in found]
    assert 0 < sum(same) < len(same)
    for (moved, kept), as_it_was in zip(found, same, strict=True):
        np.testing.assert_array_equal(kept, labels if as_it_was else turned(labels))
        off = np.abs(moved - (hu if as_it_was else turned(hu)))
        assert off[:, 1:-1, 1:-1].mean() < 0.5


@pytest.mark.parametrize(
    ("change", "value"), [("turn_deg", 20.0), ("scale", 0.22), ("shift", 0.06), ("bend", 0.02)]
)
def test_each_change_of_pose_can_be_put_out(change, value):
    """At 0 nothing moves but the flip; alone, each moves something."""
    hu, labels = _square()
    alone = STILL | {change: value}
    still, moved = (_posed(1, Data(**values), hu, labels, SIZE)[1] for values in (STILL, alone))
    assert not np.array_equal(still, moved)
    assert still.sum() == labels.sum()


def test_a_bend_is_smooth_and_no_further_than_its_share():
    """A ramp shows where each point came from: no fold, and no step between neighbours."""
    ramp = np.broadcast_to(np.arange(SIZE, dtype=np.float32), (1, SIZE, SIZE)).copy()
    blank = np.zeros(ramp.shape, np.uint8)
    reached = []
    for seed in range(20):
        moved, _ = _posed(seed, Data(**(STILL | {"bend": 0.02})), ramp, blank, SIZE)
        middle = moved[0, 40:-40, 40:-40]
        if middle[0, -1] < middle[0, 0]:
            middle = (SIZE - 1) - middle  # mirrored
        off = middle - np.arange(40, SIZE - 40)
        steps = np.diff(middle, axis=1)
        assert steps.min() > 0.2
        assert steps.max() < 1.8
        reached.append(np.abs(off).max() / SIZE)
    assert max(reached) < 3 * 0.02
    assert np.median(reached) > 0.005


def test_what_comes_in_from_beside_the_picture_is_air():
    hu, labels = _square()
    data = Data(turn_deg=0, scale=0, shift=0.5)
    for seed in range(4):
        moved, kept = _posed(seed, data, hu, labels, SIZE)
        assert set(np.unique(moved)) >= {-1000.0}
        assert (kept[moved <= -999] == 0).all()


def test_a_scanner_is_drawn_anew_and_keeps_the_mean():
    """Noise of a few HU that no two draws share; brain stays brain."""
    head = phantom({})
    hu = head.hu.astype(np.float32)
    one, other = (scan(np.random.default_rng(seed), hu, head.spacing_mm) for seed in (0, 1))
    inside = (slice(None), slice(90, 160), slice(90, 160))
    for seen in (one, other):
        assert seen.shape == hu.shape
        assert 0.3 < seen[inside].std() < 15
        assert abs(seen[inside].mean() - 34) < 15
    assert np.abs(one - other)[inside].mean() > 0.3


@pytest.mark.parametrize("how", [OURS, PUBLISHED])
def test_network_sees_what_the_node_shows_it_but_for_brightness(how):
    """Without it, exactly the node's own preprocessing; with it, another one in the same range."""
    hu = phantom({2: ("subdural",)}).hu
    rng = np.random.default_rng(0)
    plain, brightness = Data(brightness=0, windowed=0), Data(brightness=0.2, windowed=0)
    np.testing.assert_array_equal(look(rng, plain, hu, how), preprocess(hu, how))
    pictures = [look(np.random.default_rng(s), brightness, hu, how) for s in range(6)]
    same = [np.array_equal(picture, preprocess(hu, how)) for picture in pictures]
    assert 0 < sum(same) < len(same)
    low, high = value_range(how)
    assert all(picture.min() >= low and picture.max() <= high + 1e-6 for picture in pictures)


def test_some_slices_come_cut_at_the_window_as_pictures_do():
    """So that a reader's picture, which holds nothing above 80 HU, is no stranger."""
    hu = phantom({2: ("subdural",)}).hu
    rng = np.random.default_rng(0)
    data = Data(brightness=0, windowed=0.5)
    highest = np.array([look(rng, data, hu, OURS).max() for _ in range(40)])
    cut, whole = np.isclose(highest, 1), np.isclose(highest, value_range(OURS)[1])
    assert (cut | whole).all()
    assert 8 < cut.sum() < 32


def test_crumbs_are_pieces_of_fewer_pixels_whatever_their_subtype():
    """Two subtypes that touch are one piece; each slice is looked at alone."""
    labels = np.zeros((2, 16, 16), np.uint8)
    labels[:, 2, 2:4] = 1  # two pixels
    labels[0, 3, 3] = 2  # a third, of another subtype, touches them by its corner
    labels[1, 10, 10:14] = 5
    kept = without_crumbs(labels, 3)
    np.testing.assert_array_equal(kept[0], labels[0])
    assert set(np.unique(kept[1])) == {0, 5}
    assert without_crumbs(labels, 0) is labels
    assert labels[1, 2, 2] == 1  # what was given stays
