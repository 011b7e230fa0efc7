"""Training learns, keeps what it learned, and hands it to the deployed network."""

import sys

import numpy as np
import pytest
import torch
from torch import nn
from training.train import (
    Recipe,
    main,
    slice_batches,
    train_classifier,
    train_slices,
    transfer,
)

from ich_node.codes import CLASSES
from ich_node.infer.backbones import build_pool
from ich_node.infer.network import SliceNet, Upstream
from training import data
from training.losses import dice_loss, mask_loss, targets_of, upstream_loss
from training.simulate import simulate_head


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    folder = tmp_path_factory.mktemp("heads")
    for seed, bleeds in enumerate([("epidural",), ("intraparenchymal", "subdural"), ()]):
        head = simulate_head(seed, bleeds, slices=16, matrix=128, thickness_mm=10.0)
        data.save(data.example(head), folder / f"{seed:06d}.npz")
    return folder


def _examples(folder):
    while True:
        for path in sorted(folder.glob("*.npz")):
            yield data.load(path)


def test_targets_are_one_mask_a_class():
    """Order of `codes.CLASSES`: the union, then each subtype's own voxels."""
    targets = targets_of(torch.tensor([[[0, 1], [5, 5]]]))
    assert targets.shape == (1, 6, 2, 2)
    assert targets[0, 0].tolist() == [[0, 1], [1, 1]]
    assert targets.sum((0, 2, 3)).tolist() == [3, 1, 0, 0, 0, 2]


def test_perfect_masks_cost_nothing():
    """Dice and BCE vanish where the masks are right, and not where they are wrong."""
    targets = targets_of(torch.randint(0, 6, (2, 16, 16)))
    right = (targets * 2 - 1) * 50
    assert float(mask_loss(right, targets)) < 1e-3
    assert float(mask_loss(-right, targets)) > 1


def test_dice_counts_only_classes_that_are_there():
    """A class without a voxel in the batch neither helps nor hurts; none at all gives 0."""
    targets = targets_of(torch.ones(1, 8, 8, dtype=torch.int64))
    logits = torch.full((1, 6, 8, 8), -50.0)
    logits[:, :2] = 50  # `any` and `epidural`: right
    assert float(dice_loss(logits, targets)) == pytest.approx(0, abs=1e-4)
    assert float(dice_loss(logits, torch.zeros_like(targets))) == 0


@pytest.mark.parametrize("part", ["classes", "masks", "reconstruction", "consistency"])
def test_every_task_counts(part):
    """The upstream loss rises with each of its four parts alone."""
    targets = targets_of(torch.ones(1, 256, 256, dtype=torch.int64))
    held = targets.flatten(2).amax(2)
    image = torch.full((1, 1, 256, 256), 0.5)
    good = Upstream((held * 2 - 1) * 20, (targets * 2 - 1) * 20, image)
    bad = {
        "classes": good._replace(classes=-good.classes),
        "masks": good._replace(masks=-good.masks),
        "reconstruction": good._replace(reconstruction=image + 1),
        "consistency": good._replace(classes=good.classes * 0),
    }[part]
    assert float(upstream_loss(good, image, targets)) < 0.01
    assert float(upstream_loss(bad, image, targets)) > 0.5


def test_batches_hold_bleeds_and_clean_slices(heads):
    """Slices with a bleed are preferred, and some without are always among them."""
    batches = slice_batches(_examples(heads), np.random.default_rng(0))
    image, labels = next(batches)
    assert image.shape == (len(labels), 1, *labels.shape[1:])
    assert float(image.min()) >= 0
    assert float(image.max()) <= 1
    held = labels.flatten(1).any(1)
    assert 0.25 <= float(held.float().mean()) < 1


def test_loss_falls_on_one_batch(heads):
    """A few steps on a fixed batch bring a finite loss well down."""
    torch.manual_seed(0)
    image, labels = next(slice_batches(_examples(heads), np.random.default_rng(0)))
    image, targets = image[:4], targets_of(labels[:4])
    net = SliceNet("tiny", len(CLASSES))
    optimiser = torch.optim.AdamW(net.parameters(), 1e-2)
    losses = []
    for _ in range(12):
        loss = upstream_loss(net(image), image, targets)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert np.isfinite(losses).all()
    assert losses[-1] < 0.8 * losses[0]


def test_all_stages_run_and_leave_the_network(heads, tmp_path, monkeypatch):
    """The command leaves weights of the deployed network, which differ from where they began."""
    given = ["train", "--backbone", "tiny", "--heads", str(heads), "--out", str(tmp_path)]
    stages = ("--slice-minutes", "--volume-minutes", "--classifier-minutes")
    minutes = [word for stage in stages for word in (stage, "0.05")]
    monkeypatch.setattr(sys, "argv", given + minutes)
    main()
    kept = torch.load(tmp_path / "network.pt", weights_only=True)
    net = transfer(SliceNet("tiny", len(CLASSES)), "tiny")
    net.load_state_dict(kept)
    steps = [
        torch.load(tmp_path / name, weights_only=True)["steps"]
        for name in ("slices.pt", "volumes.pt", "classifier.pt")
    ]
    assert min(steps) > 0
    assert all(torch.isfinite(tensor).all() for tensor in kept.values())


def test_training_takes_up_where_it_stood(heads, tmp_path):
    """Started again when its minutes are used up, a stage returns what it had, and trains no more.

    With more minutes it goes on from the same step.
    """
    recipe = Recipe("tiny", heads, tmp_path, slice_minutes=0.03, volume_minutes=0)
    first = train_slices(recipe).state_dict()
    again = train_slices(recipe).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    steps = torch.load(tmp_path / "slices.pt", weights_only=True)["steps"]
    train_slices(Recipe("tiny", heads, tmp_path, slice_minutes=0.06, volume_minutes=0))
    assert torch.load(tmp_path / "slices.pt", weights_only=True)["steps"] > steps


def test_classifier_learns_alone(heads, tmp_path):
    """The last stage changes the BiLSTM and its head, and nothing that the masks rest on."""
    torch.manual_seed(0)
    net = transfer(SliceNet("tiny", len(CLASSES)), "tiny")
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    train_classifier(Recipe("tiny", heads, tmp_path, 0, 0, classifier_minutes=0.03), net)
    changed = {
        name.split(".")[0]
        for name, tensor in net.state_dict().items()
        if not torch.equal(tensor, before[name])
    }
    assert changed == {"classifier"}


def test_transfer_keeps_what_the_slices_taught():
    """The deployed network's encoder, decoder and slice head give what the upstream ones gave."""
    torch.manual_seed(0)
    upstream = SliceNet("tiny", len(CLASSES)).eval()
    net = transfer(upstream, "tiny").eval()
    x = torch.rand(2, 1, 256, 256)
    features = upstream.encoder(x)
    found, maps = net.slices(x)
    torch.testing.assert_close(found, build_pool("tiny")(features[4]))
    torch.testing.assert_close(maps, upstream.seg_decoder(features))
    torch.testing.assert_close(net.slice_head(found), upstream(x).classes)


def test_volume_masks_start_as_the_slice_masks():
    """With the 3D convolutions' start, a volume's masks follow those of its slices closely."""
    torch.manual_seed(0)
    upstream = SliceNet("tiny", len(CLASSES)).eval()
    net = transfer(upstream, "tiny").eval()
    x = torch.rand(5, 1, 256, 256)
    maps = net.slices(x)[1]
    volume = net.segmenter(maps.transpose(0, 1)[None])[0].transpose(0, 1)
    slices = upstream.segmentation_head(maps)
    assert nn.functional.mse_loss(volume, slices) < 0.1 * slices.var()
