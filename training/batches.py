"""Batches of slices; the n-th of a run is always the same, so that a run can be taken up."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ich_node.codes import CLASSES
from training.augment import look, pose_and_scan, without_crumbs
from training.data import Example, head_files, known_classes, load
from training.recipe import Recipe
from training.seeds import TRAINING

# Of a slice whose mask is not known.
NO_MASK = -1


@dataclass(frozen=True)
class Batch:
    """Slices with their truth.

    Parameters
    ----------
    image
        float32 (B, 1, row, column), as `preprocess` gives it.
    labels
        int64 (B, row, column): as of `data.Example`; `NO_MASK` all over a slice without one.
    classes
        float32 (B, 6), NaN where it is not known.
    """

    image: Tensor
    labels: Tensor
    classes: Tensor

    def pin_memory(self) -> Batch:
        """Return the batch in pinned memory; torch's loader asks for it by this name."""
        return Batch(*(one.pin_memory() for one in (self.image, self.labels, self.classes)))


class Slices(Dataset[Batch]):
    """Batch by number, of the heads in a folder; those that come in meanwhile are used too."""

    def __init__(self, recipe: Recipe, folder: Path) -> None:
        self._recipe, self._folder = recipe, folder

    def __getitem__(self, number: int) -> Batch:
        cv2.setNumThreads(0)
        heads = head_files(self._folder, TRAINING)
        rng = np.random.default_rng((self._recipe.seed, number))
        parts: list[Batch] = []
        count = 0
        while count < self._recipe.data.batch:
            head = load(heads[int(rng.integers(len(heads)))])
            parts.append(take(rng, self._recipe, head))
            count += len(parts[-1].image)
        whole, size = joined(parts), self._recipe.data.batch
        return Batch(whole.image[:size], whole.labels[:size], whole.classes[:size])


def batches(recipe: Recipe, folder: Path, first: int, *, pinned: bool = False) -> Iterator[Batch]:
    """Give the batches of a run from a number on, prepared in processes of their own.

    Parameters
    ----------
    pinned
        In memory that a GPU copies from while it computes.

    Raises
    ------
    FileNotFoundError
        The folder holds no heads.
    SeedError
        One of them is not to be learned from.
    """
    head_files(folder, TRAINING)
    loader = DataLoader(
        Slices(recipe, folder),
        sampler=range(first, first + recipe.upstream.steps),
        batch_size=None,
        num_workers=recipe.data.workers,
        prefetch_factor=6 if recipe.data.workers else None,
        pin_memory=pinned,
        generator=torch.Generator(),  # its own, or taking up a run would change what dropout draws
    )
    # Ctrl-C goes to all processes of a run; the workers, which inherit this, leave it to the run.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return iter(loader)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def joined(parts: Sequence[Batch]) -> Batch:
    """Return the slices of several batches as those of one."""
    names = ("image", "labels", "classes")
    return Batch(*(torch.cat([getattr(part, name) for part in parts]) for name in names))


def take(rng: np.random.Generator, recipe: Recipe, head: Example) -> Batch:
    """Take slices of a head and look at them as the network will."""
    return seen(rng, recipe, head, choose(rng, recipe, head))


def seen(
    rng: np.random.Generator, recipe: Recipe, head: Example, chosen: npt.NDArray[np.int64]
) -> Batch:
    """Return slices of a head, chosen by their numbers, as the network will see them."""
    hu = head.hu[chosen].astype(np.float32)
    masked = head.labels is not None
    labels = head.labels[chosen] if head.labels is not None else np.zeros(hu.shape, np.uint8)
    bare = head.spacing_mm if recipe.data.scanner and not head.scanned else None
    hu, labels = pose_and_scan(rng, recipe.data, hu, labels, recipe.reads.size, bare)
    labels = without_crumbs(labels, recipe.data.smallest_px)
    classes = head.slice_classes[chosen]
    if masked:
        classes = clear_classes(labels, classes, recipe.data.clear_px)
    truth = labels.astype(np.int64) if masked else np.full(labels.shape, NO_MASK)
    image = look(rng, recipe.data, hu, recipe.reads)
    return Batch(*(torch.from_numpy(one) for one in (image[:, None], truth, classes)))


def clear_classes(
    labels: npt.NDArray[np.uint8], stated: npt.NDArray[np.float32], clear_px: int
) -> npt.NDArray[np.float32]:
    """Return the classes of slices (slice, 6); NaN where too few pixels show one."""
    known = [labels > 0, *(labels == 1 + index for index in range(len(CLASSES) - 1))]
    pixels = np.stack([mask.sum((1, 2)) for mask in known], 1)
    doubtful = (pixels > 0) & (pixels < clear_px)
    return np.asarray(np.where(doubtful, np.nan, known_classes(labels, stated)), np.float32)


def choose(rng: np.random.Generator, recipe: Recipe, head: Example) -> npt.NDArray[np.int64]:
    """Choose slices of a head: see `recipe.Data`."""
    count = len(head.hu)
    bleeding = np.flatnonzero(np.nan_to_num(head.slice_classes[:, CLASSES.index("any")]) > 0)
    if recipe.data.sampling == "published":
        if head.labels is None or not head.labels.any():
            return rng.choice(bleeding if len(bleeding) else count, 1)
        voxels = (head.labels > 0).sum((1, 2))
        return rng.choice(count, 1, p=voxels / voxels.sum())
    chosen = [rng.choice(count, 1 if len(bleeding) else 2)]
    if len(bleeding):
        chosen.append(rng.choice(bleeding, min(2, len(bleeding)), replace=False))
    return np.concatenate(chosen)
