"""SMART-Net's losses, and what we do otherwise.

As published: classes by BCE, masks by Dice and BCE 1:1, reconstruction by L1, consistency by MSE
between class probability and pooled mask probability at half weight. Ours: six outputs, so Dice is
taken for each class over the batch and averaged over the classes that the batch holds, and a cross
entropy tells the subtypes apart.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import (
    adaptive_avg_pool2d,
    binary_cross_entropy_with_logits,
    cross_entropy,
    l1_loss,
    max_pool2d,
    mse_loss,
)

from ich_node.codes import SUBTYPES
from ich_node.infer.network import Upstream

CONSISTENCY_WEIGHT = 0.5
_EPS = 1e-7


def targets_of(labels: Tensor) -> Tensor:
    """Return the six masks (B, 6, ...) of `codes.CLASSES` for labels (B, ...)."""
    subtypes = [labels == 1 + index for index in range(len(SUBTYPES))]
    return torch.stack([labels > 0, *subtypes], 1).float()


def dice_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """One minus Dice over the batch, averaged over the classes that it holds (0 where none)."""
    axes = [axis for axis in range(logits.ndim) if axis != 1]
    found = torch.sigmoid(logits)
    both = (found * targets).sum(axes)
    all_ = found.sum(axes) + targets.sum(axes)
    held = targets.sum(axes) > 0
    loss = 1 - (2 * both + _EPS) / (all_ + _EPS)
    return (loss * held).sum() / held.sum().clamp(min=1)


def subtype_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross entropy of the five subtypes where there is a bleed: what the argmax decides by."""
    bleeds = targets[:, 0] > 0
    if not bool(bleeds.any()):
        return logits.sum() * 0
    chosen = logits[:, 1:].movedim(1, -1)[bleeds]
    return cross_entropy(chosen, targets[:, 1:].argmax(1)[bleeds])


def mask_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Dice and BCE, 1:1, as published, and our cross entropy of the subtypes."""
    return (
        dice_loss(logits, targets)
        + binary_cross_entropy_with_logits(logits, targets)
        + subtype_loss(logits, targets)
    )


def upstream_loss(out: Upstream, image: Tensor, targets: Tensor, rec_weight: float = 1.0) -> Tensor:
    """Loss of the slice network.

    Parameters
    ----------
    image
        (B, 1, row, column), what is to be reconstructed.
    targets
        (B, 6, row, column).
    rec_weight
        Of the reconstruction, where ``out`` has one.
    """
    classes, masks = out.classes.float(), out.masks.float()
    held = targets.flatten(2).amax(2)
    pooled = adaptive_avg_pool2d(max_pool2d(torch.sigmoid(masks), 16), 1).flatten(1)
    loss = (
        binary_cross_entropy_with_logits(classes, held)
        + mask_loss(masks, targets)
        + CONSISTENCY_WEIGHT * mse_loss(torch.sigmoid(classes), pooled)
    )
    if out.reconstruction is None:
        return loss
    return loss + rec_weight * l1_loss(out.reconstruction.float(), image)
