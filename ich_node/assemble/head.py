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
BLOCK_MM = 2.0
# Slices are looked at no closer than this.
SLICE_STEP_MM = 4.0
# A block from here on is bone; scalp, blood and falx stay below.
BONE_HU = 150.0
# Blocks of brain, liquor and blood; fat and air lie below, bone and contrast above.
BRAIN_HU = (-15.0, 100.0)
FAT_HU = (-200.0, -25.0)
# Inside: bone is met in at least so many of the four directions left, right, front and back.
# Three, so that a skull opened or cropped on one side still counts.
SIDES_OF_BONE = 3
# A slice shows brain where of what lies inside (bone apart) ...
BRAIN_FRACTION = 0.70  # ... at least so much is brain (a chest: lung; an abdomen: fat),
FAT_FRACTION = 0.12  # ... at most so much is fat,
MIN_AREA_CM2 = 15.0  # ... and the area is at least that of a small head near the vertex,
MAX_AREA_CM2 = 320.0  # ... and at most that of a large head (an abdomen has 400 and more).
# A head has so much of it at least; whole adult heads have 1000 to 1700 mL.
MIN_BRAIN_ML = 60.0


@dataclass(frozen=True)
class Inside:
    """What lies within bone, slice by slice: area in cm2, and fractions of brain and fat."""

    area_cm2: npt.NDArray[np.float64]
    brain: npt.NDArray[np.float64]
    fat: npt.NDArray[np.float64]
    height_mm: float

    @property
    def shows_brain(self) -> npt.NDArray[np.bool_]:
        """For each slice looked at, whether it looks like brain in a skull."""
        sized = (self.area_cm2 >= MIN_AREA_CM2) & (self.area_cm2 <= MAX_AREA_CM2)
        filled = (self.brain >= BRAIN_FRACTION) & (self.fat <= FAT_FRACTION)
        return np.asarray(sized & filled)

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
            f"{100 * inside.fat[best]:.0f} % fat)",
        )
    return {"brain_like_ml": round(inside.brain_ml)}


def look_inside(hu: npt.NDArray[np.float32], spacing_mm: tuple[float, float, float]) -> Inside:
    """Measure what bone encloses in every slice looked at."""
    step = max(1, int(SLICE_STEP_MM // spacing_mm[0]))
    factors = [max(1, round(BLOCK_MM / spacing)) for spacing in spacing_mm[1:]]
    blocks = _block_means(hu[::step], factors[0], factors[1])
    bone = blocks >= BONE_HU
    inside = (_sides_of_bone(bone) >= SIDES_OF_BONE) & ~bone
    count = inside.sum(axis=(1, 2))
    block_cm2 = factors[0] * spacing_mm[1] * factors[1] * spacing_mm[2] / 100

    def fraction(limits: tuple[float, float]) -> npt.NDArray[np.float64]:
        within = inside & (blocks >= limits[0]) & (blocks <= limits[1])
        return np.asarray(within.sum(axis=(1, 2)) / np.maximum(count, 1))

    return Inside(count * block_cm2, fraction(BRAIN_HU), fraction(FAT_HU), step * spacing_mm[0])


def _block_means(hu: npt.NDArray[np.float32], rows: int, columns: int) -> npt.NDArray[np.float32]:
    """Average over blocks of rows x columns; what does not fill a block is left out."""
    slices, height, width = hu.shape
    height, width = height // rows, width // columns
    cut = hu[:, : height * rows, : width * columns]
    means: npt.NDArray[np.float32] = cut.reshape(slices, height, rows, width, columns).mean((2, 4))
    return means


def _sides_of_bone(bone: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """Count in how many of the four in-plane directions bone is met."""
    met = np.zeros(bone.shape, np.uint8)
    for axis in (1, 2):
        met += np.maximum.accumulate(bone, axis=axis)
        met += np.flip(np.maximum.accumulate(np.flip(bone, axis), axis=axis), axis)
    return met
