"""The shipped head is what its script draws, and a wrong turn of it would be seen."""

from importlib.resources import files

import numpy as np

from ich_node.selftest.head import NAME, load_head
from training.seeds import EVALUATION
from training.simulate import selftest_head


def test_the_shipped_head_is_the_one_that_the_script_draws() -> None:
    """Up to the rounding that another machine's libraries may do."""
    drawn = selftest_head.draw()
    with (files("ich_node.selftest") / NAME).open("rb") as file, np.load(file) as kept:
        assert set(kept) == set(drawn)
        assert np.abs(kept["hu"].astype(int) - drawn["hu"]).max() <= 4
        assert (kept["bleed"] != drawn["bleed"]).sum() <= 0.001 * drawn["bleed"].sum()
        assert np.array_equal(kept["spacing_mm"], drawn["spacing_mm"])
        assert (kept["subtype"], kept["seed"]) == (drawn["subtype"], drawn["seed"])


def test_no_training_saw_the_head() -> None:
    assert selftest_head.SEED in EVALUATION.seeds


def test_the_head_is_small_to_ship() -> None:
    assert len((files("ich_node.selftest") / NAME).read_bytes()) < 700_000


def test_the_bleed_lies_on_one_side_so_that_a_mirrored_mask_misses_it() -> None:
    """On every axis at once a mirrored bleed would miss the true one, but for the depth alone."""
    bleed = load_head(1).bleed
    across = np.argwhere(bleed)[:, 2]
    half = bleed.shape[2] / 2
    assert across.max() < half or across.min() > half
    assert not (bleed & bleed[::-1, ::-1]).all()


def test_the_grain_comes_from_the_seed() -> None:
    first, again, other = load_head(1), load_head(1), load_head(2)
    assert np.array_equal(first.hu, again.hu)
    assert 2.5 < (first.hu - other.hu).std() / np.sqrt(2) < 3.5
