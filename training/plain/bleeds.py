"""Bleeds of the five subtypes, each drawn as what it is."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from training.plain.anatomy import Anatomy, Mask
from training.plain.noise import Volume, smooth_noise


def _direction(rng: np.random.Generator, lowest_z: float) -> tuple[np.ndarray, float]:
    """Return a unit vector (z, y, x) to a point of the convexity and its side (-1 or 1)."""
    side = float(rng.choice([-1, 1]))
    around = rng.uniform(-0.9, 0.9)
    height = rng.uniform(lowest_z, 0.6)
    flat = np.sqrt(1 - height**2)
    vector = np.array([height, flat * np.sin(around), side * flat * np.cos(around)])
    return vector, side


def _angle_from(head: Anatomy, direction: np.ndarray) -> Volume:
    """Angle between each voxel and a direction as seen from the centre, radians."""
    grid = head.grid
    length = np.sqrt(grid.x**2 + grid.y**2 + grid.z**2) + 1e-3
    along = grid.z * direction[0] + grid.y * direction[1] + grid.x * direction[2]
    return np.asarray(np.arccos(np.clip(along / length, -1, 1)), np.float32)


def epidural(rng: np.random.Generator, head: Anatomy) -> Mask:
    """A lens between inner table and dura: short, thick, with a smooth inner edge."""
    direction, _ = _direction(rng, -0.2)
    half = rng.uniform(0.30, 0.50)
    thick = rng.uniform(12, 26)
    profile: Volume = thick * (1 - (_angle_from(head, direction) / half) ** 2)
    return head.inside & (head.depth_mm < profile)


def subdural(rng: np.random.Generator, head: Anatomy) -> Mask:
    """A crescent along one convexity: long, thin, never across the midline."""
    direction, side = _direction(rng, 0.0)
    half = rng.uniform(0.9, 1.25)
    thick = rng.uniform(5, 13)
    uneven = 1 + 0.15 * smooth_noise(rng, head.grid.shape, head.grid.spacing_mm, 30.0)
    off = np.clip(_angle_from(head, direction) / half, 0, 1)
    profile: Volume = thick * (1 - off**4) * uneven * (off < 1)
    return head.inside & (head.depth_mm < profile) & (head.grid.x * side > 2)


def subarachnoid(rng: np.random.Generator, head: Anatomy) -> Mask:
    """Blood in the sulci of a region, or in the basal cisterns and Sylvian fissures."""
    grid = head.grid
    if rng.random() < 0.5:
        near = (np.abs(grid.z + 8) < 26) & (np.abs(grid.y + 2) < 42)
    else:
        direction, _ = _direction(rng, 0.0)
        near = _angle_from(head, direction) < rng.uniform(0.6, 0.9)
    reach = rng.uniform(12, 16)
    filled = head.sulci | (head.inside & (np.abs(head.fold) < 0.28) & (head.depth_mm < reach))
    return filled & near & ~head.ventricles & ~head.falx


def intraparenchymal(rng: np.random.Generator, head: Anatomy) -> Mask:
    """A ragged ball inside the brain: deep, lobar or in the posterior fossa."""
    grid = head.grid
    where = np.argwhere(head.brain & (head.depth_mm > 16) & (grid.z > -30))
    at = tuple(where[rng.integers(len(where))])
    centre = (grid.z[at], grid.y[at], grid.x[at])
    radius = (3 * rng.uniform(4, 60) * 1000 / (4 * np.pi)) ** (1 / 3)
    stretch = rng.uniform(0.75, 1.3, 3)
    distance = np.sqrt(
        ((grid.z - centre[0]) / stretch[0]) ** 2
        + ((grid.y - centre[1]) / stretch[1]) ** 2
        + ((grid.x - centre[2]) / stretch[2]) ** 2
    )
    ragged = 1 + 0.16 * smooth_noise(rng, grid.shape, grid.spacing_mm, 9.0)
    ball: Mask = distance < radius * ragged
    return ball & head.inside & ~head.ventricles & (head.depth_mm > 3)


def intraventricular(rng: np.random.Generator, head: Anatomy) -> Mask:
    """Blood that settles in the dependent part of the ventricles, with a level; or a cast."""
    if rng.random() < 0.3:
        return head.ventricles
    level = rng.uniform(-15, 22)
    return head.ventricles & (head.grid.y > level)


DRAW: dict[str, Callable[[np.random.Generator, Anatomy], Mask]] = {
    "epidural": epidural,
    "subdural": subdural,
    "subarachnoid": subarachnoid,
    "intraparenchymal": intraparenchymal,
    "intraventricular": intraventricular,
}
