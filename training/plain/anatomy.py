"""A head without a bleed: where each tissue is, in millimetres from the centre.

Axes as everywhere: z to the vertex, y to the back, x to the left; the arrays are (slice, row,
column).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.plain.noise import Volume, smooth_noise

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Grid:
    """Coordinates of every voxel in the turned and deformed frame of the head, mm."""

    z: Volume
    y: Volume
    x: Volume
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]


@dataclass(frozen=True)
class Anatomy:
    """Tissues of one head. ``depth_mm`` grows inward from the inner table of the skull."""

    grid: Grid
    depth_mm: Volume
    skull_mm: Volume
    scalp_mm: Volume
    inside: Mask
    brain: Mask
    sulci: Mask
    ventricles: Mask
    grey: Mask
    falx: Mask
    fold: Volume


def make_grid(
    rng: np.random.Generator, shape: tuple[int, int, int], spacing_mm: tuple[float, float, float]
) -> Grid:
    """Lay the head into the scan: turned a little, shifted a little, smoothly bent."""
    z, y, x = (
        (np.arange(n, dtype=np.float32) - (n - 1) / 2) * s
        for n, s in zip(shape, spacing_mm, strict=True)
    )
    z = z + np.float32(25 + rng.uniform(-8, 8))  # the scan reaches from the base to the vertex
    zz, yy, xx = np.meshgrid(z, y, x, indexing="ij")
    turn, nod = np.radians(rng.uniform(-10, 10)), np.radians(rng.uniform(-8, 8))
    yy, zz = yy * np.cos(nod) - zz * np.sin(nod), yy * np.sin(nod) + zz * np.cos(nod)
    xx, yy = xx * np.cos(turn) - yy * np.sin(turn), xx * np.sin(turn) + yy * np.cos(turn)
    xx, yy = xx + rng.uniform(-6, 6), yy + rng.uniform(-6, 6)
    bent = [
        np.asarray(axis + smooth_noise(rng, shape, spacing_mm, 60.0) * rng.uniform(0.5, 2.0), "f4")
        for axis in (zz, yy, xx)
    ]
    return Grid(bent[0], bent[1], bent[2], shape, spacing_mm)


def make_anatomy(rng: np.random.Generator, grid: Grid, big_ventricles: bool = False) -> Anatomy:
    """Draw one head.

    Parameters
    ----------
    big_ventricles
        Wide enough to hold blood that one can see.
    """
    outer_mm, radius = _outer_depth(rng, grid)
    skull = np.float32(rng.uniform(5, 8)) + smooth_noise(
        rng, grid.shape, grid.spacing_mm, 40.0
    ) * np.float32(0.8)
    depth = outer_mm - np.clip(skull, 3.0, 12.0)
    inside = (depth > 0) & (radius < 1)
    fold = smooth_noise(rng, grid.shape, grid.spacing_mm, rng.uniform(11, 16))
    atrophy = np.float32(rng.uniform(0.06, 0.22))
    gap = np.float32(rng.uniform(1.0, 3.0))
    reach = np.float32(rng.uniform(9, 14))
    sulci = inside & ((depth < gap) | ((np.abs(fold) < atrophy) & (depth < reach)))
    sulci |= inside & _cisterns(rng, grid)
    ventricles = inside & _ventricles(rng, grid, big_ventricles)
    ribbon = (depth < 5) | ((np.abs(fold) < atrophy + 0.5) & (depth < reach + 4))
    grey = inside & (ribbon | _deep_nuclei(rng, grid))
    falx = inside & (np.abs(grid.x) < 1.2) & (grid.z > 5) & ~_corpus(grid)
    return Anatomy(
        grid=grid,
        depth_mm=depth,
        skull_mm=np.clip(skull, 3.0, 12.0),
        scalp_mm=outer_mm,
        inside=inside,
        brain=inside & ~sulci & ~ventricles & ~falx,
        sulci=sulci & ~ventricles & ~falx,
        ventricles=ventricles,
        grey=grey,
        falx=falx,
        fold=fold,
    )


def _outer_depth(rng: np.random.Generator, grid: Grid) -> tuple[Volume, Volume]:
    """Depth below the outer table along the ray to the centre, mm, and the normalised radius."""
    wide, long_, high = rng.uniform(68, 78), rng.uniform(84, 98), rng.uniform(88, 102)
    low = rng.uniform(52, 62)  # the skull base closes the head below
    power = np.float32(rng.uniform(2.1, 2.6))
    forehead = np.float32(rng.uniform(0.0, 0.12))
    x = np.abs(grid.x) / (wide * (1 + forehead * np.clip(grid.y / long_, -1, 1)))
    y = np.abs(grid.y) / long_
    z = np.where(grid.z > 0, grid.z / high, -grid.z / low)
    radius = np.asarray((x**power + y**power + z**power) ** (1 / power), np.float32)
    distance = np.sqrt(grid.x**2 + grid.y**2 + grid.z**2)
    depth = distance * (1 / np.maximum(radius, 1e-3) - 1)
    return np.asarray(depth, np.float32), radius


def _ellipsoid(
    grid: Grid, centre: tuple[float, float, float], radii: tuple[float, float, float]
) -> Volume:
    """Return the normalised squared distance, below 1 inside; centre and radii (z, y, x), mm."""
    return np.asarray(
        ((grid.z - centre[0]) / radii[0]) ** 2
        + ((grid.y - centre[1]) / radii[1]) ** 2
        + ((grid.x - centre[2]) / radii[2]) ** 2,
        np.float32,
    )


def _ventricles(rng: np.random.Generator, grid: Grid, big: bool) -> Mask:
    """Two lateral ventricles that bend outward to the back, a third and a fourth."""
    size = rng.uniform(1.25, 1.9) if big else rng.uniform(0.6, 1.5)
    found = np.zeros(grid.shape, bool)
    for side in (-1, 1):
        own = size * rng.uniform(0.85, 1.15)
        bend = 7.0 + 0.0028 * (grid.y + 25) ** 2 * (grid.y > -25)
        x = grid.x - side * bend
        arch = grid.z - (24 - 0.006 * grid.y**2)
        found |= (x / (4.5 * own)) ** 2 + (arch / (7 * own)) ** 2 + (grid.y / 42) ** 2 < 1
        horn = _ellipsoid(grid, (12, 32, side * 17), (9 * own, 14 * own, 5 * own))
        found |= horn < 1
    found |= _ellipsoid(grid, (8, 0, 0), (10, 14, 1.8 * size)) < 1
    found |= _ellipsoid(grid, (-28, 32, 0), (7, 5 * size, 5 * size)) < 1
    return found


def _cisterns(rng: np.random.Generator, grid: Grid) -> Mask:
    """Suprasellar star, ambient cisterns and Sylvian fissures."""
    wide = rng.uniform(0.7, 1.3)
    star = _ellipsoid(grid, (-20, -12, 0), (7, 10 * wide, 13 * wide)) < 1
    ring = np.abs(_ellipsoid(grid, (-16, 14, 0), (12, 17, 17)) - 1) < 0.16 * wide
    ring &= np.abs(grid.z + 14) < 10
    taper = 1 - ((grid.y + 8) / 30) ** 2 - np.clip((50 - np.abs(grid.x)) / 22, 0, 1) ** 2
    bent = grid.z - 2 - 0.3 * grid.y - 4 * np.sin(grid.x / 9)
    sylvian: Mask = np.abs(bent) < 3.2 * wide * np.clip(taper, 0, 1)
    return star | ring | sylvian


def _deep_nuclei(rng: np.random.Generator, grid: Grid) -> Mask:
    found = np.zeros(grid.shape, bool)
    for side in (-1, 1):
        shift = rng.uniform(-2, 2)
        found |= _ellipsoid(grid, (8, 10 + shift, side * 12), (10, 14, 8)) < 1
        found |= _ellipsoid(grid, (10, -10 + shift, side * 24), (11, 18, 6)) < 1
    return found


def _corpus(grid: Grid) -> Mask:
    return _ellipsoid(grid, (20, 0, 0), (22, 42, 10)) < 1
