"""Slices are moved to the grid and back by their true positions, and what does not fit is found."""

from dataclasses import replace

import numpy as np
import pytest

from ich_node.assemble.grid import on_grid, onto_source
from ich_node.assemble.source import SourceImage
from ich_node.assemble.stack import Stack, stack_of
from ich_node.errors import CheckFailed, Reason, SeriesRefused
from ich_node.records import CtVolume
from tests.support import series
from tests.support.volumes import make_prediction, with_source

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def stack(steps: list[float], sideways: float = 0.0, max_missing: int = 1) -> Stack:
    """Slices at these steps; each farther to posterior by so much for a step of 1 mm."""
    datasets = series.head_series(slices=len(steps) + 1)
    heights = np.concatenate([[0.0], np.cumsum(steps)])
    where = np.stack([0 * heights, sideways * heights, heights], axis=1)
    placed = series.set_each(SliceThickness=None)(series.place(datasets, where))
    images = [SourceImage(f"{i}.dcm", dataset) for i, dataset in enumerate(placed)]
    return stack_of(images, AXIAL, max_missing)


def volume_of(built: Stack) -> CtVolume:
    """Noise in the slices of a stack, brought to its grid."""
    hu = np.random.default_rng(0).normal(30, 20, (len(built.images), 20, 16)).astype(np.float32)
    even = CtVolume.of_even_slices(hu, (5.0, 3.0, 2.5))
    even = with_source(even, origins_mm=built.positions_mm, extents_mm=built.extents_mm)
    return replace(even, **on_grid(even.source, built))


@pytest.mark.parametrize("steps", [[5.0] * 9, [2.5] * 8 + [5.0] * 4])
def test_a_stack_tilted_by_whole_pixels_is_moved_and_not_blurred(steps: list[float]) -> None:
    """Rows of 3 mm, 3 mm sideways for each 5 mm up: where a slice lies, it stays as it was."""
    volume = volume_of(stack(steps, sideways=3 / 5))
    column = (volume.hu.shape[2] - 16) // 2
    for height, plane in zip(
        np.concatenate([[0.0], np.cumsum(steps)]), volume.source.hu, strict=True
    ):
        if height % 5 == 0:
            row = round((height * 3 / 5 - volume.origin_mm[1]) / 3)
            index = round(height / volume.spacing_mm[0])
            assert np.array_equal(volume.hu[index, row : row + 20, column : column + 16], plane)


def test_the_grid_holds_every_slice_and_keeps_their_proportions() -> None:
    built = stack([5.0] * 9, sideways=0.4)
    volume = volume_of(built)
    _, rows, columns = volume.hu.shape
    assert rows / columns == pytest.approx(20 / 16, rel=0.05)
    far = volume.origin_mm[1] + (rows - 1) * 3.0
    assert volume.origin_mm[1] <= 0
    assert far >= 0.4 * 45 + 19 * 3.0


@pytest.mark.parametrize(
    ("steps", "extents"),
    [
        ([5.0] * 7, [5.0] * 8),
        ([4.0, 4, 4, 1, 7, 7, 7], [4, 4, 4, 2.5, 4, 7, 7, 7]),
        ([5.0, 5, 5, 10, 5, 5, 5], [5, 5, 5, 7.5, 7.5, 5, 5, 5]),
    ],
)
def test_a_slice_stands_for_the_patient_half_way_to_its_neighbours(
    steps: list[float], extents: list[float]
) -> None:
    assert stack(steps).extents_mm == pytest.approx(extents)


@pytest.mark.parametrize(
    ("steps", "grid", "missing"),
    [
        ([4.002] * 13 + [1.081] + [6.999] * 13, 4.002, 0),
        ([2.5] * 20 + [5.0] * 14, 2.5, 0),
        ([5.0] * 14 + [2.5] * 20, 2.5, 0),
        ([2.5] * 10 + [7.5] * 10, 2.5, 0),
        ([5.0] * 5 + [10.0] + [5.0] * 5, 5.0, 1),
        ([10.0] + [5.0] * 9, 5.0, 1),
        ([5.69] * 10 + [4.11] * 14, 4.11, 0),
        ([0.6, 0.6, 0.7, 0.6] * 20, 0.625, 0),
        ([5.0, 5.1, 4.9, 5.2, 4.8] * 4, 5.0, 0),
    ],
)
def test_the_grid_is_as_fine_as_the_slices_are_where_they_lie_densest(
    steps: list[float], grid: float, missing: int
) -> None:
    built = stack(steps)
    assert built.step_mm == pytest.approx(grid, rel=0.01)
    assert sum(count for _, count in built.missing) == missing
    assert built.step_mm * (built.planes - 1) == pytest.approx(sum(steps))


@pytest.mark.parametrize(
    "steps",
    [
        [5.0] * 5 + [15.0] + [5.0] * 5,
        [5.0] * 4 + [10.0, 10.0] + [5.0] * 5,
        [5.0] * 3 + [10.0] + [5.0] * 3 + [10.0] + [5.0] * 3,
        [16.0] * 9,
    ],
)
def test_gaps_that_hide_too_much_are_refused(steps: list[float]) -> None:
    with pytest.raises(SeriesRefused) as raised:
        stack(steps)
    assert raised.value.reason == Reason.MISSING_SLICES


def test_two_missing_slices_are_bridged_where_two_may_be() -> None:
    built = stack([5.0] * 3 + [10.0] + [5.0] * 3 + [10.0] + [5.0] * 3, max_missing=2)
    assert built.missing == ((3, 1), (7, 1))


def test_probabilities_are_those_at_the_heights_of_the_slices() -> None:
    """One for each slice that was sent, whatever the network read."""
    volume = volume_of(stack([2.0] * 6 + [5.0] * 4))
    prediction = make_prediction(np.zeros(volume.hu.shape, np.uint8))
    heights = np.arange(len(volume.hu)) * volume.spacing_mm[0]
    back = onto_source(replace(prediction, slice_probabilities=tuple(heights / 100)), volume)
    expected = np.concatenate([[0], np.cumsum([2.0] * 6 + [5.0] * 4)]) / 100
    assert np.array(back.slice_probabilities) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("sideways", "way"),
    [
        (0.0, (1.2, 0, 0)),
        (0.0, (0, 0, 5.0)),
        (0.4, (0, 0, 5.0)),
        (0.4, (0, 40.0, 0)),
    ],
)
def test_volume_that_lies_elsewhere_than_its_slices_is_found(
    sideways: float, way: tuple[float, float, float]
) -> None:
    """An error of ours: by a part of a voxel where it is their own grid, else out of it."""
    volume = volume_of(stack([5.0] * 9, sideways=sideways))
    if not sideways:
        volume = replace(volume, hu=volume.source.hu)
    origin = tuple(np.array(volume.origin_mm) + way)
    prediction = make_prediction(np.zeros(volume.hu.shape, np.uint8))
    with pytest.raises(CheckFailed, match="source image"):
        onto_source(prediction, replace(volume, origin_mm=origin))
