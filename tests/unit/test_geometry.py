"""Turning planes is exact, and says truly where rows and columns run."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ich_node.geometry import PlaneMap, plane_axes, plane_map_of

ALL_MAPS = [PlaneMap(*flags) for flags in product((False, True), repeat=3)]
sizes = st.integers(1, 7)


@given(st.sampled_from(ALL_MAPS), st.lists(sizes, min_size=2, max_size=4))
def test_to_source_undoes_to_canonical_for_any_shape(plane_map: PlaneMap, shape: list[int]) -> None:
    array = np.arange(np.prod(shape)).reshape(shape)

    there_and_back = plane_map.to_source(plane_map.to_canonical(array))
    back_and_there = plane_map.to_canonical(plane_map.to_source(array))

    assert np.array_equal(there_and_back, array)
    assert np.array_equal(back_and_there, array)


def test_the_eight_maps_are_eight_different_turns() -> None:
    array = np.arange(9).reshape(3, 3)
    assert len({plane_map.to_canonical(array).tobytes() for plane_map in ALL_MAPS}) == 8


def test_maps_turn_without_copying() -> None:
    array = np.zeros((2, 3, 4))
    for plane_map in ALL_MAPS:
        assert np.shares_memory(plane_map.to_canonical(array), array)


@pytest.mark.parametrize("plane_map", ALL_MAPS, ids=repr)
def test_canonical_rows_run_to_posterior_and_columns_to_the_left(plane_map: PlaneMap) -> None:
    """Coordinates carried as pixels through the map come out growing along both axes."""
    left, posterior = np.meshgrid(np.arange(4.0), np.arange(5.0))
    source = plane_map.to_source(np.stack([left, posterior]))
    along_row = [*(source[:, 0, 1] - source[:, 0, 0]), 0]
    along_column = [*(source[:, 1, 0] - source[:, 0, 0]), 0]

    found = plane_map_of(np.array(along_row), np.array(along_column))

    assert found == plane_map
    assert np.array_equal(found.to_canonical(source), np.stack([left, posterior]))


angles = st.floats(-30, 30).map(np.radians)


@given(angles, angles, angles, st.floats(-1e-4, 1e-4))
def test_plane_axes_are_orthogonal_units_near_the_cosines_given(
    yaw: float, pitch: float, roll: float, rounding: float
) -> None:
    c, s = np.cos, np.sin
    turn = (
        np.array([[c(yaw), -s(yaw), 0], [s(yaw), c(yaw), 0], [0, 0, 1]])
        @ np.array([[1, 0, 0], [0, c(pitch), -s(pitch)], [0, s(pitch), c(pitch)]])
        @ np.array([[c(roll), 0, s(roll)], [0, 1, 0], [-s(roll), 0, c(roll)]])
    )
    given_cosines = np.concatenate([turn[:, 0], turn[:, 1]]) + rounding

    axes = np.stack(plane_axes(given_cosines))

    assert np.allclose(axes @ axes.T, np.eye(3), atol=1e-12)
    assert np.allclose(axes, turn.T, atol=1e-3)
    assert np.linalg.det(axes) == pytest.approx(1)
