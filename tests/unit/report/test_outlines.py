"""Outlines run along pixel edges and give back exactly what they were made from."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ich_node.report.outlines import fill, fill_holes, outlines

masks = hnp.arrays(
    bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.booleans()
)


@given(masks)
def test_outlines_enclose_the_mask_and_its_holes_and_nothing_else(mask):
    assert np.array_equal(fill(outlines(mask), mask.shape), fill_holes(mask))


@given(masks)
def test_every_outline_is_closed_and_goes_along_pixel_edges(mask):
    for outline in outlines(mask):
        steps = np.diff(outline, axis=0)
        assert np.array_equal(outline[0], outline[-1])
        assert (np.count_nonzero(steps, axis=1) == 1).all()


@given(masks)
def test_the_area_of_an_outline_is_its_number_of_pixels(mask):
    """By the shoelace formula, which knows nothing of pixels."""
    areas = []
    for outline in outlines(mask):
        x, y = outline[:, 0], outline[:, 1]
        areas.append(0.5 * float(x[:-1] @ y[1:] - x[1:] @ y[:-1]))
    assert sum(areas) == fill_holes(mask).sum()
    assert areas == sorted(areas, reverse=True)


def test_one_pixel_has_its_four_corners_column_first():
    mask = np.zeros((4, 6), dtype=bool)
    mask[2, 5] = True
    (outline,) = outlines(mask)
    assert outline.tolist() == [[5, 2], [6, 2], [6, 3], [5, 3], [5, 2]]


def test_pixels_that_share_a_corner_only_have_two_outlines():
    assert len(outlines(np.eye(2, dtype=bool))) == 2


def test_an_empty_mask_has_no_outline():
    assert outlines(np.zeros((3, 3), dtype=bool)) == []


def test_an_outline_too_long_for_its_element_is_given_in_parts():
    """A ragged comb of one region; FL of more than 64 kB cannot be written in Explicit VR."""
    mask = np.zeros((256, 256), dtype=bool)
    mask[0] = mask[:, ::3] = mask[::2, 1::3] = True
    found = outlines(mask)
    assert len(found) > 1
    assert all(outline.size * 4 < 2**16 for outline in found)
    assert np.array_equal(fill(found, mask.shape), fill_holes(mask))


@pytest.mark.parametrize(
    "polyline", [[[0, 0], [9, 0]], [[0, 0], [0.5, 0]], [[0, 0], [1, 1]], [[-1, 0], [1, 0]]]
)
def test_what_is_no_outline_along_pixel_edges_is_refused(polyline):
    with pytest.raises(ValueError, match="outline"):
        fill([np.array(polyline, dtype=float)], (4, 4))
