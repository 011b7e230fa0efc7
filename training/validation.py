"""How well a network does on heads that it does not learn from, while it learns and after."""

from __future__ import annotations

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
from ich_node.infer.preprocess import preprocess
from training.augment import pose_and_scan
from training.data import UNTYPED, Example, head_files, load
from training.recipe import Data, Losses, Recipe
from training.seeds import VALIDATION

Labels = npt.NDArray[np.uint8]

_HEADS, _SLICES = 60, 5
_SHOWN = 4
# A slice with fewer labelled pixels is neither a bleed to be found nor a clean one.
_SMALLEST_PX = 10
_STILL = Data(turn_deg=0, scale=0, shift=0)
_PART = 16


def validation_slices(recipe: Recipe, folder: Path) -> tuple[Tensor, Labels]:
    """Return images (slice, 1, row, column) and labels of the same slices each time.

    Raises
    ------
    FileNotFoundError
        The folder holds no head with a mask.
    """
    found = []
    for rng, head in _masked(recipe, folder):
        chosen = rng.choice(len(head.hu), min(_SLICES, len(head.hu)), replace=False)
        found.append(_seen(rng, recipe, head, chosen))
    images, labels = zip(*found, strict=True)
    return torch.cat(images), np.concatenate(labels)


def require_masks(recipe: Recipe, folder: Path) -> None:
    """See to it that a folder can validate, before anything is learned.

    Raises
    ------
    FileNotFoundError
        The folder holds no head with a mask.
    """
    next(_masked(recipe, folder))


def _masked(recipe: Recipe, folder: Path) -> Iterator[tuple[np.random.Generator, Example]]:
    count = 0
    for number, path in enumerate(head_files(folder, VALIDATION)[:_HEADS]):
        head = load(path)
        if head.labels is not None:
            count += 1
            yield np.random.default_rng((recipe.seed, 10**9 + number)), head
    if not count:
        raise FileNotFoundError(f"{folder} holds no head with a mask: nothing to validate by")


def _seen(
    rng: np.random.Generator, recipe: Recipe, head: Example, chosen: npt.NDArray[np.int64]
) -> tuple[Tensor, Labels]:
    assert head.labels is not None
    hu, labels = head.hu[chosen].astype(np.float32), head.labels[chosen]
    bare = None if head.scanned else head.spacing_mm
    hu, labels = pose_and_scan(rng, _STILL, hu, labels, recipe.reads.size, bare)
    return torch.from_numpy(preprocess(hu, recipe.reads))[:, None], labels


def validate_slices(
    net: SliceNet, images: Tensor, labels: Labels, device: torch.device, how: Losses
) -> dict[str, float]:
    """Return AUC of `any` and of each subtype by slice, and Dice of `any` over all voxels.

    Each only where the recipe's losses teach it.
    """
    logits, masks = [], []
    with torch.inference_mode(), torch.autocast(device.type, dtype=torch.bfloat16):
        for part in torch.split(images, _PART):
            out = net(part.to(device), reconstruct=False, segment=how.segments)
            logits.append(out.classes.float().cpu())
            if out.masks is not None:
                masks.append((out.masks[:, 0] > 0).cpu())
    values = {}
    if how.masks:
        values["dice"] = _dice([torch.cat(masks).numpy()], [labels])
    if how.classes:
        truth = np.stack([_held(plane[None], _SMALLEST_PX) for plane in labels])
        values |= _areas(torch.cat(logits).numpy(), truth)
    return values


def worth(values: dict[str, float]) -> float:
    """Return what a validation is chosen by: the mean of AUC of `any` and of Dice, where known."""
    known = [values[name] for name in ("auc_any", "dice") if name in values]
    return sum(known) / max(1, len(known))


def pictures(net: SliceNet, images: Tensor, labels: Labels, device: torch.device) -> Tensor:
    """Return the slices with the largest bleeds, one below the other: bare, true and found.

    Returns
    -------
    Tensor
        (3, rows, columns) in 0..1.
    """
    chosen = np.argsort(-(labels > 0).sum((1, 2)), kind="stable")[:_SHOWN]
    some, true = images[chosen], torch.from_numpy(labels[chosen] > 0)
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

    Raises
    ------
    FileNotFoundError
        The folder holds no head with a mask.
    """
    logits, found, true = [], [], []
    for rng, head in _masked(recipe, folder):
        image, labels = _seen(rng, recipe, head, np.arange(len(head.hu)))
        with torch.inference_mode(), torch.autocast(device.type, dtype=torch.bfloat16):
            parts = [net.slices(part.to(device)) for part in torch.split(image, _PART)]
            features, maps = (torch.cat(kind) for kind in zip(*parts, strict=True))
            classes = net.classifier(features.float()[None], torch.tensor([len(features)]))
            masks = net.segmenter(maps.transpose(0, 1)[None])[0, 0]
        logits.append(classes[0].float().cpu().numpy())
        found.append((masks > 0).cpu().numpy())
        true.append(labels)
    truth = np.stack([_held(labels, 1) for labels in true])
    return {"dice": _dice(found, true)} | _areas(np.stack(logits), truth)


def _held(labels: Labels, smallest_px: int) -> npt.NDArray[np.float32]:
    """Return which classes labels hold (6,); NaN where that is not clear."""
    pixels = [labels > 0, *(labels == value for value in range(1, len(CLASSES)))]
    counts = np.array([int(mask.sum()) for mask in pixels])
    held = np.where((counts > 0) & (counts < smallest_px), np.nan, counts > 0)
    if (labels == UNTYPED).any():
        held[1:] = np.nan
    return held.astype(np.float32)


def _areas(scores: npt.NDArray[np.float32], truth: npt.NDArray[np.float32]) -> dict[str, float]:
    """Return the AUC of each class of which there are some and some not."""
    values = {}
    for index, name in enumerate(CLASSES):
        clear = ~np.isnan(truth[:, index])
        known = truth[clear, index] > 0
        if known.any() and not known.all():
            values[f"auc_{name}"] = float(roc_auc_score(known, scores[clear, index]))
    return values


def _dice(found: list[npt.NDArray[np.bool_]], true: list[Labels]) -> float:
    """Return Dice over all voxels of all; 0 where there is nothing."""
    both = sum(int((one & (labels > 0)).sum()) for one, labels in zip(found, true, strict=True))
    all_ = sum(int(one.sum() + (labels > 0).sum()) for one, labels in zip(found, true, strict=True))
    return 2 * both / max(1, all_)
