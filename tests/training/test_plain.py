"""Simulated heads are what they say they are: the truth that training and tests rest on."""

import numpy as np
import pytest
from scipy import ndimage

from ich_node.codes import SUBTYPES
from training.plain import simulate_head
from training.plain.head import SMALLEST_ML, VISIBLE_HU


def _inside_skull(hu):
    """Return what bone encloses, slice by slice."""
    return np.stack([ndimage.binary_fill_holes(plane > 300) & (plane <= 300) for plane in hu])


def test_same_seed_gives_the_same_head():
    """A head is a function of its arguments, to the last bit."""
    one, other = (simulate_head(7, matrix=128) for _ in range(2))
    np.testing.assert_array_equal(one.hu, other.hu)
    np.testing.assert_array_equal(one.labels, other.labels)


def test_other_seeds_give_other_heads():
    """Two clean heads differ by more than noise: in the skull's outline."""
    bones = [simulate_head(seed, (), matrix=128).hu > 300 for seed in (1, 2)]
    assert (bones[0] ^ bones[1]).sum() > 0.05 * bones[0].sum()


def test_size_and_spacing_are_those_asked_for():
    """Shapes follow slices and matrix; spacing follows thickness and field of view."""
    head = simulate_head(3, (), slices=20, matrix=160, thickness_mm=4.0, field_mm=240.0)
    assert head.hu.shape == head.labels.shape == (20, 160, 160)
    assert (head.hu.dtype, head.labels.dtype) == (np.float32, np.uint8)
    assert head.spacing_mm == (4.0, 1.5, 1.5)


def test_head_looks_like_a_head_in_hu():
    """Air outside, a closed skull, and inside it mostly brain between water and clotted blood."""
    head = simulate_head(11, (), matrix=192)
    assert head.hu[:, 0].max() < -500
    assert head.hu.min() >= -1024
    assert head.hu.max() <= 3071
    inside = _inside_skull(head.hu)
    litres = inside.sum() * np.prod(head.spacing_mm) / 1e6
    assert 0.7 < litres < 2.2
    assert 20 < np.median(head.hu[inside]) < 45


def test_vertex_is_last():
    """Axis 0 runs inferior to superior: there is less head at its end than in its middle."""
    head = simulate_head(12, (), matrix=128)
    tissue = (head.hu > -200).sum((1, 2))
    assert tissue[-1] < 0.7 * tissue[len(tissue) // 2]


def test_clean_head_has_no_label():
    """Asked for no bleed, none is drawn."""
    assert not simulate_head(5, (), matrix=128).labels.any()


@pytest.mark.parametrize("name", SUBTYPES)
def test_asked_subtype_is_drawn_and_no_other(name):
    """A bleed of plausible size, within the skull, and clear of bone as dense as fresh blood."""
    for seed in range(940_000, 940_004):
        head = simulate_head(seed, (name,), matrix=192)
        assert set(np.unique(head.labels)) == {0, 1 + SUBTYPES.index(name)}
        bleed = head.labels > 0
        assert SMALLEST_ML <= bleed.sum() * np.prod(head.spacing_mm) / 1000 < 200
        clear = bleed & ~ndimage.binary_dilation(head.hu > 300, np.ones((3, 5, 5)))
        assert clear.any()
        assert 45 < np.median(head.hu[clear]) < 90
        near_skull = ndimage.binary_dilation(_inside_skull(head.hu), np.ones((1, 3, 3)))
        assert (bleed & ~near_skull).sum() < 0.02 * bleed.sum()


@pytest.mark.parametrize("name", SUBTYPES)
def test_label_is_never_bone(name):
    """Labels hold blood that can be seen: what bone whitens is not taught as blood."""
    most_noise_hu = 35
    for seed in range(950_000, 950_003):
        head = simulate_head(seed, (name,), matrix=192)
        assert head.hu[head.labels > 0].max() < VISIBLE_HU + most_noise_hu


def test_several_bleeds_share_a_head():
    """Bleeds of several subtypes are disjoint by construction and all there."""
    names = ("subdural", "intraparenchymal", "intraventricular")
    head = simulate_head(21, names, matrix=128)
    assert set(np.unique(head.labels)) == {0, *(1 + SUBTYPES.index(name) for name in names)}


def test_bleed_layers_downwards_in_the_ventricles():
    """Blood in the ventricles settles: it lies more to the back than the ventricles do."""
    head = simulate_head(31, ("intraventricular",), matrix=128)
    rows = np.argwhere(head.labels > 0)[:, 1]
    assert rows.mean() > head.labels.shape[1] / 2


def test_seeds_draw_clean_and_bleeding_heads():
    """Left to the seed, some heads bleed and some do not, and every subtype comes up."""
    heads = [simulate_head(seed, matrix=64, slices=16) for seed in range(40)]
    clean = sum(not head.labels.any() for head in heads)
    assert 5 < clean < 25
    assert {int(v) for head in heads for v in np.unique(head.labels)} == set(range(6))
