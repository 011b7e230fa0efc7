"""A real head without a bleed, whose licence allows it, as background for drawn bleeds.

Its slices are bent, mirrored and scaled in the plane, so that each head drawn on it differs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pydicom
from scipy import ndimage

from training.simulate.anatomy import Anatomy, Grid, Push, pushed
from training.simulate.atlas import Mask, Volume
from training.simulate.noise import smooth_noise
from training.simulate.tissue import smoothstep

_SIZE = 256
# What the average's brain reaches to: lowest and highest slice that show brain, front and back, mm.
_BRAIN_Z, _BRAIN_Y = (-62.0, 74.0), (-68.0, 104.0)


@dataclass(frozen=True)
class Background:
    """A scan resampled to 256x256 and what stands where in it.

    ``maps``: HU, depth below the inner table, grey, white, distance to the ventricles, and the
    position in the average head (z, y, x) in mm: float32 (8, slice, row, column).
    """

    maps: Volume
    spacing_mm: tuple[float, float, float]


@lru_cache(maxsize=2)
def read_background(folder: Path) -> Background:
    """Read a folder of axial CT images of one head.

    Positions need not be even: the bleeds are drawn on slices as they are.

    Raises
    ------
    FileNotFoundError
        No DICOM file is there.
    """
    datasets = [pydicom.dcmread(path) for path in sorted(folder.glob("*.dcm"))]
    if not datasets:
        raise FileNotFoundError(f"{folder} holds no *.dcm of a head without a bleed")
    normal = np.cross(*np.reshape(datasets[0].ImageOrientationPatient, (2, 3)).astype(float))
    datasets.sort(key=lambda item: float(np.dot(item.ImagePositionPatient, normal)))
    heights = [float(np.dot(item.ImagePositionPatient, normal)) for item in datasets]
    hu = np.stack([_plane(item) for item in datasets])
    pixel = float(datasets[0].PixelSpacing[0]) * int(datasets[0].Rows) / _SIZE
    spacing = (float(np.mean(np.diff(heights))), pixel, pixel)
    return Background(_maps(hu, spacing), spacing)


def _plane(item: pydicom.Dataset) -> Volume:
    hu = item.pixel_array * float(item.RescaleSlope) + float(item.RescaleIntercept)
    hu = np.clip(hu.astype(np.float32), -1000, 3071)
    return np.asarray(cv2.resize(hu, (_SIZE, _SIZE), interpolation=cv2.INTER_AREA))


def _maps(hu: Volume, spacing: tuple[float, float, float]) -> Volume:
    smooth = np.stack([cv2.GaussianBlur(plane, (0, 0), 1.0) for plane in hu])
    inside = _inside(smooth, hu)
    depth = ndimage.distance_transform_edt(inside, sampling=spacing)
    depth -= ndimage.distance_transform_edt(~inside, sampling=spacing)
    matter = smoothstep(smooth, 8, 22)
    grey = matter * smoothstep(smooth, 27, 33)
    wet = (smooth < 15) & (depth > 24)
    wet = ndimage.binary_opening(wet, np.ones((1, 3, 3)))
    ventricle = ndimage.distance_transform_edt(~wet, sampling=spacing)
    ventricle -= ndimage.distance_transform_edt(wet, sampling=spacing)
    places = _places(inside)
    return np.stack([hu, depth, grey, matter - grey, ventricle, *places]).astype(np.float32)


def _inside(smooth: Volume, hu: Volume) -> Mask:
    """The cavity of the skull: the largest piece of soft tissue, its furrows closed."""
    soft = (smooth > -5) & (smooth < 75) & (hu < 110)
    core = ndimage.binary_erosion(soft, np.ones((1, 7, 7)))
    pieces, count = ndimage.label(core)
    sizes = ndimage.sum_labels(core, pieces, np.arange(1, count + 1))
    largest = pieces == 1 + int(np.argmax(sizes))
    grown = ndimage.binary_dilation(largest, np.ones((1, 9, 9))) & soft
    closed = ndimage.binary_closing(grown, np.ones((1, 9, 9)))
    filled = np.stack([ndimage.binary_fill_holes(plane) for plane in closed])
    return np.asarray(filled & (hu < 150), bool)


def _places(inside: Mask) -> list[Volume]:
    """Position of each voxel in the average head, by the box that holds the brain."""
    found = []
    ranges = (_BRAIN_Z, _BRAIN_Y, None)
    for axis, reach in enumerate(ranges):
        others = tuple(other for other in range(3) if other != axis)
        held = np.flatnonzero(inside.any(others))
        index = np.arange(inside.shape[axis], dtype=np.float32)
        share = (index - held[0]) / max(1, held[-1] - held[0])
        low, high = reach if reach is not None else (-68.0, 68.0)
        shape = [1, 1, 1]
        shape[axis] = -1
        found.append(np.broadcast_to((low + share * (high - low)).reshape(shape), inside.shape))
    return found


def bend_background(
    rng: np.random.Generator, background: Background, pushes: Sequence[Push] = ()
) -> tuple[Anatomy, Volume]:
    """Return a head bent from the real one and its HU.

    Parameters
    ----------
    pushes
        What moves the brain in the plane, but not the skull.
    """
    slices = background.maps.shape[1]
    stretch = np.exp(rng.uniform(-0.10, 0.10, 2))
    spacing = background.spacing_mm
    grid = Grid((slices, _SIZE, _SIZE), spacing)
    turn = np.radians(rng.uniform(-12, 12))
    mirror = -1.0 if rng.random() < 0.5 else 1.0
    y, x = np.meshgrid(*[np.arange(_SIZE, dtype=np.float32) - 127.5] * 2, indexing="ij")
    rows = (y * np.cos(turn) - x * np.sin(turn)) * stretch[0] + 127.5
    columns = mirror * (x * np.cos(turn) + y * np.sin(turn)) * stretch[1] + 127.5
    wide, fine = rng.uniform(0.5, 3.0), rng.uniform(0.0, 1.0)
    bent = [
        wide * smooth_noise(rng, grid.shape, spacing, 70.0)
        + fine * smooth_noise(rng, grid.shape, spacing, 25.0)
        for _ in range(2)
    ]
    rows, columns = rows + bent[0], columns + bent[1]
    depth, z, y_mm, x_mm = _looked_up(background.maps[[1, 5, 6, 7]], rows, columns)
    down, left = _pushed(background, (z, y_mm, x_mm), depth, pushes)
    hu, brain_depth, grey, white, ventricle = _looked_up(
        background.maps[:5], rows + down, columns + left
    )
    head = Anatomy(grid, z, y_mm, x_mm, depth, brain_depth, grey, white, ventricle, None)
    return head, _recoloured(rng, head, hu)


def _looked_up(maps: Volume, rows: Volume, columns: Volume) -> Volume:
    """Return maps (map, slice, row, column) at other rows and columns of their slices."""
    found = np.empty_like(maps)
    for index, at in enumerate(zip(columns.astype("f4"), rows.astype("f4"), strict=True)):
        for name, stack in enumerate(maps):
            found[name, index] = cv2.remap(
                stack[index], *at, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
            )
    return found


def _pushed(
    background: Background,
    at: tuple[Volume, Volume, Volume],
    depth_mm: Volume,
    pushes: Sequence[Push],
) -> tuple[Volume, Volume]:
    """Return by how many rows and columns further the brain is looked up.

    A push fades towards the skull so slowly that no bone is looked up inside of it.
    """
    strength = sum(float(np.hypot(push.by[1], push.by[2])) for push in pushes)
    moved = pushed(at, at, depth_mm, pushes, max(6.0, 1.5 * strength))
    row_mm = float(np.diff(background.maps[6, 0, :2, 0])[0])
    column_mm = float(np.diff(background.maps[7, 0, 0, :2])[0])
    return (moved[1] - at[1]) / row_mm, (moved[2] - at[2]) / column_mm


def _recoloured(rng: np.random.Generator, head: Anatomy, hu: Volume) -> npt.NDArray[np.float32]:
    """Change the contrast of the brain a little, and what noise the real scan holds."""
    if rng.random() < 0.6:
        hu = np.stack([cv2.GaussianBlur(plane, (0, 0), rng.uniform(0.4, 1.0)) for plane in hu])
    soft = (hu > -20) & (hu < 90) & head.inside
    middle = rng.uniform(28, 35)
    changed = middle + (hu - 31) * rng.uniform(0.8, 1.25)
    changed += rng.uniform(0, 1.5) * head.grid.noise(rng, 50.0)
    return np.asarray(np.where(soft, changed, hu), np.float32)
