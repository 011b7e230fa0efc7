"""The check that a volume shows a head: brain with bone around it.

Cheap and lenient: it keeps abdomens, chests, limbs and phantoms away from a model that has seen
heads only, and passes whatever may be a head, operated and cropped ones included.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ich_node.errors import Reason, SeriesRefused

# Voxels are averaged over blocks of this size: noise of sharp kernels goes, thin skull stays.
BLOCK_MM = (5.0, 2.0, 2.0)
# A block from here on is bone; scalp, blood and falx stay below.
BONE_HU = 150.0
# Blocks of brain, liquor and blood; fat and air lie below, bone and contrast above.
BRAIN_HU = (-15.0, 100.0)
FAT_HU = (-200.0, -25.0)
# Below this a block is air, or lung.
AIR_HU = -300.0
# Inside: left, right, front and back, bone is met before air in at least so many directions. Three,
# so that a skull opened or cropped on one side still counts; scalp and holder do not.
SIDES_OF_BONE = 3
# A slice shows brain where of what lies inside (bone apart) ...
BRAIN_FRACTION = 0.70  # ... at least so much is brain (a chest: lung; an abdomen: fat),
FAT_FRACTION = 0.12  # ... at most so much is fat,
MIN_AREA_CM2 = 15.0  # ... and the area is at least that of a small head near the vertex,
MAX_AREA_CM2 = 320.0  # ... at most that of a large head (an abdomen has 400 and more),
BONY_BORDER = 0.45  # ... and at least so much of its border is bone (a chest: ribs with gaps).
# A head has so much of it at least; whole adult heads have 1000 to 1700 mL.
MIN_BRAIN_ML = 60.0


@dataclass(frozen=True)
class Inside:
    """What lies within bone, slice by slice.

    ``area_cm2``, the fractions of it that are ``brain`` and ``fat``, and the fraction of its
    ``border`` that is bone; ``height_mm`` is that of one slice looked at.
    """

    area_cm2: npt.NDArray[np.float64]
    brain: npt.NDArray[np.float64]
    fat: npt.NDArray[np.float64]
    border: npt.NDArray[np.float64]
    height_mm: float

    @property
    def shows_brain(self) -> npt.NDArray[np.bool_]:
        """For each slice looked at, whether it looks like brain in a skull."""
        sized = (self.area_cm2 >= MIN_AREA_CM2) & (self.area_cm2 <= MAX_AREA_CM2)
        filled = (self.brain >= BRAIN_FRACTION) & (self.fat <= FAT_FRACTION)
        return np.asarray(sized & filled & (self.border >= BONY_BORDER))

    @property
    def brain_ml(self) -> float:
        """Brain-like tissue in the slices that show brain, mL."""
        areas = (self.area_cm2 * self.brain)[self.shows_brain]
        return float(areas.sum() * self.height_mm / 10)


def check_head(
    hu: npt.NDArray[np.float32], spacing_mm: tuple[float, float, float]
) -> dict[str, Any]:
    """Return what was measured, for the record.

    Parameters
    ----------
    hu
        Shape (slice, row, column), HU, axial.
    spacing_mm
        Along the axes of ``hu``, mm.

    Raises
    ------
    SeriesRefused
        NOT_A_HEAD.
    """
    inside = look_inside(hu, spacing_mm)
    if inside.brain_ml < MIN_BRAIN_ML:
        best = int(np.argmax(inside.area_cm2 * inside.brain))
        raise SeriesRefused(
            Reason.NOT_A_HEAD,
            f"no brain within a skull: {inside.brain_ml:.0f} mL of brain-like tissue enclosed by "
            f"bone in {int(inside.shows_brain.sum())} of {len(inside.brain)} slices looked at, at "
            f"least {MIN_BRAIN_ML:.0f} mL are expected (the best slice encloses "
            f"{inside.area_cm2[best]:.0f} cm2, {100 * inside.brain[best]:.0f} % of it brain-like, "
            f"{100 * inside.fat[best]:.0f} % fat, {100 * inside.border[best]:.0f} % of its border "
            "bone)",
        )
    return {"brain_like_ml": round(inside.brain_ml)}


def look_inside(hu: npt.NDArray[np.float32], spacing_mm: tuple[float, float, float]) -> Inside:
    """Measure what bone encloses in every slice looked at."""
    slices, rows, columns = (
        min(count, max(1, int(size // spacing)))
        for count, size, spacing in zip(hu.shape, BLOCK_MM, spacing_mm, strict=True)
    )
    blocks = block_means(hu, (slices, rows, columns))
    inside = (_sides_of_bone(blocks) >= SIDES_OF_BONE) & (blocks < BONE_HU)
    count = inside.sum(axis=(1, 2))
    block_cm2 = rows * spacing_mm[1] * columns * spacing_mm[2] / 100

    def fraction(limits: tuple[float, float]) -> npt.NDArray[np.float64]:
        within = inside & (blocks >= limits[0]) & (blocks <= limits[1])
        return np.asarray(within.sum(axis=(1, 2)) / np.maximum(count, 1))

    return Inside(
        area_cm2=count * block_cm2,
        brain=fraction(BRAIN_HU),
        fat=fraction(FAT_HU),
        border=_bony_border(inside, blocks >= BONE_HU),
        height_mm=slices * spacing_mm[0],
    )


def block_means(
    hu: npt.NDArray[np.float32], factors: tuple[int, int, int]
) -> npt.NDArray[np.float32]:
    """Average over blocks of so many slices, rows, columns; what fills no block is left out."""
    counts = [size // factor for size, factor in zip(hu.shape, factors, strict=True)]
    cut = hu[tuple(slice(0, n * factor) for n, factor in zip(counts, factors, strict=True))]
    split = [part for pair in zip(counts, factors, strict=True) for part in pair]
    means: npt.NDArray[np.float32] = cut.reshape(split).mean((1, 3, 5))
    return means


def _sides_of_bone(blocks: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Count in how many of the four in-plane directions bone is met before air.

    Air ends the way, so that the shell of a head holder encloses nothing.
    """
    bone, air = blocks >= BONE_HU, blocks < AIR_HU
    met = np.zeros(blocks.shape, np.uint8)
    for axis in (1, 2):
        for there in (bone, air), (np.flip(bone, axis), np.flip(air, axis)):
            seen = _last(there[0], axis) > _last(there[1], axis)
            met += seen if there[0] is bone else np.flip(seen, axis)
    return met


def _bony_border(
    inside: npt.NDArray[np.bool_], bone: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    """For each slice, the fraction of the faces between inside and not inside that face bone."""
    faces, bony = np.zeros(len(inside)), np.zeros(len(inside))
    for axis in (1, 2):
        for step in (1, -1):
            beyond = ~np.roll(inside, step, axis)
            faces += (inside & beyond).sum(axis=(1, 2))
            bony += (inside & np.roll(bone, step, axis)).sum(axis=(1, 2))
    return np.asarray(bony / np.maximum(faces, 1))


def _last(mask: npt.NDArray[np.bool_], axis: int) -> npt.NDArray[np.int32]:
    """Index along an axis of the last True so far, counted from 1; 0 where there is none."""
    shape = [-1 if each == axis else 1 for each in range(mask.ndim)]
    count = np.arange(1, mask.shape[axis] + 1, dtype=np.int32).reshape(shape)
    last: npt.NDArray[np.int32] = np.maximum.accumulate(np.where(mask, count, 0), axis=axis)
    return last
