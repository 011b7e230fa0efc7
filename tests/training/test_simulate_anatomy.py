"""Drawn anatomy is what it is called: on masks alone, in heads of coarse voxels."""

from dataclasses import replace

import numpy as np
import pytest

from training.simulate.anatomy import Grid, make_anatomy
from training.simulate.atlas import load_atlas
from training.simulate.bleeds import Plan, paint_bleed, plan_bleed

# 2 mm; the lowest slice shows the pons, the highest the vertex.
GRID = Grid((72, 100, 100), (2.0, 2.0, 2.0))
SPAN_MM = (-60.0, 84.0)
BRAIN_HU = 32.0


@pytest.fixture(scope="module")
def atlas():
    return load_atlas()


@pytest.fixture(scope="module")
def head(atlas):
    """One head that nothing has pushed."""
    return _head(atlas, 5)


def _head(atlas, seed, pushes=()):
    return make_anatomy(np.random.default_rng(seed), atlas, GRID, SPAN_MM, pushes)


def _flat(head):
    return np.full(head.grid.shape, BRAIN_HU, np.float32)


def _turned(head, degrees):
    """Return the head with its y and x turned, as on a cushion: down stays down."""
    turn = np.radians(degrees)
    y, x = head.y - 18, head.x
    return replace(
        head, y=18 + y * np.cos(turn) + x * np.sin(turn), x=x * np.cos(turn) - y * np.sin(turn)
    )


@pytest.mark.parametrize("degrees", [-25, 25])
def test_blood_in_the_ventricles_has_its_level_along_the_rows(atlas, head, degrees):
    """However the head is turned: all fluid below the level is blood, and none above it."""
    turned = _turned(head, degrees)
    levels = 0
    for seed in range(8):
        rng = np.random.default_rng(seed)
        mask = plan_bleed(rng, atlas, "intraventricular").draw(rng, turned)
        highest = int(np.flatnonzero(mask.any((0, 2)))[0])
        wet = turned.ventricles & (turned.ventricle_mm < -0.2)
        above, below = wet[:, :highest], (wet & ~mask)[:, highest + 2 :]
        levels += above.sum() > 0.1 * wet.sum() and below.sum() < 0.01 * wet.sum()
    assert levels >= 2


def test_a_settled_bleed_has_its_level_along_the_rows(head):
    """Plasma above and cells below, with a step from one row to the next in a turned head."""
    turned = _turned(head, 25)
    ball = (head.z - 8) ** 2 + (head.y - 18) ** 2 + (head.x - 30) ** 2 < 20**2
    plan = Plan("subdural", (8.0, 18.0, 30.0), 20.0, lambda rng, head: ball)
    inner = (head.z - 8) ** 2 + (head.y - 18) ** 2 + (head.x - 30) ** 2 < 16**2
    settled = 0
    for seed in range(60):
        hu = _flat(head)
        paint_bleed(np.random.default_rng(seed), turned, plan, ball, hu)
        rows = [hu[:, row][inner[:, row]] for row in range(GRID.shape[1])]
        settled += np.diff([row.mean() for row in rows if len(row) > 40]).max() > 9
    assert settled >= 1
