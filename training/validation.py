"""How well a network does on heads that it does not learn from, while it learns and after."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from monai.visualize import blend_images
from sklearn.metrics import roc_auc_score
from torch import Tensor

from ich_node.codes import CLASSES
from ich_node.infer.network import SliceNet, SmartNet
from training.batches import NO_MASK, Batch, joined, seen
from training.data import Example, head_classes, head_files, known_classes, load
from training.recipe import Data, Losses, Recipe
from training.seeds import VALIDATION

_HEADS, _SLICES = 60, 5
_SHOWN = 4
# A slice with fewer pixels of a class is neither a bleed to be found nor a clean one.
_SMALLEST_PX = 10
_STILL = Data(
    turn_deg=0, scale=0, shift=0, brightness=0, windowed=0, smallest_px=0, clear_px=_SMALLEST_PX
)
_PART = 16


def validation_slices(recipe: Recipe, folder: Path) -> Batch:
    """Return the same slices each time, with what is known of them."""
    still = recipe.model_copy(update={"data": _STILL})
    parts = []
    for rng, head in _heads(recipe, folder):
        chosen = rng.choice(len(head.hu), min(_SLICES, len(head.hu)), replace=False)
        parts.append(seen(rng, still, head, chosen))
    return joined(parts)


def _heads(recipe: Recipe, folder: Path) -> Iterator[tuple[np.random.Generator, Example]]:
    for number, path in enumerate(head_files(folder, VALIDATION)[:_HEADS]):
        yield np.random.default_rng((recipe.seed, 10**9 + number)), load(path)


def require_figures(folder: Path, masked: bool, bleeds: npt.NDArray[np.float32]) -> None:
    """See to it that a folder can tell better from worse, and say what it cannot tell.

    Parameters
    ----------
    masked
        Whether anything has a mask.
    bleeds
        (case,): 1, 0, or NaN where it is not known.

    Raises
    ------
    FileNotFoundError
        It gives neither Dice nor AUC of `any`.
    """
    parted = bool((bleeds == 0).any() and (bleeds == 1).any())
    if not masked and not parted:
        raise FileNotFoundError(
            f"{folder}: expected heads with masks, or some that bleed and some that do not; there "
            "is neither: nothing to validate by"
        )
    if not masked:
        print(f"{folder} holds no masks: validated by AUC of any alone")
    if not parted:
        print(f"{folder} does not hold both bleeds and none: validated by Dice alone")


def require_volumes(recipe: Recipe, folder: Path) -> None:
    """See to it that whole heads of a folder can validate, before anything is learned.

    Raises
    ------
    FileNotFoundError
        As of `require_figures`.
    """
    masked, bleeds = False, []
    for _, head in _heads(recipe, folder):
        masked |= head.labels is not None
        known = known_classes(head.labels, head.slice_classes)
        bleeds.append(head_classes(known, head.classes)[0])
    require_figures(folder, masked, np.array(bleeds, np.float32))


def validate_slices(
    net: SliceNet, held_out: Batch, device: torch.device, how: Losses
) -> dict[str, float]:
    """Return AUC of `any` and of each subtype by slice, and Dice of `any` over all voxels.

    Each only where the recipe's losses teach it and it is known of the slices.
    """
    logits, masks = [], []
    with torch.inference_mode(), torch.autocast(device.type, dtype=torch.bfloat16):
        for part in torch.split(held_out.image, _PART):
            out = net(part.to(device), reconstruct=False, segment=how.segments)
            logits.append(out.classes.float().cpu())
            if out.masks is not None:
                masks.append((out.masks[:, 0] > 0).cpu())
    values = {}
    known = have_mask(held_out)
    if how.masks and known.any():
        values["dice"] = _dice([torch.cat(masks)[known]], [held_out.labels[known] > 0])
    if how.classes:
        values |= _areas(torch.cat(logits).numpy(), held_out.classes.numpy())
    return values


def have_mask(slices: Batch) -> Tensor:
    """Return which slices have a mask, bool (B,)."""
    return (slices.labels != NO_MASK).flatten(1).all(1)


def worth(values: dict[str, float]) -> float:
    """Return what a validation is chosen by: the mean of AUC of `any` and of Dice, where known.

    Where neither is, less than any other.
    """
    known = [values[name] for name in ("auc_any", "dice") if name in values]
    return sum(known) / len(known) if known else -math.inf


def pictures(net: SliceNet, held_out: Batch, device: torch.device) -> Tensor:
    """Return the slices with the largest bleeds, one below the other: bare, true and found.

    Of those that have a mask.

    Returns
    -------
    Tensor
        (3, rows, columns) in 0..1.
    """
    known = torch.nonzero(have_mask(held_out))[:, 0]
    true = held_out.labels > 0
    sizes = true[known].sum((1, 2))
    chosen = known[torch.argsort(sizes, descending=True, stable=True)[:_SHOWN]]
    some, true = held_out.image[chosen], true[chosen]
    with torch.inference_mode(), torch.autocast(device.type, dtype=torch.bfloat16):
        found = (net(some.to(device), reconstruct=False).masks[:, 0] > 0).cpu()
    rows = [
        torch.cat([plane.expand(3, -1, -1), _over(plane, here), _over(plane, there)], 2)
        for plane, here, there in zip(some, true, found, strict=True)
    ]
    return torch.cat(rows, 1)


def _over(plane: Tensor, mask: Tensor) -> Tensor:
    """Lay a mask over a slice (1, row, column)."""
    blended: Tensor = blend_images(plane, mask[None].float(), 0.5, "autumn", rescale_arrays=False)
    return blended.float()


def validate_volumes(
    net: SmartNet, recipe: Recipe, folder: Path, device: torch.device
) -> dict[str, float]:
    """Return AUC of `any` and of each subtype by head, and Dice of `any` over all voxels.

    Each only where it is known of the heads.
    """
    still = recipe.model_copy(update={"data": _STILL.model_copy(update={"clear_px": 0})})
    logits, truth, found, true = [], [], [], []
    for rng, head in _heads(recipe, folder):
        held = seen(rng, still, head, np.arange(len(head.hu)))
        with torch.inference_mode(), torch.autocast(device.type, dtype=torch.bfloat16):
            parts = [net.slices(part.to(device)) for part in torch.split(held.image, _PART)]
            features, maps = (torch.cat(kind) for kind in zip(*parts, strict=True))
            classes = net.volumes(features.float()[None], torch.tensor([len(features)]))
            if head.labels is not None:
                masks = net.segmenter(maps.transpose(0, 1)[None])[0, 0]
                found.append((masks > 0).cpu())
                true.append(held.labels > 0)
        logits.append(classes[0].float().cpu().numpy())
        truth.append(head_classes(held.classes.numpy(), head.classes))
    dice = {"dice": _dice(found, true)} if found else {}
    return dice | _areas(np.stack(logits), np.stack(truth))


def _areas(scores: npt.NDArray[np.float32], truth: npt.NDArray[np.float32]) -> dict[str, float]:
    """Return the AUC of each class of which there are some and some not."""
    values = {}
    for index, name in enumerate(CLASSES):
        clear = ~np.isnan(truth[:, index])
        known = truth[clear, index] > 0
        if known.any() and not known.all():
            values[f"auc_{name}"] = float(roc_auc_score(known, scores[clear, index]))
    return values


def _dice(found: list[Tensor], true: list[Tensor]) -> float:
    """Return Dice over all voxels of all; 0 where there is nothing."""
    both = sum(int((one & other).sum()) for one, other in zip(found, true, strict=True))
    all_ = sum(int(one.sum() + other.sum()) for one, other in zip(found, true, strict=True))
    return 2 * both / max(1, all_)
