"""Heads pass, opened, cropped and noisy ones included; other bodies do not."""

import numpy as np
import pytest

from ich_node.assemble.head import check_head, look_inside
from ich_node.errors import Reason, SeriesRefused
from tests.support import series

SPACING_MM = (5.0, 1.0, 1.0)
MATRIX = (216, 180)


@pytest.fixture(scope="module")
def head():
    hu = series.head_hu(24, MATRIX, SPACING_MM)
    hu.setflags(write=False)
    return hu


def opened_left(hu):
    hu = hu.copy()
    side = hu[:, :, 100:]
    side[side > 200] = 40
    return hu


def opened_in_front(hu):
    hu = hu.copy()
    front = hu[:, :90]
    front[front > 200] = 40
    return hu


def held(hu):
    """A dense shell of a head holder round the back, air between."""
    hu = np.pad(hu, ((0, 0), (20, 20), (20, 20)), constant_values=-1000)
    rows, columns = np.mgrid[: hu.shape[1], : hu.shape[2]]
    radius = np.hypot(rows - hu.shape[1] / 2, columns - hu.shape[2] / 2)
    hu[:, (np.abs(radius - 118) < 3) & (rows > hu.shape[1] / 3)] = 400
    return hu


HEADS = {
    "whole": lambda hu: hu,
    "skull opened on the left": opened_left,
    "skull opened in front": opened_in_front,
    "cropped on the right": lambda hu: hu[:, :, 50:],
    "cropped in front": lambda hu: hu[:, 70:],
    "upper half": lambda hu: hu[12:],
    "eight slices": lambda hu: hu[8:16],
    "noise of a bone kernel": lambda hu: (
        hu + np.random.default_rng(0).normal(0, 80, hu.shape).astype(np.float32)
    ),
    "large bleed": lambda hu: np.where((hu > 30) & (hu < 40), 70, hu),
    "infarct": lambda hu: np.where((hu > 30) & (hu < 40), 15, hu),
    "holder round it": held,
}


@pytest.mark.parametrize("name", HEADS)
def test_heads_pass(name: str, head) -> None:
    measured = check_head(HEADS[name](head).astype(np.float32), SPACING_MM)
    assert measured["brain_like_ml"] >= 150


def test_measured_brain_is_that_of_the_head(head) -> None:
    true_ml = np.count_nonzero((head < 100) & (head > 0) & (head != 40)) * 5.0 / 1000
    assert look_inside(head, SPACING_MM).brain_ml == pytest.approx(true_ml, rel=0.15)


OTHERS = {
    "air": lambda hu: np.full_like(hu, -1000),
    "water within plastic": lambda hu: np.where(hu > 0, np.where(hu > 100, 120, 0), hu),
    "skull filled with air": lambda hu: np.where((hu > 0) & (hu < 100), -1000, hu),
    "skull filled with fat": lambda hu: np.where((hu > 0) & (hu < 100), -90, hu),
    "no skull": lambda hu: np.minimum(hu, 60),
    "shifted by 1024": lambda hu: hu + 1024 * (hu > -900),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_things_are_refused_with_the_numbers(name: str, head) -> None:
    with pytest.raises(SeriesRefused, match=r"\d+ mL of brain-like tissue") as raised:
        check_head(OTHERS[name](head).astype(np.float32), SPACING_MM)
    assert raised.value.reason == Reason.NOT_A_HEAD


def test_volume_smaller_than_a_block_is_refused_not_an_error() -> None:
    with pytest.raises(SeriesRefused):
        check_head(np.zeros((8, 3, 3), np.float32), (0.3, 0.2, 0.2))
