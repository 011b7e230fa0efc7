"""The preprocessing is the paper's, and the way back to the source grid is exact."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ich_node.infer.preprocess import OURS, SIZE, preprocess, resize, value_range


def _head(seed=0):
    rng = np.random.default_rng(seed)
    hu = np.full((3, 300, 280), -1000, np.float32)
    middle = (slice(None), slice(60, 240), slice(60, 220))
    hu[middle] = rng.normal(35, 10, hu[middle].shape)
    return hu


@pytest.mark.parametrize("shape", [(1, 512, 512), (4, 256, 256), (2, 300, 411), (2, 64, 700)])
def test_any_matrix_becomes_256(shape):
    """Depth is kept, the plane becomes 256x256, values are float32 in 0..1."""
    out = preprocess(np.random.default_rng(0).normal(40, 30, shape).astype(np.float32))
    assert out.shape == (shape[0], SIZE, SIZE)
    assert out.dtype == np.float32
    assert out.min() >= 0
    assert out.max() <= 1


def test_what_lies_outside_the_window_makes_no_difference():
    """Bone at 300 or 3000 HU is 80 HU, air and fat are 0 HU: the window is 0..80."""
    hu = _head()
    hu[:, 100:120, 100:120] = 300
    other = hu.copy()
    other[hu == 300] = 3000
    other[hu == -1000] = -5
    np.testing.assert_array_equal(preprocess(hu), preprocess(other))


def test_bone_is_told_from_blood_above_the_window_where_it_is_asked_for():
    """In the window nothing moves; above it 80 to 300 HU are 1 to 1.5, and all above is alike."""
    hu = np.repeat(np.array([-500, 0, 40, 80, 190, 300, 3000], np.float32), 64)
    grey = preprocess(np.broadcast_to(hu, (1, 448, 448)), replace(OURS, size=448))[0, 0, 32::64]
    np.testing.assert_allclose(grey, [0, 0, 0.5, 1, 1.25, 1.5, 1.5], atol=1e-6)
    assert value_range(OURS) == (0.0, 1.5)


def test_min_max_is_taken_over_the_volume():
    """The volume reaches exactly 0 and 1, though single slices do not."""
    hu = np.random.default_rng(1).normal(40, 5, (3, 256, 256)).astype(np.float32)
    hu[0] = 0
    out = preprocess(hu)
    assert (out.min(), out.max()) == (0.0, 1.0)
    assert len({float(plane.max()) for plane in out}) > 1


def test_slices_are_equalised_one_by_one():
    """CLAHE works slice by slice: another neighbour leaves a slice's own ranks as they were."""
    hu = _head()
    other = hu.copy()
    other[2] = _head(seed=7)[2]
    ranks = [np.unique(preprocess(v)[0], return_inverse=True)[1] for v in (hu, other)]
    np.testing.assert_array_equal(*ranks)


def test_faint_contrast_is_raised():
    """CLAHE widens a small spot 8 HU above the brain, where min-max alone would not."""
    hu = np.random.default_rng(2).normal(34, 2, (2, 256, 256)).astype(np.float32)
    hu[0, 124:132, 124:132] += 8
    hu[1, ::2], hu[1, 1::2] = 0, 80  # the volume spans the window before min-max
    out = preprocess(hu)[0]
    step = out[124:132, 124:132].mean() - out[90:110, 90:110].mean()
    assert step > 1.25 * 8 / 80


@pytest.mark.parametrize("value", [-1000.0, 0.0, 40.0, 3000.0])
def test_constant_volume_gives_numbers(value):
    """Min-max is skipped where the volume is constant: no division by zero."""
    out = preprocess(np.full((2, 64, 64), value, np.float32))
    assert np.isfinite(out).all()
    assert len(np.unique(out)) == 1


def test_input_is_left_alone():
    """The caller's HU are not changed."""
    hu = _head()
    before = hu.copy()
    preprocess(hu)
    np.testing.assert_array_equal(hu, before)


@pytest.mark.parametrize("size", [(97, 143), (512, 512), (300, 1024)])
def test_corners_stay_where_they_are(size):
    """Aligned corners: a ramp between the outermost pixel centres stays that ramp, both ways."""
    ramp = torch.linspace(0, 1, size[0])[:, None] + torch.linspace(0, 1, size[1])[None]
    small = resize(ramp[None, None], (SIZE, SIZE))
    at = torch.linspace(0, 1, SIZE)
    torch.testing.assert_close(small[0, 0], at[:, None] + at[None])
    torch.testing.assert_close(resize(small, size)[0, 0], ramp)


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(128, 1024),
    columns=st.integers(128, 1024),
    down=st.floats(0.25, 0.75),
    across=st.floats(0.25, 0.75),
    radius=st.floats(0.06, 0.2),
)
def test_shapes_return_to_their_place(rows, columns, down, across, radius):
    """There and back, a disc's centre moves by less than half a source pixel, on any matrix."""
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    r = radius * min(rows, columns)
    disc = ((y - down * rows) ** 2 + (x - across * columns) ** 2 <= r * r).float()
    back = resize(resize(disc[None, None], (SIZE, SIZE)), (rows, columns))[0, 0] >= 0.5
    for axis, place in ((0, y), (1, x)):
        moved = place[back].float().mean() - place[disc > 0].float().mean()
        assert abs(float(moved)) < 0.5, f"axis {axis}"
    assert float(back.sum()) == pytest.approx(float(disc.sum()), rel=0.1)
