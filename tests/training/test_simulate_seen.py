"""What of simulated blood is labelled: what a reader could point at, and nothing else."""

import numpy as np
import pytest

from training.simulate.seen import LEAST_MM2, REACH_MM, THICK_MM, seen

BRAIN, BONE = 36.0, 900.0


def _head(hu_of_blood, place, without=BRAIN):
    """Return mask, clean and bloody head: a slice of brain in a square of bone, pixels of 1 mm."""
    clean = np.full((1, 96, 96), BONE, np.float32)
    clean[:, 8:-8, 8:-8] = BRAIN
    blood = np.zeros(clean.shape, bool)
    blood[:, *place] = True
    clean[blood] = without
    bloody = clean.copy()
    bloody[blood] = hu_of_blood
    return blood, clean, bloody


def _labelled(hu_of_blood, place, subtype="intraparenchymal", without=BRAIN):
    blood, clean, bloody = _head(hu_of_blood, place, without)
    found = seen(subtype, blood, blood, clean, bloody, 1.0)
    assert not (found & ~blood).any()
    return float(found.sum() / blood.sum())


INSIDE = (slice(40, 50), slice(40, 50))


@pytest.mark.parametrize(("hu", "share"), [(70, 1), (51, 1), (48, 0), (40, 0), (28, 0), (20, 0)])
def test_blood_is_labelled_where_it_is_brighter_than_brain(hu, share):
    """Brighter by enough: all of it; else none, since what is darker may be fluid."""
    assert _labelled(hu, INSIDE) == share


def test_blood_that_makes_fluid_look_like_brain_is_not_labelled():
    """It changes the picture, yet there is nothing that a reader could point at."""
    assert _labelled(BRAIN, INSIDE, "subarachnoid", without=8.0) == 0


def test_blood_in_swollen_brain_is_held_against_what_is_swollen():
    """Faint blood stands out where the brain around it is dark."""
    blood, clean, bloody = _head(42, INSIDE)
    for hu in (clean, bloody):
        around = hu[:, 30:60, 30:60]
        around[around == BRAIN] = 20
    assert seen("intraparenchymal", blood, blood, clean, bloody, 1.0)[blood].all()


def test_what_is_too_small_is_not_labelled():
    """A speck is taken for noise."""
    side = int(np.sqrt(LEAST_MM2)) - 1
    assert _labelled(80, (slice(40, 40 + side), slice(40, 40 + side))) == 0


def test_each_piece_stands_for_itself():
    """A large piece does not bring a speck elsewhere in the slice with it."""
    blood, clean, bloody = _head(70, INSIDE)
    blood[:, 70:72, 70:72] = True
    bloody[blood] = 70
    found = seen("intraparenchymal", blood, blood, clean, bloody, 1.0)
    assert found[:, *INSIDE].all()
    assert not found[:, 70:72, 70:72].any()


def test_a_piece_is_labelled_as_far_as_it_reaches_from_what_is_seen():
    """Its faint end fades into brain: nobody could say where it ends."""
    blood, clean, bloody = _head(70, (slice(40, 50), slice(30, 70)))
    bloody[:, 40:50, 44:70] = BRAIN + 8
    found = seen("subarachnoid", blood, blood, clean, bloody, 1.0)
    assert found[:, 40:50, 30:44].all()
    reach = round(REACH_MM)
    assert found[:, 45, 44 : 44 + reach].all()
    assert not found[:, :, 45 + reach :].any()


ALONG_BONE = slice(20, 76)


def test_a_layer_in_what_bone_brightens_is_not_labelled():
    """Three pixels along the inner table are bone's blur to every reader."""
    assert _labelled(70, (slice(8, 11), ALONG_BONE), "subdural") == 0


def test_a_layer_that_leaves_bone_is_labelled_whole():
    """Whoever sees its inner part follows it to the bone."""
    assert _labelled(70, (slice(8, 13), ALONG_BONE), "subdural") == 1


@pytest.mark.parametrize(("subtype", "share"), [("subdural", 1), ("subarachnoid", 0)])
def test_only_a_thick_layer_along_the_skull_is_seen_by_what_it_moves(subtype, share):
    """As dense as brain: a reader sees a thick layer by the furrows that no longer reach bone."""
    thick = slice(8, 8 + int(THICK_MM) + 2)
    found = _labelled(BRAIN, (thick, ALONG_BONE), subtype, without=8.0)
    assert found == pytest.approx(share, abs=0.02)


@pytest.mark.parametrize("hu", [20, 28])
def test_a_layer_darker_than_brain_is_seen_where_it_is_thick(hu):
    """Old subdural blood; thin, it looks like the fluid about the brain."""
    thick = slice(8, 8 + int(THICK_MM) + 2)
    thin = slice(8, 8 + int(THICK_MM) - 3)
    assert _labelled(hu, (thick, ALONG_BONE), "subdural") == pytest.approx(1, abs=0.02)
    assert _labelled(hu, (thin, ALONG_BONE), "subdural") == 0


def test_a_thick_layer_in_what_bone_brightens_is_not_labelled():
    """Where a slice runs through the vertex, bone shines through blood as through brain."""
    thick = slice(8, 8 + int(THICK_MM) + 2)
    assert _labelled(80, (thick, ALONG_BONE), "subdural", without=60.0) == 0


def test_a_thin_layer_as_dense_as_brain_is_not_labelled():
    """Nothing is moved, nothing is bright."""
    thin = slice(8, 8 + int(THICK_MM) - 3)
    assert _labelled(BRAIN, (thin, ALONG_BONE), "subdural", without=8.0) == 0


@pytest.mark.parametrize(("wide", "labelled"), [(3, True), (9, False)])
def test_a_wall_as_dense_as_brain_is_labelled_with_the_old_bleed_around_it(wide, labelled):
    """A reader outlines the whole; a gap wider than a wall is brain between two bleeds."""
    thick = slice(8, 8 + 2 * round(THICK_MM))
    blood, clean, bloody = _head(20, (slice(8, 68), thick))
    bloody[:, 30 : 30 + wide, thick] = BRAIN
    found = seen("subdural", blood, blood, clean, bloody, 1.0)
    assert found[:, 10:30, thick].mean() > 0.98
    assert (found[:, 30 : 30 + wide, thick].mean() > 0.6) == labelled
