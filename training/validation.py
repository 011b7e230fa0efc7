"""How well a network does on heads that it does not learn from, while it learns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from monai.visualize import blend_images
from sklearn.metrics import roc_auc_score
from torch import Tensor

from ich_node.codes import SUBTYPES
from ich_node.infer.network import SliceNet
from ich_node.infer.preprocess import preprocess
from training.augment import move, scan
from training.data import UNTYPED, head_files, load
from training.recipe import Data, Recipe

_HEADS, _SLICES = 60, 5
_SHOWN = 4
# A slice with fewer labelled pixels is neither a bleed to be found nor a clean one.
_SMALLEST_PX = 10
_STILL = Data(turn_deg=0, scale=0, shift=0)


def validation_slices(recipe: Recipe, folder: Path) -> tuple[Tensor, npt.NDArray[np.uint8]]:
    """Return images (slice, 1, row, column) and labels of the same slices each time.

    Raises
    ------
    FileNotFoundError
        The folder holds no head with a mask.
    """
    images, labels = [], []
    for number, path in enumerate(head_files(folder)[:_HEADS]):
        head = load(path)
        if head.labels is None:
            continue
        rng = np.random.default_rng((recipe.seed, 10**9 + number))
        chosen = rng.choice(len(head.hu), min(_SLICES, len(head.hu)), replace=False)
        size = recipe.reads.size
        hu, mask = move(rng, _STILL, head.hu[chosen].astype(np.float32), head.labels[chosen], size)
        if not head.scanned:
            pixel = head.spacing_mm[1] * head.hu.shape[1] / size
            hu = scan(rng, hu, (head.spacing_mm[0], pixel, pixel))
        images.append(preprocess(hu, recipe.reads))
        labels.append(mask)
    if not images:
        raise FileNotFoundError(f"{folder} holds no head with a mask: nothing to validate by")
    return torch.from_numpy(np.concatenate(images))[:, None], np.concatenate(labels)


def validate_slices(
    net: SliceNet, images: Tensor, labels: npt.NDArray[np.uint8], device: torch.device
) -> dict[str, float]:
    """Return AUC of `any` and of each subtype by slice, and Dice of `any` over all voxels."""
    logits, masks = [], []
    with torch.inference_mode(), torch.autocast(device.type, dtype=torch.bfloat16):
        for part in torch.split(images, 16):
            out = net(part.to(device), reconstruct=False)
            logits.append(out.classes.float().cpu())
            masks.append((out.masks[:, 0] > 0).cpu())
    scores, found, true = torch.cat(logits).numpy(), torch.cat(masks).numpy(), labels > 0
    typed = ~(labels == UNTYPED).any((1, 2))
    both, all_ = int((found & true).sum()), int(found.sum() + true.sum())
    values = {"dice": 2 * both / max(1, all_)}
    for index, name in enumerate(("any", *SUBTYPES)):
        pixels = (true if index == 0 else labels == index).sum((1, 2))
        clear = (pixels == 0) | (pixels >= _SMALLEST_PX)
        if index:
            clear &= typed
        truth = pixels[clear] > 0
        if truth.any() and not truth.all():
            values[f"auc_{name}"] = float(roc_auc_score(truth, scores[clear, index]))
    return values


def worth(values: dict[str, float]) -> float:
    """Return what a validation is chosen by: the mean of AUC of `any` and of Dice, where known."""
    known = [values[name] for name in ("auc_any", "dice") if name in values]
    return sum(known) / max(1, len(known))


def pictures(
    net: SliceNet, images: Tensor, labels: npt.NDArray[np.uint8], device: torch.device
) -> Tensor:
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
