"""What a validation measures, what it is chosen by, and what it does without."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from ich_node.codes import CLASSES, SUBTYPES
from ich_node.infer.network import SliceNet, Upstream
from tests.training.phantom import phantom
from training import data, upstream
from training.batches import NO_MASK, Batch
from training.downstream import BEST, train_network, transfer
from training.real.records import UNTYPED
from training.recipe import Data, Downstream, Losses, Recipe
from training.recipe import Upstream as Slices
from training.seeds import VALIDATION, file_name
from training.upstream import keep_weights, train_slices
from training.validation import (
    pictures,
    require_volumes,
    validate_slices,
    validate_volumes,
    validation_slices,
    worth,
)

CPU = torch.device("cpu")
HELD = ({2: ("epidural",)}, {}, {1: ("subdural",), 4: ("subdural",)}, {})
RECIPE = Recipe(
    backbone="tiny",
    data=Data(batch=2, workers=0),
    upstream=Slices(steps=2),
    downstream=Downstream(steps=1, slices=4, heads=2, classifier_steps=0),
)
NAN = float("nan")


def _folder(folder, heads):
    folder.mkdir()
    for seed, head in zip(VALIDATION.seeds, heads, strict=False):
        data.save(head, folder / file_name(seed))
    return folder


def _of_slices(held):
    """As RSNA's: the subtypes of each slice, no mask."""
    return replace(phantom(held), labels=None)


def _of_the_whole(held):
    """As CQ500's: nothing is known of a slice."""
    head = phantom(held)
    unknown = np.full_like(head.slice_classes, NAN)
    return replace(head, labels=None, slice_classes=unknown, classes=head.slice_classes.max(0))


@pytest.fixture(scope="module")
def of_slices(tmp_path_factory):
    return _folder(tmp_path_factory.mktemp("v") / "of-slices", map(_of_slices, HELD))


def test_slices_are_the_same_each_time(held_out):
    one, other = validation_slices(RECIPE, held_out), validation_slices(RECIPE, held_out)
    assert torch.equal(one.image, other.image)
    assert torch.equal(one.labels, other.labels)
    assert one.image.shape == (20, 1, 192, 192)
    assert one.labels.shape == (20, 192, 192)


def test_a_slice_of_few_pixels_is_no_case_and_one_of_unknown_subtype_is_of_any_alone(tmp_path):
    """Their masks count all the same."""
    few, untyped = phantom({}, slices=5), phantom({0: ("subdural",)}, slices=1)
    few.labels[:, 100:102, 100:102] = 2
    untyped.labels[untyped.labels > 0] = UNTYPED
    untyped = replace(untyped, slice_classes=np.array([[1, *[NAN] * 5]], np.float32))
    found = validation_slices(RECIPE, _folder(tmp_path / "v", [few, untyped]))
    expected = [[NAN, 0, NAN, 0, 0, 0]] * 5 + [[1, *[NAN] * 5]]
    np.testing.assert_array_equal(found.classes, np.array(expected, np.float32))
    assert (found.labels > 0).flatten(1).any(1).all()


class _Told(torch.nn.Module):
    """Answers what it was told to, slice by slice."""

    def __init__(self, classes, masks):
        super().__init__()
        self._left = list(zip(classes, masks, strict=True))

    def forward(self, x, reconstruct=True, segment=True):
        now, self._left = self._left[: len(x)], self._left[len(x) :]
        classes, masks = (torch.stack(part) for part in zip(*now, strict=True))
        return Upstream(classes, masks, None)


def _cases():
    """Four slices of subdural blood, two of unknown subtype, one unclear, the rest clean."""
    labels = torch.zeros(20, 32, 32, dtype=torch.int64)
    labels[:4, :8, :8] = 2
    labels[4:6, :8, :8] = UNTYPED
    labels[6, 0, :3] = 2
    classes = torch.zeros(20, 6)
    classes[:6, 0], classes[6, 0] = 1, NAN
    classes[:4, 2], classes[4:6, 1:], classes[6, 2] = 1, NAN, NAN
    return Batch(torch.zeros(20, 1, 32, 32), labels, classes)


def _right(held_out):
    """What is right of the slices, and the contrary where it is not known."""
    logits = torch.nan_to_num(held_out.classes, nan=2.0) * torch.where(
        torch.isnan(held_out.classes[:, :1]), -5.0, 5.0
    )
    return logits, torch.where(held_out.labels[:, None] > 0, 5.0, -5.0).expand(-1, 6, -1, -1)


def test_any_and_each_subtype_are_measured():
    """Perfect: 1 everywhere; a subtype that no slice is known to have has no figure."""
    held_out = _cases()
    classes, masks = _right(held_out)
    values = validate_slices(_Told(classes, masks), held_out, CPU, Losses())
    assert values == {"dice": 1.0, "auc_any": 1.0, "auc_subdural": 1.0}
    assert set(SUBTYPES) > {"subdural"}
    nothing = torch.full_like(masks, -5.0)
    worst = validate_slices(_Told(-classes, nothing), held_out, CPU, Losses())
    assert worst == {"dice": 0.0, "auc_any": 0.0, "auc_subdural": 0.0}


def test_slices_without_a_mask_count_for_classes_alone():
    """Whatever is found in them is neither right nor wrong."""
    held_out = _cases()
    classes, masks = _right(held_out)
    masks = masks.clone()
    held_out.labels[:2], held_out.labels[-3:] = NO_MASK, NO_MASK
    masks[:2], masks[-3:] = -5.0, 5.0
    values = validate_slices(_Told(classes, masks), held_out, CPU, Losses())
    assert values == {"dice": 1.0, "auc_any": 1.0, "auc_subdural": 1.0}
    held_out.labels[:] = NO_MASK
    values = validate_slices(_Told(classes, masks), held_out, CPU, Losses())
    assert values == {"auc_any": 1.0, "auc_subdural": 1.0}


def test_heads_without_masks_have_an_area_and_no_dice(of_slices, tmp_path):
    """By what their slices state, or by what is stated of the whole."""
    net = transfer(SliceNet("tiny", len(CLASSES)), "tiny").eval()
    whole = _folder(tmp_path / "whole", map(_of_the_whole, HELD))
    for folder in (of_slices, whole):
        values = validate_volumes(net, RECIPE, folder, CPU)
        assert values.keys() == {"auc_any", "auc_epidural", "auc_subdural"}
    mixed = _folder(tmp_path / "mixed", [phantom(HELD[0]), *map(_of_slices, HELD[1:])])
    assert validate_volumes(net, RECIPE, mixed, CPU).keys() == {"dice", *values}


def test_a_run_validates_by_slices_that_have_no_masks(heads, of_slices, tmp_path, capsys):
    """Both stages, and both say so in one line; the best is kept by AUC of `any` alone."""
    train_slices(RECIPE, heads, of_slices, tmp_path, CPU)
    train_network(RECIPE, heads, tmp_path, CPU, of_slices)
    said = capsys.readouterr().out.splitlines()
    assert said.count(f"{of_slices} holds no masks: validated by AUC of any alone") == 2
    figures = [line for line in said if "auc_any" in line]
    assert len(figures) == 2
    assert "dice" not in "".join(figures)
    assert (tmp_path / upstream.BEST).exists()
    assert (tmp_path / BEST).exists()


def test_masks_of_bleeding_heads_alone_validate_by_dice(tmp_path, capsys):
    folder = _folder(tmp_path / "v", [phantom(HELD[0]), phantom(HELD[2])])
    require_volumes(RECIPE, folder)
    said = capsys.readouterr().out
    assert said == f"{folder} does not hold both bleeds and none: validated by Dice alone\n"


@pytest.mark.parametrize("held", [HELD[:1], HELD[1:2]])
def test_heads_that_cannot_validate_are_told_before_anything_is_learned(held, heads, tmp_path):
    """Not after the minutes that pass until the first validation."""
    folder = _folder(tmp_path / "v", map(_of_the_whole, held))
    keep_weights(SliceNet("tiny", len(CLASSES)), tmp_path / upstream.WEIGHTS)
    for train in (
        lambda: train_network(RECIPE, heads, tmp_path, CPU, folder),
        lambda: train_slices(RECIPE, heads, folder, tmp_path, CPU),
    ):
        with pytest.raises(FileNotFoundError, match="v: expected heads with masks, or some that"):
            train()
    assert not list(tmp_path.glob("*.pt"))


def test_worth_is_the_mean_of_what_is_known():
    """AUC and Dice count alike, the subtypes not; where a task is not learned, the other counts."""
    assert worth({"dice": 0.6, "auc_any": 0.8, "auc_epidural": 0.1}) == pytest.approx(0.7)
    assert worth({"dice": 0.6}) == pytest.approx(0.6)
    assert worth({"auc_any": 0.8}) == pytest.approx(0.8)
    assert worth({"auc_epidural": 0.1}) == -math.inf


def test_a_validation_without_masks_shows_none(heads, of_slices, tmp_path, monkeypatch):
    monkeypatch.setattr(upstream, "pictures", lambda *_: pytest.fail("a picture was made"))
    train_slices(RECIPE, heads, of_slices, tmp_path, CPU)


def test_pictures_show_the_largest_bleeds_bare_true_and_found():
    """A row for each slice; true and found are coloured where their mask is, and only there.

    A slice without a mask is not shown as one without a bleed.
    """

    class Finds(torch.nn.Module):
        def forward(self, x, reconstruct):
            masks = torch.full((len(x), len(CLASSES), 32, 32), -1.0)
            masks[:, :, 20:24, 20:24] = 1.0
            return Upstream(torch.zeros(len(x), len(CLASSES)), masks, None)

    labels = torch.zeros(7, 32, 32, dtype=torch.int64)
    for index, side in enumerate((0, 9, 3, 0, 6, 1)):
        labels[index, :side, :side] = 2
    labels[6] = NO_MASK
    shades = torch.linspace(0.1, 0.6, 7)[:, None, None, None].expand(7, 1, 32, 32)
    slices = Batch(shades, labels, torch.zeros(7, len(CLASSES)))
    shown = pictures(Finds(), slices, CPU)
    assert shown.shape == (3, 4 * 32, 3 * 32)
    assert 0 <= float(shown.min()) <= float(shown.max()) <= 1
    order = [round(float(shown[0, 32 * row + 31, 0]), 3) for row in range(4)]
    assert order == [round(float(shades[index, 0, 0, 0]), 3) for index in (1, 4, 2, 5)]
    coloured = (shown.amax(0) - shown.amin(0))[:32] > 0.05
    assert not coloured[:, :32].any()
    assert torch.equal(coloured[:, 32:64], labels[1] > 0)
    found = torch.zeros(32, 32, dtype=torch.bool)
    found[20:24, 20:24] = True
    assert torch.equal(coloured[:, 64:], found)
    few = Batch(*(one[5:] for one in (slices.image, slices.labels, slices.classes)))
    assert pictures(Finds(), few, CPU).shape == (3, 32, 3 * 32)
