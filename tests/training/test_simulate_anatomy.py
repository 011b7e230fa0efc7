"""Drawn anatomy is what it is called: on masks alone, in heads of coarse voxels."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from training import data
from training.simulate import bleeds, mimics
from training.simulate import head as heads
from training.simulate.anatomy import Grid, make_anatomy
from training.simulate.atlas import load_atlas
from training.simulate.bleeds import Plan, plan_bleed
from training.simulate.blood import paint_bleed
from training.simulate.tissue import AIR, paint_brain, tent_height, tent_region

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


def _drawn(atlas, head, subtype, seeds):
    """Return plans and masks of a subtype."""
    pairs = []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        plan = plan_bleed(rng, atlas, subtype)
        pairs.append((plan, plan.draw(rng, head)))
    return pairs


def _from(head, place):
    return np.sqrt(
        sum((axis - at) ** 2 for axis, at in zip((head.z, head.y, head.x), place, strict=True))
    )


def test_an_epidural_bleed_lies_on_the_inner_table(atlas, head):
    """Every piece of it."""
    for _, mask in _drawn(atlas, head, "epidural", range(8)):
        pieces, count = ndimage.label(mask, np.ones((3, 3, 3)))
        sizes = ndimage.sum_labels(mask, pieces, range(1, count + 1))
        nearest = ndimage.minimum(head.depth_mm, pieces, range(1, count + 1))
        assert sizes.max() > 50
        assert (nearest[sizes > 3] < 2.5).all()


def test_an_epidural_bleed_is_a_lens(atlas, head):
    """Thick in its middle and thin at its rim."""
    for plan, mask in _drawn(atlas, head, "epidural", range(8)):
        off = _from(head, plan.place)[mask]
        depth = head.depth_mm[mask]
        middle, rim = off < 0.4 * off.max(), off > 0.85 * off.max()
        assert np.quantile(depth[rim], 0.95) < 0.7 * np.quantile(depth[middle], 0.95)


def test_a_subdural_bleed_of_the_convexity_is_a_layer_on_one_side(head):
    """Much longer than thick, against the skull, and never across the midline."""
    for seed in range(12):
        rng = np.random.default_rng(seed)
        plan = bleeds._along_convexity(rng)
        mask = plan.draw(rng, head)
        places = np.argwhere(mask) * GRID.spacing_mm
        thick = np.quantile(head.depth_mm[mask], 0.98)
        assert np.linalg.norm(np.ptp(places, axis=0)) > (1.5 if plan.old else 2.5) * thick
        assert thick < 2 * plan.size_mm
        assert head.depth_mm[mask].min() < 2.5
        assert (head.x[mask] * np.sign(plan.place[2])).min() > 0


def test_fresh_subdural_bleeds_are_thin_and_short_more_often_than_large(atlas, head):
    """More than a quarter hold 2 to 15 mL, as those that readers label; fewer more than 60 mL."""
    volumes = [
        float(mask.sum() * np.prod(GRID.spacing_mm)) / 1000
        for plan, mask in _drawn(atlas, head, "subdural", range(200))
        if not plan.old
    ]
    assert np.mean([2 <= ml < 15 for ml in volumes]) > 0.25
    assert 0 < np.mean([ml > 60 for ml in volumes]) < 0.3


def test_an_old_subdural_bleed_is_thick_and_dark_between_its_membranes(head):
    """Darker than brain and brighter than its fluid; walls of most as bright as fresh blood."""
    walled = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        plan = bleeds._along_convexity(rng)
        if not plan.old:
            continue
        mask, hu = plan.draw(rng, head), _flat(head)
        paint_bleed(rng, head, plan, mask, hu)
        inside = ndimage.binary_erosion(mask, iterations=1)
        assert 5 < np.quantile(hu[inside], 0.25) < 45
        assert 2 * ndimage.distance_transform_edt(mask, GRID.spacing_mm).max() >= 8
        walled.append(np.quantile(hu[mask & ~inside], 0.9) > np.quantile(hu[inside], 0.25) + 8)
    assert 12 <= len(walled) <= 28
    assert 0.4 < np.mean(walled) < 1


def test_no_bleed_is_larger_than_a_head_can_hold(atlas, monkeypatch):
    """A head is drawn anew until none of its bleeds is."""
    drawn = []
    through = heads._through_slices

    def recorded(*given):
        drawn.append(through(*given))
        return drawn[-1]

    monkeypatch.setattr(heads, "_through_slices", recorded)
    monkeypatch.setattr(heads, "LARGEST_ML", 20.0)
    size = {"slices": 16, "matrix": 64, "thickness_mm": 9.0, "noise": False}
    for seed in range(4):
        drawn.clear()
        head = heads.simulate_head(seed, ("epidural",), **size)
        assert (head.labels > 0).sum() * np.prod(head.spacing_mm) / 1000 <= 20
        assert drawn[-1][2][0].drawn_ml <= 20


def test_subarachnoid_blood_is_where_fluid_is(atlas, head):
    """In furrows and cisterns: where little of a voxel is grey or white matter."""
    for _, mask in _drawn(atlas, head, "subarachnoid", range(8)):
        assert mask.sum() > 50
        assert (head.grey + head.white)[mask].max() < 0.75
        assert not (mask & head.ventricles).any()


def test_parenchymal_blood_is_in_the_brain(atlas, head):
    """In no fluid, in no ventricle, within the skull."""
    matter = head.grey + head.white
    volumes = []
    for _, mask in _drawn(atlas, head, "intraparenchymal", range(12)):
        assert (mask <= (head.inside & (matter > 0.2) & ~head.ventricles)).all()
        volumes.append(mask.sum() * 8 / 1000)
    assert min(volumes) < 2 < 20 < max(volumes)


# Where bleeds in the brain sit: height, towards the back, off the midline, mm in the average head.
SITES = {
    "basal ganglia and thalamus": ((-10, 25), (-20, 35), (0, 45)),
    "posterior fossa": ((-60, -22), (14, 80), (0, 40)),
    "frontal base": ((-30, 10), (-75, -32), (5, 45)),
    "temporal lobe": ((-45, -8), (-20, 25), (28, 65)),
    "lobes": ((26, 80), (-60, 100), (5, 65)),
}


@pytest.mark.parametrize("site", SITES)
def test_parenchymal_bleeds_come_at_every_site(atlas, site):
    """Within 40 seeds; most often deep, as high pressure makes them."""
    low, high = np.transpose(SITES[site])
    rngs = (np.random.default_rng(seed) for seed in range(40))
    places = np.array([plan_bleed(rng, atlas, "intraparenchymal").place for rng in rngs])
    places[:, 2] = np.abs(places[:, 2])
    least = 6 if site.startswith("basal ganglia") else 2
    assert ((low < places) & (places < high)).all(1).sum() >= least


def _middle_mm(head):
    return np.argwhere(head.ventricles).mean(0) * GRID.spacing_mm


@pytest.mark.parametrize("subtype", ["epidural", "subdural", "intraparenchymal"])
def test_a_bleed_pushes_the_ventricles_away(atlas, head, subtype):
    """Their centroid moves in the direction of the push, and the skull does not move."""
    tried = 0
    for seed in range(20):
        plan = plan_bleed(np.random.default_rng(seed), atlas, subtype)
        by = np.sum([push.by for push in plan.pushes], axis=0)
        if np.linalg.norm(by) < 4 or abs(plan.place[2]) < 10:  # by the falx it pushes outwards
            continue
        tried += 1
        moved = _head(atlas, 5, plan.pushes)
        shift = _middle_mm(moved) - _middle_mm(head)
        assert shift @ by / np.linalg.norm(by) > 0.1
        assert shift[2] * plan.place[2] < 0
        np.testing.assert_array_equal(moved.depth_mm, head.depth_mm)
        if tried == 3:
            break
    assert tried == 3


def test_a_ring_of_oedema_is_darker_than_the_same_brain_without(head):
    """Around most bleeds in the brain, and around no other."""
    place = (30.0, 10.0, 30.0)
    away = _from(head, place)
    plan = Plan("intraparenchymal", place, 14.0, lambda rng, head: away < 14)
    ring = (away > 15.5) & (away < 18) & (head.white > 0.5) & head.brain
    changes = {"intraparenchymal": [], "subarachnoid": []}
    for subtype, found in changes.items():
        for seed in range(12):
            hu = _flat(head)
            painted = replace(plan, subtype=subtype)
            paint_bleed(np.random.default_rng(seed), head, painted, away < 14, hu)
            found.append(float(hu[ring].mean() - BRAIN_HU))
    assert np.sum(np.array(changes["intraparenchymal"]) < -4) >= 6
    assert min(changes["subarachnoid"]) > -1


def test_ventricles_are_narrow_and_wide(atlas):
    """From those of the young to those of the very old."""
    coarse = Grid((36, 50, 50), (4.0, 4.0, 4.0))
    volumes = [
        make_anatomy(np.random.default_rng(seed), atlas, coarse, SPAN_MM, ()).ventricles.sum()
        for seed in range(16)
    ]
    assert max(volumes) > 3 * min(volumes) > 0


def test_slices_are_thin_and_thick(monkeypatch):
    """Of 300 seeds some are scanned in slices under 1 mm and some over 7 mm."""
    asked = []
    monkeypatch.setattr(data, "simulate_head", lambda seed, bleeds, **scan: asked.append(scan))
    for seed in range(300):
        data.draw_scan(seed)
    thickness = [scan["thickness_mm"] for scan in asked]
    assert min(thickness) < 1
    assert max(thickness) > 7
    assert min(scan["slices"] * scan["thickness_mm"] for scan in asked) > 120


def _calcium(changed, hu, head):
    assert hu[changed].min() >= 50
    return changed.sum() * 8 / 1000 < 12


def _infarct(changed, hu, head):
    assert changed[head.inside].sum() == changed.sum()
    assert (hu[changed] < BRAIN_HU).all()
    assert hu[changed].min() >= 5
    return (hu < BRAIN_HU - 4).sum() > 20


def _old_fluid(changed, hu, head):
    assert 0 <= hu[changed].min() <= hu[changed].max() < 11
    assert len(np.unique(np.sign(head.x[changed]))) == 1
    assert head.depth_mm[changed].max() < 16
    return changed.sum() > 200


def _contrast(changed, hu, head):
    assert hu[changed].min() > BRAIN_HU
    assert changed[head.brain].all()
    vessels = (hu > BRAIN_HU + 30) & (np.abs(head.x) > 2)  # the falx is bright too
    return 0.0005 < vessels.sum() / head.inside.sum() < 0.2


def _mass(changed, hu, head):
    values, often = np.unique(hu[changed & (hu >= 26)], return_counts=True)
    core, oedema = hu == values[often.argmax()], changed & (hu < 26)
    assert hu[changed].min() >= 14
    assert hu[changed].max() <= 45
    middle = np.argwhere(core | oedema).mean(0)
    far = [np.linalg.norm(np.argwhere(part) - middle, axis=1).mean() for part in (core, oedema)]
    return far[0] < far[1]


def _air(changed, hu, head):
    assert (hu[changed] == AIR).all()
    assert (head.inside & (head.y < 0))[changed].all()
    return changed.sum() > 20


def _catheter(changed, hu, head):
    assert 80 <= hu[changed].min() <= hu[changed].max() <= 400
    spread = np.linalg.svd(np.argwhere(changed) - np.argwhere(changed).mean(0))[1]
    return changed.sum() > 10 and spread[0] > 5 * spread[1]


def _clip(changed, hu, head):
    assert hu[changed].min() >= 2000
    return 1 <= changed.sum() * 8 < 800


MIMICS = {
    one.__name__: one
    for one in (_calcium, _infarct, _old_fluid, _contrast, _mass, _air, _catheter, _clip)
}


@pytest.mark.parametrize("name", MIMICS)
def test_a_mimic_looks_as_it_is_called(head, name):
    """Alone in even brain, of several seeds; no seed paints anything else."""
    found = 0
    for seed in range(6):
        hu = _flat(head)
        getattr(mimics, name)(np.random.default_rng(seed), head, hu)
        changed = hu != BRAIN_HU
        found += bool(changed.any() and MIMICS[name](changed, hu, head))
    assert found >= 2


@pytest.mark.parametrize("name", ["_no_flap", "_flap_put_back"])
def test_an_opened_skull_has_less_bone(head, name):
    """Soft tissue or less where bone was, in one place of it, and nothing elsewhere."""
    bone = ~head.inside & (head.depth_mm > -8)
    away = _from(head, (30.0, 0.0, 62.0))
    hu = np.where(bone, np.float32(1000), BRAIN_HU)
    left = getattr(mimics, name)(np.random.default_rng(1), head, hu, bone, away)
    gap = bone & ~left
    assert 0.002 < gap.sum() / bone.sum() < 0.25
    assert hu[gap].max() < 61
    assert (hu[left] == 1000).all()
    assert (hu[~bone] == BRAIN_HU).all()


@pytest.mark.parametrize("name", MIMICS)
def test_a_mimic_is_not_labelled(atlas, monkeypatch, name):
    """Neither in a head without a bleed, nor beside one: a bleed's own voxels alone."""
    masks = []
    monkeypatch.setattr(heads, "paint_mimics", getattr(mimics, name))
    paint = heads.paint_bleed
    monkeypatch.setattr(
        heads, "paint_bleed", lambda *given: (masks.append(given[3].copy()), paint(*given))
    )
    coarse = Grid((36, 50, 50), (4.0, 4.0, 4.0))
    for bleeds_asked in ((), ("intraparenchymal",)):
        masks.clear()
        _, labels, _ = heads._draw_head(np.random.default_rng(1), atlas, coarse, 1, bleeds_asked)
        assert not (labels > 0)[~np.any([np.zeros(coarse.shape, bool), *masks], axis=0)].any()


def test_what_the_seed_draws_holds_every_mimic(head, monkeypatch):
    """None is left out, and none comes with every head but calcium."""
    counts = dict.fromkeys((*MIMICS, "_no_flap", "_flap_put_back"), 0)

    def count(name, given):
        counts[name] += 1
        return given[3] if name in ("_no_flap", "_flap_put_back") else None

    for name in counts:
        monkeypatch.setattr(mimics, name, lambda *given, name=name: count(name, given))
    coarse = replace(head, **{axis: getattr(head, axis)[::12, ::12, ::12] for axis in "zyx"})
    for seed in range(250):
        rng = np.random.default_rng(seed)
        hu = np.zeros(coarse.z.shape, np.float32)
        mimics.paint_mimics(rng, coarse, hu)
        mimics.paint_surgery(rng, coarse, hu, hu > 0)
    assert min(counts.values()) >= 1
    assert counts.pop("_calcium") == 250
    assert max(counts.values()) < 100


def test_the_tentorium_is_no_sheet_of_blood_where_it_lies_flat(atlas):
    """A leaf of 2 mm at most shares a slice of 6 mm with brain: two thirds are brain's."""
    grid = Grid((24, 100, 100), (6.0, 2.0, 2.0))
    head = make_anatomy(np.random.default_rng(5), atlas, grid, SPAN_MM, ())
    leaf = tent_region(head) & (np.abs(head.z - tent_height(head)) < 3.0)
    leaf &= (np.abs(head.x) > 8) & (head.depth_mm > 10)  # beside the sinuses
    brightest = [paint_brain(np.random.default_rng(seed), head)[leaf].max() for seed in range(12)]
    assert leaf.sum() > 100
    assert max(brightest) < 58


def test_an_epidural_bleed_is_a_lens_and_a_fresh_subdural_one_along_the_skull_a_layer(atlas, head):
    """Shape tells them apart at any size: volume over the cube of the thickness."""
    lenses = [_spread(mask) for _, mask in _drawn(atlas, head, "epidural", range(12))]
    drawn = [(bleeds._along_convexity(rng), rng) for rng in map(np.random.default_rng, range(24))]
    layers = [_spread(plan.draw(rng, head)) for plan, rng in drawn if not plan.old]
    assert len(layers) > 8
    assert max(lenses) < 11
    assert min(layers) > 12


def _spread(mask):
    thickness = 2 * ndimage.distance_transform_edt(mask, GRID.spacing_mm).max()
    return mask.sum() * np.prod(GRID.spacing_mm) / thickness**3
