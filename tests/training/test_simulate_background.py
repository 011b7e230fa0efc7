"""Bleeds drawn on a real head move its brain and leave its skull."""

from dataclasses import replace

import numpy as np
import pytest

from training.simulate import head as heads
from training.simulate import simulate_head, simulate_on
from training.simulate.anatomy import Push
from training.simulate.background import Background, bend_background
from training.simulate.seen import BRIGHTEST_HU

BRAIN_HU, FLUID_HU, BONE_HU = 32.0, 6.0, 1000.0
SPACING = (8.0, 0.9, 0.9)
# From the side of the skull towards the middle.
PUSH = Push((8.0, 18.0, 55.0), (0.0, 0.0, -14.0), 60.0)


@pytest.fixture(scope="module")
def background():
    """A round skull full of brain, with one round ventricle in its middle."""
    shape = (12, 256, 256)
    axes = ((np.arange(n) - (n - 1) / 2) * step for n, step in zip(shape, SPACING, strict=True))
    z, y, x = np.meshgrid(*axes, indexing="ij")
    away = np.hypot(y, x)
    depth, ventricle = 78.0 - away, away - 16.0
    hu = np.select([ventricle < 0, depth > 0, depth > -7], [FLUID_HU, BRAIN_HU, BONE_HU], -1000.0)
    matter = (depth > 0) & (ventricle > 0)
    maps = (hu, depth, 0 * hu, matter, ventricle, z, y + 18, x)
    return Background(np.stack(maps).astype(np.float32), SPACING)


def _bent(background, pushes):
    return bend_background(np.random.default_rng(3), background, pushes)


def _column_mm(head, mask):
    return float(head.x[mask].mean())


def test_a_push_moves_the_brain_of_the_real_head(background):
    """The ventricle leaves its place for the other side, in its maps as in its HU."""
    (still, still_hu), (moved, moved_hu) = (_bent(background, p) for p in ((), (PUSH,)))
    deep = still.depth_mm > 20
    fluid = [deep & (hu > -20) & (hu < 19) for hu in (still_hu, moved_hu)]
    for before, after in ((still.ventricles, moved.ventricles), fluid):
        assert _column_mm(still, after) < _column_mm(still, before) - 3


@pytest.mark.parametrize("strength", [14.0, 25.0])
def test_a_push_leaves_the_skull_and_brings_no_bone_inside(background, strength):
    """However strong, and from both sides at once."""
    pushes = [
        Push((8.0, 18.0, side * 70.0), (0.0, 0.0, -side * strength), 42.0) for side in (-1, 1)
    ]
    (still, still_hu), (moved, moved_hu) = (_bent(background, p) for p in ((), pushes))
    np.testing.assert_array_equal(still.depth_mm, moved.depth_mm)
    bone = still.depth_mm < -3
    np.testing.assert_allclose(still_hu[bone], moved_hu[bone], atol=0.1)
    inside = still.depth_mm > 3
    assert still_hu[inside].max() < 100
    assert moved_hu[inside].max() < 100


def test_a_bleed_on_a_real_head_pushes_its_brain(background, monkeypatch, tmp_path):
    """What lies far from the blood has moved too, and the skull has not."""
    monkeypatch.setattr(heads, "read_background", lambda folder: background)
    clean = simulate_on(3, tmp_path, ())
    bleeding = simulate_on(3, tmp_path, ("epidural",))
    assert (bleeding.labels > 0).any()
    bone = clean.hu > BRIGHTEST_HU
    assert (np.abs(bleeding.hu - clean.hu)[bone] < 1).mean() > 0.9
    fluid = [(head.hu > -20) & (head.hu < 19) for head in (clean, bleeding)]
    assert (fluid[0] ^ fluid[1]).sum() > 0.05 * fluid[0].sum()


@pytest.mark.parametrize("on_a_real_head", [False, True])
def test_no_bleed_pushes_that_is_not_there(background, monkeypatch, tmp_path, on_a_real_head):
    """The first plan finds no room: head and push are drawn anew with the blood, all from one."""
    planned, pushed, painted = [], [], []
    plan_bleeds, paint_bleed = heads.plan_bleeds, heads.paint_bleed

    def plan(rng, *args):
        plans = plan_bleeds(rng, *args)
        if not planned:
            plans = [
                replace(one, draw=lambda _, head: np.zeros(head.grid.shape, bool)) for one in plans
            ]
        planned.append(plans)
        return plans

    def spy(make):
        def made(*args):
            pushed.append(list(args[-1]))
            painted.clear()
            return make(*args)

        return made

    def paint(rng, head, plan, *args):
        painted.append(plan)
        paint_bleed(rng, head, plan, *args)

    monkeypatch.setattr(heads, "plan_bleeds", plan)
    monkeypatch.setattr(heads, "paint_bleed", paint)
    for name in ("make_anatomy", "bend_background"):
        monkeypatch.setattr(heads, name, spy(getattr(heads, name)))
    monkeypatch.setattr(heads, "read_background", lambda folder: background)
    if on_a_real_head:
        found = simulate_on(3, tmp_path, ("epidural",))
    else:
        found = simulate_head(3, ("epidural",), matrix=96, slices=12, thickness_mm=13.0)
    assert (found.labels > 0).any()
    assert pushed[-1] == [push for one in painted for push in one.pushes] != pushed[0]
