"""A head without a bleed: the average bent, turned and scaled into a scan, with where things are.

Axes as everywhere: z to the vertex, y to the back, x to the left; arrays are (slice, row, column).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from training.simulate.atlas import Atlas, Mask, Point, Volume
from training.simulate.noise import smooth_noise


@dataclass(frozen=True)
class Grid:
    """Where a scan's voxels lie: slices, rows, columns and the distance between them, mm.

    Thin slices stand for the thickness of thick ones: the scanner averages them.
    """

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]

    @property
    def down_mm(self) -> Volume:
        """Height towards the table, (1, row, 1), mm: patients lie on their back, however turned."""
        return np.arange(self.shape[1], dtype=np.float32)[None, :, None] * self.spacing_mm[1]

    def noise(self, rng: np.random.Generator, length_mm: float) -> Volume:
        """Return a smooth field of zero mean and unit variance."""
        return smooth_noise(rng, self.shape, self.spacing_mm, length_mm)

    def level_mm(self, mask: Mask, share: float) -> float:
        """Return the height, towards the table, below which a part of what a mask spans lies."""
        rows = np.repeat(np.arange(mask.shape[1]), mask.sum((0, 2)))
        if not len(rows):
            return 0.0
        high, low = np.quantile(rows, (0.01, 0.99)) * self.spacing_mm[1]
        return float(high + share * (low - high))


@dataclass(frozen=True)
class Push:
    """What a bleed does to the brain around it: from a place, in a direction, mm."""

    place: Point
    by: Point
    width_mm: float


@dataclass(frozen=True)
class Anatomy:
    """One head on the grid of its scan.

    Parameters
    ----------
    z, y, x
        Position of every voxel in the average head, mm.
    depth_mm
        Below the inner table of the skull; negative outside.
    brain_depth_mm
        The same for the brain, which may have shrunk or moved.
    grey, white
        Parts of the voxel, 0..1; what is missing to 1 inside the skull is fluid.
    ventricle_mm
        Distance to the ventricles; negative inside.
    average_hu
        Of the average head CT; None without one.
    """

    grid: Grid
    z: Volume
    y: Volume
    x: Volume
    depth_mm: Volume
    brain_depth_mm: Volume
    grey: Volume
    white: Volume
    ventricle_mm: Volume
    average_hu: Volume | None

    @property
    def inside(self) -> Mask:
        """The cavity of the skull."""
        return self.depth_mm > 0

    @property
    def ventricles(self) -> Mask:
        """Fluid inside the brain."""
        return (self.ventricle_mm < 0) & (self.brain_depth_mm > 6)

    @property
    def brain(self) -> Mask:
        """Grey and white matter."""
        return (self.grey + self.white > 0.5) & self.inside & (self.ventricle_mm > 0)

    def away_mm(self, place: Point) -> Volume:
        """Return the distance of each voxel from a place in the average head, mm."""
        z, y, x = self.z - place[0], self.y - place[1], self.x - place[2]
        return np.asarray(np.sqrt(z * z + y * y + x * x), np.float32)


def make_anatomy(
    rng: np.random.Generator,
    atlas: Atlas,
    grid: Grid,
    span_mm: tuple[float, float],
    pushes: Sequence[Push],
) -> Anatomy:
    """Bend the average head into a scan.

    Parameters
    ----------
    span_mm
        Height of the lowest and of the highest slice in the average head, mm.
    pushes
        What moves the brain, but not the skull.
    """
    z, y, x = _lie(rng, grid, span_mm)
    maps = atlas.form.at(z, y, x)
    depth = maps[0]
    bz, by, bx = _brain_position(rng, grid, (z, y, x), depth, pushes)
    grey, white = atlas.tissue.at(bz, by, bx)
    brain_depth, ventricle = atlas.form.at(bz, by, bx)[:2]
    return Anatomy(
        grid=grid,
        z=z,
        y=y,
        x=x,
        depth_mm=depth,
        brain_depth_mm=brain_depth,
        grey=grey,
        white=white,
        ventricle_mm=ventricle + np.float32(_ventricle_size(rng)),
        average_hu=maps[2] if atlas.has_base else None,
    )


def _ventricle_size(rng: np.random.Generator) -> float:
    """Distance by which the ventricles are narrower (positive) or wider than average, mm."""
    return float(rng.uniform(-1.5, 1.0) if rng.random() < 0.6 else rng.uniform(-6.0, -1.5))


def _lie(
    rng: np.random.Generator, grid: Grid, span_mm: tuple[float, float]
) -> tuple[Volume, Volume, Volume]:
    """Lay the head into the scan: scaled, turned, shifted, smoothly bent."""
    low, high = span_mm
    slices, rows, columns = grid.shape
    scale = rng.uniform(0.90, 1.10) * (1 + rng.uniform(-0.06, 0.06, 3))
    z0 = np.linspace(low, high, slices, dtype=np.float32)
    y0, x0 = (
        (np.arange(n, dtype=np.float32) - (n - 1) / 2) * step / factor
        for n, step, factor in zip((rows, columns), grid.spacing_mm[1:], scale[1:], strict=True)
    )
    y0 = y0 + np.float32(18 + rng.normal(0, 7))
    x0 = x0 + np.float32(rng.normal(0, 6))
    z, y, x = np.meshgrid(z0, y0, x0, indexing="ij")
    turn = np.radians(rng.normal(0, 4) if rng.random() < 0.7 else rng.uniform(-25, 25))
    nod = np.radians(rng.uniform(-22, 14))
    lean = np.radians(rng.normal(0, 3.5))
    y -= 18
    z -= 10
    y, z = y * np.cos(nod) - z * np.sin(nod), y * np.sin(nod) + z * np.cos(nod)
    x, z = x * np.cos(lean) - z * np.sin(lean), x * np.sin(lean) + z * np.cos(lean)
    x, y = x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)
    y += 18
    z += 10
    wide, fine = rng.uniform(1.0, 3.2), rng.uniform(0.3, 1.2)
    lopsided = rng.uniform(-0.04, 0.04)
    bent = [
        axis + wide * grid.noise(rng, 90.0) + fine * grid.noise(rng, 28.0) for axis in (z, y, x)
    ]
    return (
        np.asarray(bent[0], np.float32),
        np.asarray(bent[1] * (1 + lopsided * np.sign(bent[2]) * np.abs(bent[2]) / 70), np.float32),
        np.asarray(bent[2], np.float32),
    )


def _brain_position(
    rng: np.random.Generator,
    grid: Grid,
    at: tuple[Volume, Volume, Volume],
    depth: Volume,
    pushes: Sequence[Push],
) -> tuple[Volume, Volume, Volume]:
    """Positions that the brain is looked up at: it shrinks, its furrows differ, it is pushed."""
    z, y, x = at
    shrunk = np.float32(1 + max(0.0, rng.normal(0.0, 0.035)))
    fine = np.float32(rng.uniform(0.4, 1.6))
    moved = [
        (z - 8) * shrunk + 8 + fine * grid.noise(rng, 22.0),
        (y - 18) * shrunk + 18 + fine * grid.noise(rng, 22.0),
        x * shrunk + fine * grid.noise(rng, 22.0),
    ]
    return pushed(tuple(moved), at, depth, pushes)  # type: ignore[arg-type]


def pushed(
    brain: tuple[Volume, Volume, Volume],
    at: tuple[Volume, Volume, Volume],
    depth_mm: Volume,
    pushes: Sequence[Push],
    rise_mm: float = 6.0,
) -> tuple[Volume, Volume, Volume]:
    """Return the positions that pushed brain is looked up at.

    Parameters
    ----------
    brain
        The positions (z, y, x) that it is looked up at without a push, mm.
    at, depth_mm
        Position of every voxel in the average head, and depth below the inner table, mm.
    rise_mm
        The skull holds what lies along it: from this depth on a push has its whole effect.
    """
    z, y, x = at
    moved: Sequence[Volume] = brain
    for push in pushes:
        away = (
            (z - push.place[0]) ** 2 + (y - push.place[1]) ** 2 + (x - push.place[2]) ** 2
        ) / np.float32(push.width_mm**2)
        weight = np.exp(-away) * np.clip(depth_mm / rise_mm, 0, 1)
        moved = [axis - weight * np.float32(by) for axis, by in zip(moved, push.by, strict=True)]
    return tuple(np.asarray(axis, np.float32) for axis in moved)  # type: ignore[return-value]
