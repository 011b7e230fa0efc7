"""What the losses teach, and what they must not."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ich_node.codes import CLASSES, SUBTYPES
from ich_node.infer.network import Upstream
from training.batches import NO_MASK
from training.losses import (
    class_loss,
    consistency_loss,
    dice_loss,
    mask_loss,
    published_dice_loss,
    targets_of,
    upstream_loss,
)
from training.real.records import UNTYPED
from training.recipe import Losses

KINDS = [Losses(missed=0.2), Losses(dice="published", bce=1, subtypes=0)]


def _gradient(labels, how, logits=None):
    logits = torch.zeros(len(labels), 6, *labels.shape[1:]) if logits is None else logits
    logits.requires_grad_(True)
    mask_loss(logits, labels, how).backward()
    return logits.grad


def test_targets_are_one_mask_a_class():
    """Order of `codes.CLASSES`: the union, then each subtype's own voxels."""
    targets = targets_of(torch.tensor([[[0, 1], [5, 5]]]))
    assert targets.shape == (1, 6, 2, 2)
    assert targets[0, 0].tolist() == [[0, 1], [1, 1]]
    assert targets.sum((0, 2, 3)).tolist() == [3, 1, 0, 0, 0, 2]


@pytest.mark.parametrize("how", KINDS, ids=["ours", "published"])
def test_perfect_masks_cost_nothing(how):
    """Dice and BCE vanish where the masks are right, and not where they are wrong."""
    labels = torch.randint(0, 6, (2, 16, 16), generator=torch.Generator().manual_seed(0))
    right = (targets_of(labels) * 2 - 1) * 50
    assert float(mask_loss(right, labels, how)) < 1e-3
    assert float(mask_loss(-right, labels, how)) > 1


@pytest.mark.parametrize("how", KINDS, ids=["ours", "published"])
def test_a_slice_without_a_mask_teaches_no_mask(how):
    """Beside one that has one: no gradient at all, and the loss is that of the other alone."""
    labels = torch.randint(0, 6, (2, 16, 16), generator=torch.Generator().manual_seed(0))
    labels[1] = NO_MASK
    assert float(_gradient(labels, how)[1].abs().max()) == 0
    assert float(_gradient(labels, how)[0].abs().max()) > 0
    logits = torch.randn(2, 6, 16, 16, generator=torch.Generator().manual_seed(1))
    both, alone = mask_loss(logits, labels, how), mask_loss(logits[:1], labels[:1], how)
    torch.testing.assert_close(both, alone)


@pytest.mark.parametrize("how", KINDS, ids=["ours", "published"])
def test_a_bleed_of_unknown_subtype_teaches_any_alone(how):
    """Its voxels say nothing for a subtype nor against one; those around it do."""
    labels = torch.zeros(1, 16, 16, dtype=torch.int64)
    labels[0, 4:8, 4:8] = UNTYPED
    gradient = _gradient(labels, how)
    assert float(gradient[0, 1:, 4:8, 4:8].abs().max()) == 0
    assert float(gradient[0, 0, 4:8, 4:8].max()) < 0
    assert float(gradient[0, 1:, 10:, 10:].min()) > 0


def test_no_mask_at_all_costs_nothing():
    labels = torch.full((2, 8, 8), NO_MASK)
    for how in KINDS:
        assert float(mask_loss(torch.randn(2, 6, 8, 8), labels, how)) == 0


def test_dice_counts_only_classes_that_are_there():
    """Ours: a class without a voxel in the batch neither helps nor hurts; none at all gives 0."""
    targets = targets_of(torch.ones(1, 8, 8, dtype=torch.int64))
    logits = torch.full((1, 6, 8, 8), -50.0)
    logits[:, :2] = 50  # `any` and `epidural`: right
    assert float(dice_loss(logits, targets)) == pytest.approx(0, abs=1e-4)
    assert float(dice_loss(logits, torch.zeros_like(targets))) == 0


def test_dice_by_its_name_weighs_a_small_class_otherwise():
    """A missed bleed of a few voxels beside a found large one: published hardly sees it."""
    labels = torch.ones(1, 32, 32, dtype=torch.int64)
    labels[0, :2, :2] = 3
    logits = (targets_of(labels) * 2 - 1) * 50
    logits[:, 3] = -50  # intraparenchymal is label 3, and output 3
    targets = targets_of(labels)
    assert float(published_dice_loss(logits, targets)) < 0.01
    assert float(dice_loss(logits, targets)) == pytest.approx(1 / 3, abs=1e-3)
    ours, published = (
        float(mask_loss(logits, labels, Losses(dice=kind, subtypes=0)))
        for kind in ("ours", "published")
    )
    assert ours - published == pytest.approx(1 / 3, abs=0.01)


def test_published_dice_of_a_batch_without_bleeds_is_nothing():
    logits = torch.full((2, 6, 8, 8), 5.0)
    assert float(published_dice_loss(logits, torch.zeros_like(logits))) == 0


def test_subtypes_weigh_what_tells_them_apart():
    """Confusing two subtypes costs more with the cross entropy than without."""
    labels = torch.ones(1, 8, 8, dtype=torch.int64)
    confused = (targets_of(torch.full_like(labels, 2)) * 2 - 1) * 5
    costs = [
        float(mask_loss(confused, labels, Losses(subtypes=weight))) for weight in (0.0, 1.0, 2.0)
    ]
    assert costs[1] - costs[0] == pytest.approx(10, abs=0.1)
    assert costs[2] - costs[1] == pytest.approx(10, abs=0.1)


def test_a_class_that_is_said_nowhere_is_learned_again():
    """A few voxels at a logit of -12: nothing else moves them, and the other voxels stay alone."""
    labels = torch.zeros(1, 64, 64, dtype=torch.int64)
    labels[0, 10:12, 10:20] = 1 + SUBTYPES.index("subarachnoid")
    own = CLASSES.index("subarachnoid")

    def pull(missed):
        said_nowhere = torch.full((1, 6, 64, 64), -12.0)
        return -_gradient(labels, Losses(subtypes=0, missed=missed), said_nowhere)

    without, with_it = pull(0), pull(0.2)
    gained = float((with_it - without)[0, own].sum())
    assert gained == pytest.approx(0.2 / 2, rel=1e-3)  # of two classes
    assert float(without[0, own].sum()) < 0.05 * gained
    clear = labels == 0
    torch.testing.assert_close(with_it[0, :, clear[0]], without[0, :, clear[0]])


@given(st.lists(st.sampled_from([0.0, 1.0, float("nan")]), min_size=6, max_size=6))
def test_unknown_classes_have_no_gradient(values):
    """Those that are known have the mean of theirs; a row of NaN costs nothing."""
    logits = torch.linspace(-1, 1, 6).reshape(1, 6).requires_grad_()
    classes = torch.tensor([values])
    loss = class_loss(logits, classes)
    loss.backward()
    known = ~np.isnan(values)
    assert ((logits.grad[0].numpy() != 0) == known).all()
    if known.any():
        own = torch.nn.functional.binary_cross_entropy_with_logits(
            logits.detach()[0, known], classes[0, known]
        )
        torch.testing.assert_close(loss.detach(), own)
    else:
        assert float(loss.detach()) == 0


def test_consistency_is_between_class_and_pooled_mask():
    """As published: MSE of the class's probability and the mean of 16x16 maxima of the mask's."""
    masks = torch.full((1, 6, 64, 64), -50.0)
    masks[0, 0, 3, 5] = masks[0, 0, 40, 60] = 50  # two of sixteen tiles
    classes = torch.full((1, 6), -50.0)
    classes[0, 0] = 50
    how = Losses(follows="published")
    assert float(consistency_loss(classes, masks, how)) == pytest.approx((1 - 2 / 16) ** 2 / 6)


@pytest.mark.parametrize("follows", ["ours", "published"])
def test_who_follows_whom(follows):
    """Published: class and mask move; ours: the class follows the mask's strongest pixels alone."""
    masks = torch.full((1, 6, 32, 32), -50.0)
    masks[:, :, 4:12, 4:12] = 50  # more than what counts as the strongest few
    masks.requires_grad_()
    right = torch.full((1, 6), 50.0)
    loss = consistency_loss(right, masks, Losses(follows=follows))
    assert float(loss.detach()) == pytest.approx(0.0 if follows == "ours" else 0.75**2)
    classes = torch.zeros(1, 6, requires_grad=True)
    soft = torch.rand(1, 6, 32, 32, generator=torch.Generator().manual_seed(0)).requires_grad_()
    consistency_loss(classes, soft, Losses(follows=follows)).backward()
    assert float(classes.grad.abs().min()) > 0
    assert (soft.grad is not None) == (follows == "published")


def test_bce_weighs_beside_dice():
    labels = torch.ones(1, 8, 8, dtype=torch.int64)
    logits = torch.zeros(1, 6, 8, 8)
    costs = [float(mask_loss(logits, labels, Losses(bce=weight))) for weight in (0, 1, 3)]
    assert costs[1] - costs[0] == pytest.approx(np.log(2), abs=1e-4)
    assert costs[2] - costs[0] == pytest.approx(3 * np.log(2), abs=1e-4)


@pytest.mark.parametrize("part", ["classes", "masks", "reconstruction", "consistency"])
def test_every_task_counts_by_its_weight(part):
    """The upstream loss rises with each of its four parts alone, and not at all at weight 0."""
    labels = torch.ones(1, 64, 64, dtype=torch.int64)
    targets = targets_of(labels)
    held = targets.flatten(2).amax(2)
    image = torch.full((1, 1, 64, 64), 0.5)
    good = Upstream((held * 2 - 1) * 20, (targets * 2 - 1) * 20, image)
    bad = {
        "classes": good._replace(classes=-good.classes),
        "masks": good._replace(masks=-good.masks),
        "reconstruction": good._replace(reconstruction=image + 1),
        "consistency": good._replace(classes=good.classes * 0),
    }[part]
    how = Losses(reconstruct_every=1)
    twice = how.model_copy(update={part: 2 * getattr(how, part)})
    costs = [
        {name: float(cost) for name, cost in upstream_loss(out, image, labels, held, by).items()}
        for out, by in ((good, how), (bad, how), (bad, twice))
    ]
    assert sum(costs[0].values()) < 0.01
    assert costs[1][part] > 0.1
    assert costs[2][part] == pytest.approx(2 * costs[1][part])
    without = how.model_copy(update={part: 0.0})
    if part == "reconstruction":  # the network is not asked for it
        bad = bad._replace(reconstruction=None)
    assert part not in upstream_loss(bad, image, labels, held, without)


def test_a_reconstruction_now_and_then_weighs_as_much_as_one_in_each_step():
    image = torch.zeros(1, 1, 16, 16)
    out = Upstream(torch.zeros(1, 6), torch.zeros(1, 6, 16, 16), image + 1)
    labels, classes = torch.zeros(1, 16, 16, dtype=torch.int64), torch.zeros(1, len(CLASSES))
    for every in (1, 3):
        parts = upstream_loss(out, image, labels, classes, Losses(reconstruct_every=every))
        assert float(parts["reconstruction"]) == every
