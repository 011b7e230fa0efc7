"""Outlines run along pixel edges and give back exactly what they were made from."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ich_node.report.outlines import MAX_REGIONS, MIN_AREA_MM2, choose, fill, fill_holes, outlines

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


def squares(sizes: list[list[int]]) -> np.ndarray:
    """A slice for each list, with a square of each width, shape (slice, 200, 200)."""
    masks = np.zeros((len(sizes), 200, 200), dtype=bool)
    for mask, widths in zip(masks, sizes, strict=True):
        left = 0
        for width in widths:
            mask[:width, left : left + width] = True
            left += width + 1
    return masks


def test_the_slice_with_the_largest_area_comes_first_and_in_it_the_largest_region():
    found = choose(squares([[5], [6, 4, 7], [8]]), pixel_mm2=1.0)
    widths = [(index, np.ptp(outline[:, 0])) for index, outline in found.polylines]
    assert widths == [(1, 7), (1, 6), (1, 4), (2, 8), (0, 5)]
    assert (found.given, found.left_out) == (5, 0)


def test_regions_below_the_least_area_have_no_outline():
    area = MIN_AREA_MM2 / 16
    found = choose(squares([[4, 3], [3]]), pixel_mm2=area)
    assert [index for index, _ in found.polylines] == [0]
    assert (found.given, found.left_out) == (1, 2)


def test_a_class_of_crumbs_still_has_the_outline_of_its_largest():
    found = choose(squares([[1], [1, 2], [1]]), pixel_mm2=0.2)
    assert [(index, np.ptp(outline[:, 0])) for index, outline in found.polylines] == [(1, 2)]
    assert found.left_out == 3


def test_the_largest_regions_of_all_slices_are_kept_where_there_are_too_many():
    found = choose(squares([[4] * 30] * 4 + [[5] * 10]), pixel_mm2=1.0)
    assert (found.given, found.left_out) == (MAX_REGIONS, 30)
    assert sum(index == 4 for index, _ in found.polylines) == 10
