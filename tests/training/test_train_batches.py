"""Batches are a function of recipe and number, hold what the recipe asks, and say what is known."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ich_node.codes import CLASSES
from ich_node.infer.network import SliceNet
from ich_node.infer.preprocess import OURS, value_range
from tests.support.datasets import write_masked, write_physionet, write_rsna
from tests.training.phantom import phantom
from training import data
from training.batches import NO_MASK, Slices, batches, choose, clear_classes, take
from training.losses import upstream_loss
from training.real import instance22, physionet, rsna
from training.real.examples import export
from training.real.records import classes_of_labels
from training.recipe import Data, Downstream, Recipe, Upstream
from training.upstream import step_losses, train_slices

CPU = torch.device("cpu")
HELD = {2: ("epidural",), 3: ("epidural",), 5: ("subdural",)}
# Nothing moves, nothing is added.
BARE = Data(batch=6, workers=0, turn_deg=0, scale=0, shift=0, brightness=0, scanner=False)
RECIPE = Recipe(backbone="tiny", data=BARE, upstream=Upstream(steps=3))


def _with(**values):
    return RECIPE.model_copy(update={"data": BARE.model_copy(update=values)})


def _taken(recipe, head, count=20):
    return [take(np.random.default_rng(seed), recipe, head) for seed in range(count)]


def test_the_nth_batch_is_always_the_same(heads):
    """Alone, in a row, from any number on, and in whatever process."""
    recipe = Recipe(data=Data(batch=5, workers=1), upstream=Upstream(steps=4))
    row = list(batches(recipe, heads, 0))
    assert len(row) == 4
    late = next(batches(recipe, heads, 2))
    alone = Slices(recipe, heads)[2]
    for name in ("image", "labels", "classes"):
        for other in (late, alone):
            np.testing.assert_array_equal(getattr(row[2], name), getattr(other, name))
        assert not np.array_equal(row[1].image, row[2].image)


def test_batches_hold_what_they_say(heads):
    """One channel of the size and range that the network reads; classes as the labels have them."""
    batch = Slices(_with(clear_px=0), heads)[0]
    assert batch.image.shape == (6, 1, 192, 192)
    assert batch.labels.shape == (6, 192, 192)
    assert (batch.image.dtype, batch.labels.dtype) == (torch.float32, torch.int64)
    assert batch.classes.dtype == torch.float32
    assert float(batch.image.min()) >= 0
    assert float(batch.image.max()) <= value_range(OURS)[1] + 1e-6
    held = batch.labels.flatten(1).any(1).float()
    torch.testing.assert_close(batch.classes[:, 0], held)
    assert 0 < float(held.mean()) <= 1


def test_sampling_is_what_its_name_says():
    """Published: one slice, of a random voxel of a bleed; ours: a random one and two that bleed."""
    head = phantom(HELD)
    small = replace(head, labels=head.labels.copy())
    small.labels[2] = 0
    small.labels[2, 100, 100] = 1  # one voxel beside 900 in each of the others
    ours, published = (_with(sampling=kind) for kind in ("ours", "published"))
    one = [choose(np.random.default_rng(seed), published, small) for seed in range(60)]
    assert {len(chosen) for chosen in one} == {1}
    assert {int(chosen[0]) for chosen in one} == {3, 5}
    three = [choose(np.random.default_rng(seed), ours, head) for seed in range(60)]
    assert {len(chosen) for chosen in three} == {3}
    assert all(set(chosen[1:]) <= {2, 3, 5} and chosen[1] != chosen[2] for chosen in three)
    assert {int(chosen[0]) for chosen in three} == set(range(8))


@pytest.mark.parametrize("sampling", ["ours", "published"])
def test_heads_without_bleeds_without_masks_or_with_vanished_ones_give_slices(sampling):
    """A mask of a pixel can vanish on the way to 256 x 256; the slice is still known to bleed."""
    bare = _with(sampling=sampling)
    bleeding = phantom(HELD)
    vanished = replace(bleeding, labels=np.zeros_like(bleeding.labels))
    for head in (phantom({}), replace(bleeding, labels=None), vanished):
        for seed in range(10):
            assert len(choose(np.random.default_rng(seed), bare, head)) >= 1


def test_a_class_with_few_pixels_is_neither_there_nor_absent():
    """Below ``clear_px`` and above none: NaN, of `any` as of the subtype; at 0 all is clear."""
    labels = np.zeros((1, 16, 16), np.uint8)
    labels[0, 0, :12], labels[0, 5, :4] = 1, 2
    stated = classes_of_labels(labels)
    found = clear_classes(labels, stated, 10)[0]
    assert found[:2].tolist() == [1, 1]
    assert np.isnan(found[2])
    assert found[3:].tolist() == [0, 0, 0]
    np.testing.assert_array_equal(clear_classes(labels, stated, 0), stated)


def test_smallest_px_takes_crumbs_from_labels_and_classes():
    head = phantom({2: ("epidural",)}, side=3)
    bleeding = [
        [part.labels[1:].any() for part in _taken(_with(smallest_px=px, clear_px=0), head, 3)]
        for px in (0, 40)
    ]
    assert all(bleeding[0])
    assert not any(bleeding[1])


def test_scanner_is_laid_over_heads_that_have_none():
    """With the switch off, or over a head that a scanner has seen, the picture stays as it is."""
    own, seen = phantom(HELD), phantom(HELD, scanned=True)
    plain, noisy = _with(scanner=False), _with(scanner=True)

    def noise(recipe, head):
        (part,) = _taken(recipe, head, 1)
        return float(part.image[:, 0, 90:100, 60:70].std())

    assert noise(plain, own) < 1e-6
    assert noise(noisy, seen) < 1e-6
    assert noise(noisy, own) > 1e-3


def test_preprocessing_changes_what_is_read(heads):
    published = RECIPE.model_copy(update={"preprocessing": "published"})
    assert Slices(published, heads)[0].image.shape == (6, 1, 256, 256)
    assert Slices(RECIPE, heads)[0].image.shape == (6, 1, 192, 192)


def test_slices_without_a_mask_say_so_and_keep_their_classes():
    head = replace(phantom(HELD), labels=None)
    for part in _taken(RECIPE, head, 4):
        assert (part.labels == NO_MASK).all()
        assert not part.classes.isnan().any()
        assert part.classes[1:, 0].all()


def test_reconstruction_comes_every_nth_step():
    net = SliceNet("tiny", len(CLASSES))
    batch = take(np.random.default_rng(0), RECIPE, phantom(HELD))
    has = ["reconstruction" in step_losses(net, RECIPE, batch, step, CPU) for step in range(7)]
    assert has == [True, False, False, True, False, False, True]


def test_loss_falls_on_one_batch(heads):
    """A few steps on a fixed batch bring a finite loss well down."""
    torch.manual_seed(0)
    batch = Slices(RECIPE, heads)[0]
    net = SliceNet("tiny", len(CLASSES))
    optimiser = torch.optim.AdamW(net.parameters(), 1e-2)
    losses = []
    for _ in range(12):
        out = net(batch.image)
        parts = upstream_loss(out, batch.image, batch.labels, batch.classes, RECIPE.losses)
        loss = torch.stack(list(parts.values())).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert np.isfinite(losses).all()
    assert losses[-1] < 0.8 * losses[0]


def test_real_heads_are_read_and_trained_on(held_out, tmp_path):
    """Masks of subtypes and without, and none at all: all in one folder, all losses finite."""
    held = ((), ("subdural",), ("subdural", "subarachnoid"), (), (), ())
    mask = np.zeros((6, 24, 20), np.uint8)
    mask[2, 8:12, 9:12] = 1
    write_masked(tmp_path / "i" / "data", tmp_path / "i" / "label", {"001": mask})
    cases = [
        *physionet.find(write_physionet(tmp_path / "p", {49: held})).cases,
        *instance22.find(tmp_path / "i").cases,
        *rsna.find(write_rsna(tmp_path / "r", {2: ("subdural",)})).cases,
    ]
    counts, faults = export(cases, tmp_path / "out", {"train": 1.0}, 1)
    assert (counts, faults) == ({"train": 3}, [])
    folder = tmp_path / "out" / "train"
    masked = {path.name.split("-")[0]: data.load(path).labels is None for path in folder.iterdir()}
    assert masked == {"physionet": False, "instance22": False, "rsna": True}
    recipe = Recipe(
        backbone="tiny",
        data=Data(batch=8, workers=0),
        upstream=Upstream(steps=2),
        downstream=Downstream(steps=3, slices=4, heads=2, classifier_steps=0),
    )
    net = train_slices(recipe, folder, held_out, tmp_path / "run", CPU)
    assert all(torch.isfinite(tensor).all() for tensor in net.state_dict().values())
