"""One head measured against what is known of it, on its own grid."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from ich_node.codes import CLASSES, SUBTYPES
from ich_node.infer.predictor import Predictor
from training.data import Example, head_classes, known_classes
from training.evaluate.metrics import dice

# Slices of each head whose features are kept.
_FEATURES = 6

Labels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class HeadRow:
    """What came of one head; each tuple in the order of `codes.CLASSES`.

    Parameters
    ----------
    seed
        Of a simulated head; of a folder's its number there, by name.
    held
        1 of a class that the head holds, 0 of one that it does not, NaN where that is not known.
    true_ml, found_ml
        Volume of the truth and of the mask, mL; NaN where there is no mask of the truth.
    dice
        1 where both masks are empty, NaN where there is no mask of the truth.
    probabilities, present
        Of the volume, calibrated, and the verdict.
    seconds
        Of the prediction alone.
    """

    seed: int
    slices: int
    thickness_mm: float
    matrix: int
    held: tuple[float, ...]
    true_ml: tuple[float, ...]
    found_ml: tuple[float, ...]
    dice: tuple[float, ...]
    probabilities: tuple[float, ...]
    present: tuple[bool, ...]
    seconds: float


@dataclass(frozen=True)
class HeadSlice:
    """One slice of a head; ``held`` to ``probabilities`` as of `HeadRow`."""

    seed: int
    index: int
    held: tuple[float, ...]
    true_ml: tuple[float, ...]
    probabilities: tuple[float, ...]


@dataclass(frozen=True)
class HeadResult:
    """All that is kept of one head; ``features`` (some slices, features) of slices ``of``."""

    head: HeadRow
    slices: tuple[HeadSlice, ...]
    of: tuple[int, ...]
    features: npt.NDArray[np.float16]


def measure_head(predictor: Predictor, number: int, head: Example) -> HeadResult:
    """Measure one head on its own grid."""
    hu = head.hu.astype(np.float32)
    began = time.monotonic()
    with torch.inference_mode():
        raw = predictor.run(hu)
    prediction = predictor.conclude(raw, hu.shape)
    seconds = time.monotonic() - began
    voxel_ml = float(np.prod(head.spacing_mm)) / 1000
    of_slices = known_classes(head.labels, head.slice_classes)
    held = head_classes(of_slices, head.classes)
    ml = _true_ml(head, of_slices, voxel_ml)
    row = HeadRow(
        number,
        len(hu),
        head.spacing_mm[0],
        hu.shape[1],
        _floats(held),
        _floats(np.where(held == 0, 0.0, ml.sum(0))),
        _floats(class_ml(prediction.labels, voxel_ml).sum(0)),
        _class_dice(prediction.labels, head.labels, held),
        tuple(prediction.scores[name].probability for name in CLASSES),
        tuple(prediction.scores[name].present for name in CLASSES),
        seconds,
    )
    probabilities = predictor.slice_probabilities(raw)
    slices = tuple(
        HeadSlice(
            number,
            index,
            _floats(of_slices[index]),
            _floats(ml[index]),
            _floats(probabilities[index]),
        )
        for index in range(len(hu))
    )
    kept = _kept(number, of_slices[:, 0])
    return HeadResult(row, slices, tuple(map(int, kept)), raw.features[kept].astype(np.float16))


def class_ml(labels: Labels, voxel_ml: float) -> npt.NDArray[np.float64]:
    """Return mL of each of `codes.CLASSES` in each slice (slice, 6)."""
    subtypes = [(labels == 1 + index).sum((1, 2)) for index in range(len(SUBTYPES))]
    return np.stack([(labels > 0).sum((1, 2)), *subtypes], 1) * voxel_ml


def _true_ml(
    head: Example, of_slices: npt.NDArray[np.float32], voxel_ml: float
) -> npt.NDArray[np.float64]:
    """Return mL of each class in each slice (slice, 6); NaN where a class is, or may be, unseen."""
    unseen = np.full(of_slices.shape, np.nan)
    drawn = unseen if head.labels is None else class_ml(head.labels, voxel_ml)
    return np.where(of_slices == 0, 0.0, np.where(np.isnan(of_slices), np.nan, drawn))


def _class_dice(
    found: Labels, true: Labels | None, held: npt.NDArray[np.float32]
) -> tuple[float, ...]:
    """Return Dice of each of `codes.CLASSES`; NaN where there is no mask of the truth."""
    if true is None:
        return (math.nan,) * len(CLASSES)
    of_any = dice(found > 0, true > 0)
    of_subtypes = [dice(found == 1 + i, true == 1 + i) for i in range(len(SUBTYPES))]
    return _floats(np.where(np.isnan(held), np.nan, [of_any, *of_subtypes]))


def _kept(seed: int, bleeds: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """Choose slices to keep the features of: half of them with a bleed where there are as many."""
    rng = np.random.default_rng((seed, 4))
    bleeding, clean = np.flatnonzero(bleeds == 1), np.flatnonzero(bleeds == 0)
    half = rng.permutation(bleeding)[: _FEATURES // 2]
    return np.sort(np.r_[half, rng.permutation(clean)[: _FEATURES - len(half)]])


def _floats(values: npt.NDArray[np.floating] | Sequence[float]) -> tuple[float, ...]:
    return tuple(round(float(value), 6) for value in values)
