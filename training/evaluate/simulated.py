"""Simulated heads of the test seeds, which no training and no calibration saw."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from ich_node.codes import CLASSES, SUBTYPES
from ich_node.infer.predictor import Predictor, load_predictor
from training.data import TEST_SEEDS, draw_scan
from training.evaluate.metrics import dice
from training.simulate import SimulatedHead

# Slices of each head whose features are kept.
_FEATURES = 6

Labels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class HeadRow:
    """What came of one head; each tuple in the order of `codes.CLASSES`.

    Parameters
    ----------
    true_ml, found_ml
        Volume of the truth and of the mask, mL.
    dice
        1 where both masks are empty.
    probabilities, present
        Of the volume, calibrated, and the verdict.
    seconds
        Of the prediction alone.
    """

    seed: int
    slices: int
    thickness_mm: float
    matrix: int
    true_ml: tuple[float, ...]
    found_ml: tuple[float, ...]
    dice: tuple[float, ...]
    probabilities: tuple[float, ...]
    present: tuple[bool, ...]
    seconds: float


@dataclass(frozen=True)
class HeadSlice:
    """One slice of a head; ``true_ml`` and ``probabilities`` in the order of `codes.CLASSES`."""

    seed: int
    index: int
    true_ml: tuple[float, ...]
    probabilities: tuple[float, ...]


@dataclass(frozen=True)
class HeadResult:
    """All that is kept of one head; ``features`` (some slices, features) of slices ``of``."""

    head: HeadRow
    slices: tuple[HeadSlice, ...]
    of: tuple[int, ...]
    features: npt.NDArray[np.float16]


def measure_heads(
    bundle: str, count: int, processes: int, templates: Path | None
) -> Iterator[HeadResult]:
    """Draw and measure the first heads of the test seeds, in their order.

    Parameters
    ----------
    bundle
        A shipped bundle's name, or a folder.
    templates
        As of `simulate_head`.

    Raises
    ------
    BundleError
        The bundle cannot be trusted or does not fit.
    """
    seeds = TEST_SEEDS[:count]
    if processes == 1:
        predictor = load_predictor(bundle)
        yield from (measure_seed(predictor, seed, templates) for seed in seeds)
        return
    with ProcessPoolExecutor(processes, get_context("spawn"), _start, (bundle,)) as pool:
        yield from pool.map(partial(_in_process, templates=templates), seeds)


_loaded: list[Predictor] = []


def _start(bundle: str) -> None:
    """Load the model once in each process."""
    torch.set_num_threads(1)
    _loaded.append(load_predictor(bundle))


def _in_process(seed: int, templates: Path | None) -> HeadResult:
    return measure_seed(_loaded[0], seed, templates)


def measure_seed(predictor: Predictor, seed: int, templates: Path | None) -> HeadResult:
    """Draw the head of a seed, in the scan that the seed draws, and measure it."""
    return measure_head(predictor, draw_scan(seed, templates=templates))


def measure_head(predictor: Predictor, head: SimulatedHead) -> HeadResult:
    """Measure one head on its own grid."""
    began = time.monotonic()
    with torch.inference_mode():
        raw = predictor.run(head.hu)
    prediction = predictor.conclude(raw, head.hu.shape)
    seconds = time.monotonic() - began
    voxel_ml = float(np.prod(head.spacing_mm)) / 1000
    of_slices = class_ml(head.labels, voxel_ml)
    row = HeadRow(
        head.seed,
        len(head.hu),
        head.spacing_mm[0],
        head.hu.shape[1],
        _floats(of_slices.sum(0)),
        _floats(class_ml(prediction.labels, voxel_ml).sum(0)),
        class_dice(prediction.labels, head.labels),
        tuple(prediction.scores[name].probability for name in CLASSES),
        tuple(prediction.scores[name].present for name in CLASSES),
        seconds,
    )
    probabilities = predictor.slice_probabilities(raw)
    slices = tuple(
        HeadSlice(head.seed, index, _floats(of_slices[index]), _floats(probabilities[index]))
        for index in range(len(head.hu))
    )
    kept = _kept(head.seed, of_slices[:, 0])
    return HeadResult(row, slices, tuple(map(int, kept)), raw.features[kept].astype(np.float16))


def class_ml(labels: Labels, voxel_ml: float) -> npt.NDArray[np.float64]:
    """Return mL of each of `codes.CLASSES` in each slice (slice, 6)."""
    subtypes = [(labels == 1 + index).sum((1, 2)) for index in range(len(SUBTYPES))]
    return np.stack([(labels > 0).sum((1, 2)), *subtypes], 1) * voxel_ml


def class_dice(found: Labels, true: Labels) -> tuple[float, ...]:
    """Return Dice of each of `codes.CLASSES`."""
    of_any = dice(found > 0, true > 0)
    return (of_any, *(dice(found == 1 + i, true == 1 + i) for i in range(len(SUBTYPES))))


def _kept(seed: int, bleed_ml: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Choose slices to keep the features of: half of them with a bleed where there are as many."""
    rng = np.random.default_rng((seed, 4))
    bleeding, clean = np.flatnonzero(bleed_ml > 0), np.flatnonzero(bleed_ml == 0)
    half = rng.permutation(bleeding)[: _FEATURES // 2]
    return np.sort(np.r_[half, rng.permutation(clean)[: _FEATURES - len(half)]])


def _floats(values: npt.NDArray[np.float64] | Sequence[float]) -> tuple[float, ...]:
    return tuple(round(float(value), 6) for value in values)
