"""Simulated heads are what they say they are: the truth that training and tests rest on."""

import cv2
import numpy as np
import pytest
from scipy import ndimage

from ich_node.codes import SUBTYPES
from training.simulate import NotDrawn, simulate_head
from training.simulate import head as heads
from training.simulate.atlas import MissingAnatomy, load_atlas
from training.simulate.bleeds import plan_bleeds
from training.simulate.head import SMALLEST_ML, simulate_on
from training.simulate.scanner import expose
from training.simulate.seen import BRIGHTEST_HU

SMALL = {"matrix": 128, "slices": 16, "thickness_mm": 10.0}


def _inside_skull(hu):
    """Return what bone encloses, slice by slice."""
    return np.stack([ndimage.binary_fill_holes(plane > 300) & (plane <= 300) for plane in hu])


def _within_bone(hu):
    """Return the hull of the bone, slice by slice: the skull may be open at its base."""
    found = np.zeros(hu.shape, np.uint8)
    for plane, filled in zip(hu, found, strict=True):
        points = np.argwhere(plane > 250)[:, ::-1].astype(np.int32)
        if len(points):
            cv2.fillConvexPoly(filled, cv2.convexHull(points), 1)
    wider = [cv2.dilate(plane, np.ones((3, 3), np.uint8)) for plane in found]  # its border too
    return np.stack(wider) > 0


def test_same_seed_gives_the_same_head():
    """A head is a function of its arguments, to the last bit."""
    one, other = (simulate_head(7, matrix=128) for _ in range(2))
    np.testing.assert_array_equal(one.hu, other.hu)
    np.testing.assert_array_equal(one.labels, other.labels)


def test_other_seeds_give_other_heads():
    """Two clean heads differ by more than noise: in the skull's outline."""
    bones = [simulate_head(seed, (), matrix=128).hu > 300 for seed in (1, 2)]
    assert (bones[0] ^ bones[1]).sum() > 0.05 * bones[0].sum()


def test_size_and_spacing_are_those_asked_for():
    """Shapes follow slices and matrix; spacing follows thickness and field of view."""
    head = simulate_head(3, (), slices=20, matrix=160, thickness_mm=4.0, field_mm=240.0)
    assert head.hu.shape == head.labels.shape == (20, 160, 160)
    assert (head.hu.dtype, head.labels.dtype) == (np.float32, np.uint8)
    assert head.spacing_mm == (4.0, 1.5, 1.5)


def test_head_looks_like_a_head_in_hu():
    """Air outside, a closed skull, and inside it mostly brain between water and clotted blood."""
    head = simulate_head(11, (), matrix=192)
    assert head.hu[:, 0].max() < -500
    assert head.hu.min() >= -1024
    assert head.hu.max() <= 3071
    inside = _inside_skull(head.hu)
    litres = inside.sum() * np.prod(head.spacing_mm) / 1e6
    assert 0.7 < litres < 2.2
    assert 20 < np.median(head.hu[inside]) < 45


def test_vertex_is_last():
    """Axis 0 runs inferior to superior: there is less head at its end than in its middle."""
    head = simulate_head(12, (), matrix=128)
    tissue = (head.hu > -200).sum((1, 2))
    assert tissue[-1] < 0.7 * tissue[len(tissue) // 2]


def test_clean_head_has_no_label():
    """Asked for no bleed, none is drawn."""
    assert not simulate_head(5, (), matrix=128).labels.any()


@pytest.mark.parametrize("name", SUBTYPES)
def test_asked_subtype_is_drawn_and_no_other(name):
    """A bleed of plausible size, within the skull, and clear of bone as dense as fresh blood."""
    for seed in range(940_000, 940_004):
        head = simulate_head(seed, (name,), **SMALL)
        assert set(np.unique(head.labels)) == {0, 1 + SUBTYPES.index(name)}
        bleed = head.labels > 0
        assert SMALLEST_ML <= bleed.sum() * np.prod(head.spacing_mm) / 1000 < 200
        assert 8 < np.median(head.hu[bleed]) < 95
        assert not (bleed & ~_within_bone(head.hu)).any()


@pytest.mark.parametrize("name", SUBTYPES)
def test_label_is_never_bone(name):
    """Labels hold blood that can be seen: what bone whitens is not taught as blood."""
    most_noise_hu = 60
    for seed in range(950_000, 950_003):
        head = simulate_head(seed, (name,), **SMALL)
        assert head.hu[head.labels > 0].max() < BRIGHTEST_HU + most_noise_hu


def test_several_bleeds_share_a_head():
    """Bleeds of several subtypes are disjoint by construction and all there."""
    names = ("subdural", "intraparenchymal", "intraventricular")
    head = simulate_head(21, names, matrix=128)
    assert set(np.unique(head.labels)) == {0, *(1 + SUBTYPES.index(name) for name in names)}


def test_two_bleeds_of_one_subtype_come_now_and_then():
    """Subdural blood on both sides is common in the old; ventricles hold one blood."""
    names = [heads._names(np.random.default_rng(seed)) for seed in range(400)]
    twice = [one for one in names if len(set(one)) < len(one)]
    assert 8 < len(twice) < 60
    assert any(one.count("subdural") == 2 for one in twice)
    assert all(one.count("intraventricular") < 2 for one in twice)


@pytest.mark.parametrize("subtype", ["subdural", "intraparenchymal"])
def test_two_bleeds_of_one_subtype_lie_apart(subtype):
    """Two, not one that is thicker; and each has to be seen for itself."""
    for seed in range(20):
        asked = [subtype, "epidural", subtype]
        plans = plan_bleeds(np.random.default_rng(seed), load_atlas(), asked)
        assert [plan.subtype for plan in plans] == asked
        first, _, second = (np.array(plan.place) for plan in plans)
        assert np.linalg.norm(first - second) > 40
    seen, unseen = (heads._Found(subtype, 9.0, ml) for ml in (9.0, 0.1))
    assert heads._as_asked([seen, seen])
    assert not heads._as_asked([seen, unseen])


def test_bleed_layers_downwards_in_the_ventricles():
    """Blood in the ventricles settles: it lies more to the back than the ventricles do."""
    heads = [simulate_head(seed, ("intraventricular",), **SMALL) for seed in range(31, 37)]
    back = [np.argwhere(head.labels > 0)[:, 1].mean() / len(head.labels[0]) for head in heads]
    assert np.mean(back) > 0.5


def test_seeds_draw_clean_and_bleeding_heads():
    """Left to the seed, some heads bleed and some do not, and every subtype comes up."""
    heads = [simulate_head(seed, matrix=64, slices=12, thickness_mm=13.0) for seed in range(40)]
    clean = sum(not head.labels.any() for head in heads)
    assert 5 < clean < 25
    assert {int(v) for head in heads for v in np.unique(head.labels)} == set(range(6))


@pytest.mark.parametrize("name", SUBTYPES)
def test_bleeds_come_in_all_sizes(name):
    """From a fraction of a mL to tens of them: small ones are what is missed."""
    volumes = []
    for seed in range(10):
        head = simulate_head(970_000 + seed, (name,), matrix=96, slices=12, thickness_mm=13.0)
        volumes.append((head.labels > 0).sum() * np.prod(head.spacing_mm) / 1000)
    assert max(volumes) > 5
    assert max(volumes) > 5 * min(volumes) > 0


def test_a_head_that_cannot_be_drawn_is_told(monkeypatch):
    """Rather than drawn without what was asked for."""
    monkeypatch.setattr(heads, "_ATTEMPTS", 2)
    monkeypatch.setattr(heads, "_as_asked", lambda _: False)
    said = r"seed 3: in none of 2 draws can all of epidural, subdural be seen"
    with pytest.raises(NotDrawn, match=said):
        simulate_head(3, ("epidural", "subdural"), **SMALL)


def test_blood_is_what_differs_from_the_clean_head():
    """Every labelled voxel is changed by the blood, and denser blood is brighter than fluid."""
    head = simulate_head(960_005, ("subarachnoid",), noise=False, **SMALL)
    assert head.hu[head.labels > 0].min() > 0


def test_matrix_changes_the_picture_only_in_detail():
    """The same seed in a larger matrix is the same head."""
    small = simulate_head(14, ("intraparenchymal",), matrix=256, slices=8, noise=False)
    large = simulate_head(14, ("intraparenchymal",), matrix=512, slices=8, noise=False)
    assert large.hu.shape == (8, 512, 512)
    again = large.hu.reshape(8, 256, 2, 256, 2).mean((2, 4))
    brain = (small.hu > 0) & (small.hu < 60)
    assert np.median(np.abs(again - small.hu)[brain]) < 2.0
    share = (large.labels > 0).mean() / (small.labels > 0).mean()
    assert 0.9 < share < 1.1


def test_a_missing_average_is_named(tmp_path):
    """The folder for the skull base must hold it."""
    with pytest.raises(MissingAnatomy, match=r"scct\.nii\.gz"):
        simulate_head(1, (), templates=tmp_path)


def test_the_scanner_is_drawn_by_the_seed_and_its_noise_has_texture():
    """Neighbours go together as they do in a real scan; white noise is told at once."""
    water = np.zeros((6, 128, 128), np.float32)
    spacing = (5.0, 0.9, 0.9)
    one, same, other = (expose(np.random.default_rng(seed), water, spacing) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()
    assert 0.3 < one.std() < 20
    close = np.corrcoef(one[:, :, 1:].ravel(), one[:, :, :-1].ravel())[0, 1]
    assert close > 0.1


def test_bone_troubles_the_brain_beside_it():
    """Halo and streaks: some scanners move the HU inside a ring of bone."""
    rows, columns = np.mgrid[:128, :128] - 64
    disc = np.where(rows**2 + columns**2 < 50**2, 30.0, -1000.0).astype(np.float32)
    ring = disc.copy()
    ring[(np.hypot(rows, columns) > 44) & (np.hypot(rows, columns) < 50)] = 1200
    middle = np.hypot(rows, columns) < 36
    changes = []
    for seed in range(12):
        seen = [
            expose(np.random.default_rng(seed), plane[None], (5.0, 0.9, 0.9))[0][middle].mean()
            for plane in (disc, ring)
        ]
        changes.append(abs(seen[1] - seen[0]))
    assert max(changes) > 1.0


@pytest.mark.parametrize(("hu", "rays"), [(1750.0, False), (2500.0, True)])
def test_metal_throws_bright_and_dark_rays(hu, rays):
    """Bone as dense as bone gets does not; nor do the slices beside the metal, nor the grain."""
    rows, columns = np.mgrid[:128, :128] - 64
    plain = np.full((2, 128, 128), 32.0, np.float32)
    spot = plain.copy()
    spot[0][np.hypot(rows, columns) < 4] = hu
    around = (np.hypot(rows, columns) > 10) & (np.hypot(rows, columns) < 16)
    changes = []
    for seed in range(6):
        seen = [expose(np.random.default_rng(seed), one, (5.0, 0.9, 0.9)) for one in (plain, spot)]
        np.testing.assert_array_equal(seen[0][1], seen[1][1])
        changes.append((seen[1] - seen[0])[0][around])
    found = [change.min() < -25 and change.max() > 25 for change in changes]
    assert all(found) if rays else not any(found)


@pytest.mark.shared_data
def test_bleeds_are_drawn_on_a_real_head(shared_data):
    """The real head keeps its base and its own look; labels hold what was drawn, inside it."""
    folder = shared_data / "ge-head-tilt"
    clean = simulate_on(5, folder, ())
    assert not clean.labels.any()
    assert clean.hu.shape == (28, 256, 256)
    bleeding = simulate_on(5, folder, ("intraparenchymal",))
    assert set(np.unique(bleeding.labels)) == {0, 1 + SUBTYPES.index("intraparenchymal")}
    changed = np.abs(bleeding.hu - clean.hu) > 4
    assert changed[bleeding.labels > 0].mean() > 0.99  # else by chance: the blood moved the brain


@pytest.mark.shared_data
def test_the_average_gives_a_skull_base(shared_data):
    """With the average head CT there is bone and air below the brain, and the same brain above."""
    head = simulate_head(4, (), templates=shared_data / "templates", **SMALL)
    below = head.hu[:8]
    assert (below > 300).mean() > 0.02
    assert _inside_skull(head.hu)[6:13].sum() * np.prod(head.spacing_mm) / 1e6 > 0.4
