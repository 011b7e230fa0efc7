"""The volume stage: what it starts from, what it reads, and what it is taught."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from ich_node.codes import CLASSES
from ich_node.infer.network import SliceNet, strongest
from tests.training.phantom import phantom
from training import data, downstream
from training.downstream import head_of, train_volumes, transfer, whole
from training.recipe import Data, Downstream, Recipe

CPU = torch.device("cpu")
NAN = float("nan")


def _upstream():
    torch.manual_seed(0)
    return SliceNet("tiny", len(CLASSES)).eval()


def test_transfer_keeps_what_the_slices_taught():
    """The deployed network's encoder, decoder and slice head give what the upstream ones gave."""
    upstream = _upstream()
    net = transfer(upstream, "tiny").eval()
    x = torch.rand(2, 1, 64, 64)
    found, maps = net.slices(x)
    torch.testing.assert_close(maps, upstream.seg_decoder(upstream.encoder(x)))
    torch.testing.assert_close(net.slice_head(found), upstream(x).classes)
    torch.testing.assert_close(strongest(net.mask_head(maps)), strongest(upstream(x).masks))


@pytest.mark.parametrize("start", ["ours", "published"])
def test_volume_masks_start_as_the_slice_masks_or_at_random(start):
    """Ours: a volume's masks follow those of its slices closely; published: by chance."""
    upstream = _upstream()
    net = transfer(upstream, "tiny", start).eval()
    maps = net.slices(torch.rand(5, 1, 64, 64))[1]
    volume = net.segmenter(maps.transpose(0, 1)[None])[0].transpose(0, 1)
    slices = upstream.segmentation_head(maps)
    close = nn.functional.mse_loss(volume, slices) < 0.1 * slices.var()
    assert bool(close) == (start == "ours")


def test_every_head_has_its_turn_and_the_order_follows_from_the_step():
    paths = [Path(f"{number}.npz") for number in range(5)]
    rounds = [[head_of(paths, 1, 5 * turn + step) for step in range(5)] for turn in range(6)]
    assert all(sorted(turn) == paths for turn in rounds)
    assert len({tuple(turn) for turn in rounds}) > 1
    assert Counter(head_of(paths, 1, 13) for _ in range(3)) == {rounds[2][3]: 3}


def test_a_head_is_changed_as_one_scan():
    """Equal slices stay equal but for noise; labels come as they are, or not at all."""
    head = phantom({}, slices=4, scanned=True)
    image, labels = whole(np.random.default_rng(0), Recipe(), head)
    assert image.shape == (4, 1, 192, 192)
    assert labels.shape == (4, 192, 192)
    assert torch.equal(image[0], image[3])
    assert whole(np.random.default_rng(0), Recipe(), replace(head, labels=None))[1] is None


@pytest.mark.parametrize(
    ("slices", "stated", "expected"),
    [
        ([[0, 0], [1, 0]], None, [1, 0]),
        ([[0, NAN], [1, 0]], None, [1, NAN]),
        ([[NAN, NAN], [NAN, 1]], [1, 0], [1, 1]),
        ([[NAN, NAN], [NAN, NAN]], None, [NAN, NAN]),
        ([[NAN, NAN], [NAN, NAN]], [1, NAN], [1, NAN]),
        ([[0, 0], [0, 0]], [1, 1], [0, 0]),
    ],
)
def test_classes_of_a_head_are_what_its_slices_tell_and_then_what_is_stated(
    slices, stated, expected
):
    """CQ500 knows of no slice, and of the scan what its readers said."""
    pad = [0.0] * 4
    known = torch.tensor([[*row, *pad] for row in slices])
    told = None if stated is None else np.array([*stated, *pad], np.float32)
    head = replace(phantom({}), classes=told)
    found = downstream._classes_of(head, known)
    np.testing.assert_array_equal(found.numpy(), np.array([*expected, *pad], np.float32))


def _train(tmp_path, head, stage, monkeypatch):
    """One step on one head: the network after it, what it began as, and the losses' names."""
    names = []
    learn = downstream.Run.learn
    monkeypatch.setattr(
        downstream.Run, "learn", lambda run, parts: (names.extend(parts), learn(run, parts))
    )
    data.save(head, tmp_path / "a.npz")
    recipe = Recipe(backbone="tiny", data=Data(workers=0), downstream=stage)
    torch.manual_seed(recipe.seed + 1)
    before = transfer(_upstream(), "tiny", stage.start).state_dict()
    net = train_volumes(recipe, _upstream(), tmp_path, tmp_path / "run", CPU)
    changed = {
        name.split(".")[0]
        for name, value in net.state_dict().items()
        if name not in before or not torch.equal(value, before[name])
    }
    return names, changed


def _stage(**values):
    return Downstream(steps=1, slices=4, heads=1, average=0, classifier_steps=0, **values)


def test_frozen_encoder_and_decoder_stay_and_the_rest_learns(tmp_path, monkeypatch):
    names, changed = _train(tmp_path, phantom({2: ("subdural",)}), _stage(), monkeypatch)
    assert names == ["classes", "masks"]
    assert changed >= {"classifier", "segmenter"}
    assert not changed & {"encoder", "seg_decoder", "slice_head", "mask_head"}


def test_where_the_encoder_learns_the_slice_head_goes_along(tmp_path, monkeypatch):
    """Or the probability of each slice would be read from features that it never saw."""
    stage = _stage(unfreeze=(0.0,))
    names, changed = _train(tmp_path, phantom({2: ("subdural",)}), stage, monkeypatch)
    assert names == ["classes", "slices", "masks"]
    assert changed >= {"classifier", "segmenter", "encoder", "seg_decoder", "slice_head"}


def test_a_head_without_a_mask_teaches_classes_alone(tmp_path, monkeypatch):
    head = replace(phantom({2: ("subdural",)}), labels=None)
    names, changed = _train(tmp_path, head, _stage(), monkeypatch)
    assert names == ["classes"]
    assert "classifier" in changed
    # Running statistics apart, the segmenter has seen nothing to learn from.
    assert "encoder" not in changed
