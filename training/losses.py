"""SMART-Net's losses, and what we do otherwise; a recipe names which.

As published: classes by BCE, masks by Dice and BCE 1:1, reconstruction by L1, consistency by MSE
between class probability and pooled mask probability at half weight. Ours: six outputs, so Dice is
taken for each class over the batch and averaged over the classes that the batch holds, and a cross
entropy tells the subtypes apart.
"""

from __future__ import annotations

import torch
from monai.losses import DiceLoss
from torch import Tensor
from torch.nn.functional import (
    adaptive_avg_pool2d,
    binary_cross_entropy_with_logits,
    cross_entropy,
    l1_loss,
    max_pool2d,
    mse_loss,
    softplus,
)

from ich_node.codes import SUBTYPES
from ich_node.infer.network import Upstream, strongest
from training.real.records import UNTYPED
from training.recipe import Losses

_EPS = 1e-7
_POOL = 16


def targets_of(labels: Tensor) -> Tensor:
    """Return the six masks (B, 6, ...) of `codes.CLASSES` for labels (B, ...)."""
    subtypes = [labels == 1 + index for index in range(len(SUBTYPES))]
    return torch.stack([labels > 0, *subtypes], 1).float()


def known_of(labels: Tensor) -> Tensor:
    """Return where each of the six masks is known (B, 6, ...): 0 without a mask or a subtype."""
    masked = labels >= 0
    typed = masked & (labels != UNTYPED)
    return torch.stack([masked, *[typed] * len(SUBTYPES)], 1).float()


def class_loss(logits: Tensor, classes: Tensor) -> Tensor:
    """BCE of the classes that are known (not NaN)."""
    known = ~torch.isnan(classes)
    loss = binary_cross_entropy_with_logits(logits, torch.nan_to_num(classes), reduction="none")
    return (loss * known).sum() / known.sum().clamp(min=1)


def dice_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """One minus Dice over the batch, averaged over the classes that it holds (0 where none)."""
    axes = [axis for axis in range(logits.ndim) if axis != 1]
    found = torch.sigmoid(logits)
    both = (found * targets).sum(axes)
    all_ = found.sum(axes) + targets.sum(axes)
    held = targets.sum(axes) > 0
    loss = 1 - (2 * both + _EPS) / (all_ + _EPS)
    return (loss * held).sum() / held.sum().clamp(min=1)


def published_dice_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """One minus Dice over the batch and all outputs at once; 0 for a batch without a bleed."""
    if not bool(targets.any()):
        return logits.sum() * 0
    flat = [tensor.reshape(1, 1, -1) for tensor in (logits, targets)]
    loss: Tensor = DiceLoss(sigmoid=True, smooth_nr=0.0, smooth_dr=_EPS)(*flat)
    return loss


def subtype_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross entropy of the five subtypes where there is one: what the argmax decides by."""
    bleeds = targets[:, 1:].any(1)
    if not bool(bleeds.any()):
        return logits.sum() * 0
    chosen = logits[:, 1:].movedim(1, -1)[bleeds]
    return cross_entropy(chosen, targets[:, 1:].movedim(1, -1)[bleeds].argmax(1))


def missed_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """BCE of the voxels that are each class's own, averaged over the classes that there are."""
    axes = [axis for axis in range(logits.ndim) if axis != 1]
    count = targets.sum(axes)
    means = (softplus(-logits) * targets).sum(axes) / count.clamp(min=1)
    return means.sum() / (count > 0).sum().clamp(min=1)


def mask_loss(logits: Tensor, labels: Tensor, how: Losses) -> Tensor:
    """Dice and BCE, 1:1, as published, and what we add: see `recipe.Losses`.

    Parameters
    ----------
    logits
        (B, 6, ...).
    labels
        (B, ...), values as of `batches.Batch`.
    """
    targets, seen = targets_of(labels), logits
    if bool((labels >= 0).all() and (labels != UNTYPED).all()):  # a third of the time
        spread = binary_cross_entropy_with_logits(logits, targets)
    else:
        known = known_of(labels)
        bce = binary_cross_entropy_with_logits(logits, targets, reduction="none")
        spread = (bce * known).sum() / known.sum().clamp(min=1)
        seen = torch.where(known > 0, logits, torch.full_like(logits, -30.0))
        targets = targets * known
    dice = dice_loss if how.dice == "ours" else published_dice_loss
    loss = dice(seen, targets) + how.bce * spread
    if how.subtypes:
        loss = loss + how.subtypes * subtype_loss(logits, targets)
    if how.missed:
        loss = loss + how.missed * missed_loss(logits, targets)
    return loss


def consistency_loss(classes: Tensor, masks: Tensor, how: Losses) -> Tensor:
    """MSE between a class's probability and what its mask's probability pools to."""
    if how.follows == "published":
        pooled = adaptive_avg_pool2d(max_pool2d(torch.sigmoid(masks), _POOL), 1).flatten(1)
    else:
        pooled = torch.sigmoid(strongest(masks)).detach()
    return mse_loss(torch.sigmoid(classes), pooled)


def upstream_loss(
    out: Upstream, image: Tensor, labels: Tensor, classes: Tensor, how: Losses
) -> dict[str, Tensor]:
    """Return the weighted parts of the slice network's loss, by name.

    Parameters
    ----------
    image, labels, classes
        As of `batches.Batch`.
    """
    logits = out.classes.float()
    parts: dict[str, Tensor] = {}
    if how.classes:
        parts["classes"] = how.classes * class_loss(logits, classes)
    if out.masks is not None and how.masks:
        parts["masks"] = how.masks * mask_loss(out.masks.float(), labels, how)
    if out.masks is not None and how.consistency:
        pull = consistency_loss(logits, out.masks.float(), how)
        parts["consistency"] = how.consistency * pull
    if out.reconstruction is not None:
        weight = how.reconstruction * how.reconstruct_every
        parts["reconstruction"] = weight * l1_loss(out.reconstruction.float(), image)
    return parts
