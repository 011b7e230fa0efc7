"""Examples are what the network reads, and no seed serves two purposes."""

import itertools

import numpy as np
import pytest

from ich_node.infer.preprocess import SIZE, preprocess
from training import data
from training.augment import augment
from training.simulate import simulate_head


def test_seeds_serve_one_purpose():
    """Train, validation and test ranges are disjoint."""
    ranges = (data.TRAIN_SEEDS, data.VALIDATION_SEEDS, data.TEST_SEEDS)
    for one, next_ in itertools.pairwise(ranges):
        assert one[-1] < next_[0]


def test_example_is_the_nodes_own_preprocessing():
    """Training sees, to one of 256 grey levels, what the node shows the network."""
    head = simulate_head(4, matrix=160, slices=10)
    found = data.example(head)
    assert found.image.dtype == found.labels.dtype == np.uint8
    np.testing.assert_allclose(found.image / 255, preprocess(head.hu), atol=0.5 / 255 + 1e-6)


def test_labels_keep_their_place_and_values():
    """Nearest neighbour with aligned corners: no new value, and no shift in the plane."""
    head = simulate_head(4, ("intraparenchymal", "subdural"), matrix=384, slices=12)
    found = data.example(head)
    assert found.labels.shape == (12, SIZE, SIZE)
    assert set(np.unique(found.labels)) == set(np.unique(head.labels))
    scale = (384 - 1) / (SIZE - 1)
    for value in np.unique(head.labels)[1:]:
        centre = np.argwhere(head.labels == value).mean(0)
        moved = np.argwhere(found.labels == value).mean(0) * (1, scale, scale) - centre
        assert np.abs(moved).max() < 0.5


def test_saved_example_comes_back(tmp_path):
    """Written and read, equal; no half-written file stands under the name that is read."""
    one = data.example(simulate_head(4, matrix=64, slices=8))
    data.save(one, tmp_path / "000004.npz")
    again = data.load(tmp_path / "000004.npz")
    np.testing.assert_array_equal(again.image, one.image)
    np.testing.assert_array_equal(again.labels, one.labels)
    assert [path.name for path in tmp_path.iterdir()] == ["000004.npz"]


def test_slice_classes_say_what_each_slice_holds():
    """Order of `codes.CLASSES`: any, then the subtypes."""
    labels = np.zeros((3, 4, 4), np.uint8)
    labels[1, 0, 0], labels[2, 1, 1], labels[2, 2, 2] = 1, 2, 5
    np.testing.assert_array_equal(
        data.slice_classes(labels),
        [[0, 0, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0], [1, 0, 1, 0, 0, 1]],
    )


def test_scans_vary_in_matrix_thickness_and_field():
    """The seed draws the scan too, and a head's scan repeats."""
    assert data.draw_scan(1).spacing_mm == data.draw_scan(1).spacing_mm
    spacings = {data.draw_scan(seed, ()).spacing_mm for seed in range(6)}
    assert len(spacings) == 6


@pytest.mark.parametrize("seed", range(8))
def test_mask_moves_with_its_slice(seed):
    """Shift, scale, turn and mirror act on image and mask alike; values stay in range."""
    y, x = np.mgrid[:SIZE, :SIZE]
    labels = (3 * ((y - 100) ** 2 + (x - 150) ** 2 < 30**2)).astype(np.uint8)
    image = np.where(labels > 0, 200, 40).astype(np.uint8)
    moved, kept = augment(np.random.default_rng(seed), image, labels)
    assert moved.dtype == np.float32
    assert moved.min() >= 0
    assert moved.max() <= 1
    assert set(np.unique(kept)) == {0, 3}
    bright = moved > (moved.min() + moved.max()) / 2
    assert 2 * (bright & (kept > 0)).sum() / (bright.sum() + (kept > 0).sum()) > 0.9
