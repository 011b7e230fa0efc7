"""Each part that heads are painted of, for itself: where it lies and how dense it is."""

import numpy as np
import pytest
from scipy import ndimage

from ich_node.codes import SUBTYPES
from training.simulate import bleeds, blood, scanner, tissue
from training.simulate.anatomy import Grid, make_anatomy
from training.simulate.atlas import load_atlas

BRAIN_HU = 32.0
SEEDS = range(8)


@pytest.fixture(scope="module")
def atlas():
    return load_atlas()


@pytest.fixture(scope="module")
def head(atlas):
    grid = Grid((72, 100, 100), (2.0, 2.0, 2.0))
    return make_anatomy(np.random.default_rng(5), atlas, grid, (-60.0, 84.0), ())


def _flat(head, value=BRAIN_HU):
    return np.full(head.grid.shape, value, np.float32)


def _masks(head, plan_of, seeds=SEEDS):
    """Give plan and mask of what is drawn by each seed; some find room in no place."""
    for seed in seeds:
        rng = np.random.default_rng(seed)
        plan = plan_of(rng)
        mask = plan.draw(rng, head)
        if mask.any():
            yield plan, mask


def test_blood_beside_the_falx_is_a_layer_along_it_on_one_side(head):
    sides = set()
    for plan, mask in _masks(head, bleeds._beside_falx):
        side = np.sign(plan.place[2])
        sides.add(side)
        assert (head.x[mask] * side > -1).all()
        assert np.abs(head.x[mask]).max() < 2 * plan.size_mm
        assert np.ptp(head.y[mask]) > 2 * np.ptp(head.x[mask])
    assert sides == {-1, 1}


def test_blood_on_the_tentorium_lies_on_its_leaf(head):
    above = head.z - tissue.tent_height(head)
    for plan, mask in _masks(head, bleeds._on_tentorium):
        assert (above[mask] > -1).all()
        assert above[mask].max() < 3 * plan.size_mm
        assert (np.sign(head.x[mask]) == np.sign(plan.place[2])).all()


def test_a_contusion_is_patches_of_cortex_at_the_skull(atlas, head):
    pieces = []
    for _, mask in _masks(head, lambda rng: bleeds._contusion(rng, atlas)):
        assert head.depth_mm[mask].max() < 26
        assert (head.grey + head.white)[mask].min() > 0.25
        pieces.append(ndimage.label(mask)[1])
    assert len(pieces) >= 6
    assert max(pieces) > 3


def test_subarachnoid_blood_is_deep_in_the_cisterns_or_near_the_convexity(atlas, head):
    """Two kinds, told apart by their depth."""
    found = {True: [], False: []}
    for plan, mask in _masks(head, lambda rng: bleeds._subarachnoid(rng, atlas), range(16)):
        found[plan.place[:2] == (-14.0, 2.0)].append(head.depth_mm[mask].max())
    assert min(len(depths) for depths in found.values()) >= 3
    assert max(found[False]) < 26
    assert min(found[True]) > 26


@pytest.mark.parametrize("subtype", SUBTYPES)
def test_blood_is_as_dense_as_blood_is(subtype):
    """Clotted 54 to 84 HU, thinned 45 to 56; some is fainter, down to that of brain, by subtype."""
    drawn = [blood._density(np.random.default_rng(seed), subtype) for seed in range(400)]
    least = {"subdural": 34, "intraparenchymal": 42}.get(subtype, 45)
    assert least <= min(drawn) < least + 4
    assert 80 < max(drawn) <= 84
    assert 0.5 < np.mean(np.array(drawn) > 54) < 0.9


def test_falx_and_sinuses_are_denser_than_brain_and_in_the_midline(head):
    """But for the tentorium and its sinuses; some are as dense as blood."""
    densest = []
    lateral = (np.abs(head.x) > 14) & (head.y < 40)
    for seed in range(20):
        hu = _flat(head)
        tissue._falx_and_sinuses(np.random.default_rng(seed), head, hu)
        changed = (hu != BRAIN_HU) & lateral & (head.z > 10)
        assert not changed.any()
        midline = (np.abs(head.x) < 3) & (head.z > 20) & (hu != BRAIN_HU)
        assert midline.any()
        assert hu[hu != BRAIN_HU].min() > BRAIN_HU
        densest.append(hu.max())
    assert min(densest) < 60 < max(densest) <= 78


def test_bone_of_the_base_reaches_into_the_cavity_low_down(head):
    """Ridges on both sides; above them brain stays brain."""
    for seed in SEEDS:
        hu = _flat(head)
        bone = tissue.paint_petrous(np.random.default_rng(seed), head, hu)
        assert np.median(hu[bone]) > 200
        inside = bone & (head.depth_mm > 3)
        assert {-1, 1} == set(np.sign(head.x[inside]))
        assert (hu[(head.z > 15) & (head.y < 60)] == BRAIN_HU).all()


def test_a_table_lies_in_the_air_alone_and_in_every_slice(head):
    """With three heads of four."""
    drawn = 0
    for seed in range(20):
        hu = np.where(head.depth_mm > -12, np.float32(BRAIN_HU), np.float32(-1000))
        before = hu.copy()
        tissue.paint_holder(np.random.default_rng(seed), head, hu)
        changed = hu != before
        assert (before[changed] == -1000).all()
        drawn += changed.any((1, 2)).all()
    assert 10 <= drawn <= 19


def test_a_swelling_of_the_scalp_stays_in_the_scalp(head):
    scalp = (head.depth_mm < -8) & (head.depth_mm > -14)
    hu = _flat(head, -60)
    tissue._scalp_blood(np.random.default_rng(0), head, hu, scalp)
    changed = hu != -60
    assert changed.any()
    assert not (changed & ~scalp).any()
    assert 30 <= hu[changed].min() <= hu[changed].max() <= 75


def test_eyes_are_two_globes_of_fluid_in_fat(head):
    low = (head.depth_mm < 0) & (head.z < 0)
    hu = _flat(head, 50)
    tissue._orbits(np.random.default_rng(0), head, hu, low)
    for side in (-1, 1):
        of_side = low & (head.x * side > 10)
        assert (hu[of_side] < -50).any()
        assert ((hu[of_side] > 1) & (hu[of_side] < 23)).any()


def test_a_base_without_an_average_has_bone_and_air_below_the_brain(head):
    hu = _flat(head)
    bone = tissue._drawn_base(np.random.default_rng(0), head, hu, np.float32(8))
    assert hu[bone].min() >= 250
    assert (hu == tissue.AIR).any()
    assert (hu[head.depth_mm > 0] == BRAIN_HU).all()


def test_a_head_that_moved_is_seen_twice():
    """Two edges where there was one, and as bright as before."""
    plane = np.full((64, 64), 30, np.float32)
    plane[16:48, 16:48] = 90
    moved = scanner._moved(np.random.default_rng(1), plane)
    assert len(np.unique(moved[32].round())) > 2
    np.testing.assert_allclose(moved[20:44, 20:44].mean(), 90, atol=15)


def test_cupping_is_least_in_the_middle():
    cup = scanner._cup((65, 65))
    assert cup.argmin() == 32 * 65 + 32
    assert cup[0, 0] == cup.max()
