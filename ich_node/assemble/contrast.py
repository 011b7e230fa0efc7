"""The check that a head holds no contrast medium: bright vessels all over the brain.

Acute blood stays below the threshold; calcium, drains and clips reach it at few places or few
heights, vessels with contrast medium at many of both. Only spots deep in the brain that do not hang
together with bone are counted. What no header says is so seen; a faint or late phase is not.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk  # noqa: N813 - the name that its own documentation uses

from ich_node.assemble.head import AIR_HU, block_means, look_inside
from ich_node.errors import Reason, SeriesRefused

# Noise goes, a vessel of 2 mm stays.
BLOCK_MM = (2.5, 1.0, 1.0)
# Clotted blood has at most 100 HU.
BRIGHT_HU = 115.0
# Denser than any vessel: bone, metal, thick calcium.
HIGHEST_HU = 700.0
# Scalp and skull are 12 to 15 mm thick.
DEPTH_MM, COARSE_MM = 20.0, 4.0
# A spot is the cut through a vessel, not a clot or a plate of bone.
SPOT_MM2 = (3.0, 150.0)
# The skull base begins where so much of a slice is bone deep in the head; from there up to
# the clinoids and the sella all bright spots are bone.
BASE_HU, BASE_MM2, ABOVE_BASE_MM = 300.0, 100.0, 10.0
# At so many places in a slice, in slices of so much height together.
SPOTS = 3
HEIGHT_MM = 25.0


def check_contrast(
    hu: npt.NDArray[np.float32], spacing_mm: tuple[float, float, float]
) -> dict[str, Any]:
    """Return what was measured, for the record.

    Parameters
    ----------
    hu
        Shape (slice, row, column), HU, axial, of a head.
    spacing_mm
        Along the axes of ``hu``, mm.

    Raises
    ------
    SeriesRefused
        CONTRAST.
    """
    spots, step_mm = bright_spots(hu, spacing_mm)
    height = float(np.count_nonzero(spots >= SPOTS)) * step_mm
    if height >= HEIGHT_MM:
        raise SeriesRefused(
            Reason.CONTRAST,
            f"contrast medium: over {height:.0f} mm of height there are {SPOTS} or more separate "
            f"spots above {BRIGHT_HU:.0f} HU in a slice deep in the brain ({spots.max()} in one), "
            f"less than {HEIGHT_MM:.0f} mm are expected without; only head CT without contrast "
            "medium is read",
        )
    return {"bright_vessels_mm": round(height, 1)}


def bright_spots(
    hu: npt.NDArray[np.float32], spacing_mm: tuple[float, float, float]
) -> tuple[npt.NDArray[np.int64], float]:
    """Count the bright spots deep in the brain in each slice looked at; and its height, mm."""
    factors = tuple(
        max(1, int(size // spacing)) for size, spacing in zip(BLOCK_MM, spacing_mm, strict=True)
    )
    blocks = block_means(hu, (factors[0], factors[1], factors[2]))
    step, row, column = (n * part for n, part in zip(factors, spacing_mm, strict=True))
    deep = _deep(blocks, row, column)
    inside = look_inside(hu, spacing_mm)
    heights = (np.arange(len(blocks)) + 0.5) * step / inside.height_mm
    shows_brain = inside.shows_brain[np.minimum(heights.astype(int), len(inside.brain) - 1)]
    spots, bone_mm2 = _look(blocks, deep, row * column)
    looked_at = _above_base(shows_brain & (bone_mm2 < BASE_MM2), step)
    counts = np.zeros_like(spots)
    counts[looked_at] = spots[looked_at]
    return counts, step


def _above_base(free: npt.NDArray[np.bool_], step_mm: float) -> range:
    """Return the longest run of slices free of deep bone, without those next to the skull base."""
    edges = np.flatnonzero(np.diff(np.pad(free.astype(np.int8), 1)))
    runs = [range(*pair) for pair in edges.reshape(-1, 2).tolist()]
    longest = max(runs, key=len, default=range(0))
    return longest[int(np.ceil(ABOVE_BASE_MM / step_mm)) :]


def _deep(
    blocks: npt.NDArray[np.float32], row_mm: float, column_mm: float
) -> npt.NDArray[np.bool_]:
    """Tell of every voxel whether air is far from it, within its slice.

    The distance is measured on a coarse grid: a few mm do not count.
    """
    rows, columns = (max(1, round(COARSE_MM / part)) for part in (row_mm, column_mm))
    solid = blocks[:, ::rows, ::columns] > AIR_HU
    height, width = solid.shape[1:]
    far = int(DEPTH_MM / (rows * row_mm)), int(DEPTH_MM / (columns * column_mm))
    padded = np.pad(solid, ((0, 0), (far[0], far[0]), (far[1], far[1])))
    deep = solid.copy()
    for down in range(-far[0], far[0] + 1):
        for right in range(-far[1], far[1] + 1):
            if np.hypot(down * rows * row_mm, right * columns * column_mm) <= DEPTH_MM:
                top, left = far[0] + down, far[1] + right
                deep &= padded[:, top : top + height, left : left + width]
    whole = deep.repeat(rows, 1).repeat(columns, 2)
    return np.asarray(whole[:, : blocks.shape[1], : blocks.shape[2]])


def _look(
    blocks: npt.NDArray[np.float32], deep: npt.NDArray[np.bool_], pixel_mm2: float
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """For each slice, count the bright spots that lie deep, and measure the bone there, mm2."""
    parts = _parts(blocks >= BRIGHT_HU)
    bright = parts > 0
    areas = np.bincount(parts.ravel()) * pixel_mm2
    shallow = np.bincount(parts[bright & ~deep], minlength=len(areas)) > 0
    peak = np.zeros(len(areas), np.float32)
    np.maximum.at(peak, parts[bright], blocks[bright])
    small = areas <= SPOT_MM2[1]
    is_spot = small & (areas >= SPOT_MM2[0]) & ~shallow & (peak <= HIGHEST_HU)
    slice_of = np.zeros(len(areas), np.int64)
    slice_of[parts[bright]] = np.nonzero(bright)[0]
    spots = np.bincount(slice_of[1:][is_spot[1:]], minlength=len(blocks))
    bone = bright & deep & (blocks >= BASE_HU) & ~small[parts]
    return spots, bone.sum(axis=(1, 2)) * pixel_mm2


def _parts(bright: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint32]:
    """Number what hangs together within a slice; no number stands in two slices."""
    slices, rows, columns = bright.shape
    # One under the other with a blank line between: one call for all.
    pile = np.pad(bright, ((0, 0), (0, 1), (0, 0))).reshape(slices * (rows + 1), columns)
    image = sitk.GetImageFromArray(pile.astype(np.uint8))
    parts = sitk.GetArrayFromImage(sitk.ConnectedComponent(image, True))
    return np.asarray(parts.reshape(slices, rows + 1, columns)[:, :-1])
