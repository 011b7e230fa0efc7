"""A simulated head CT in HU with voxel-true bleeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from ich_node.codes import SUBTYPES
from ich_node.selftest.head import scanner_grain
from training.plain.anatomy import Anatomy, make_anatomy, make_grid
from training.plain.bleeds import DRAW
from training.plain.noise import Volume, smooth_noise

SMALLEST_ML = 2.0
# Where bone shines in, by partial volume or blur, blood is not to be told from it: no label.
VISIBLE_HU = 100.0
# How often a head drawn by its seed alone holds 0, 1, 2 bleeds.
_COUNTS = (0.35, 0.45, 0.20)
_DRAWS = 12


@dataclass(frozen=True)
class SimulatedHead:
    """One head.

    Parameters
    ----------
    hu
        float32 (slice, row, column): inferior to superior, anterior to posterior, right to left.
    labels
        uint8 of the same shape: 0, or 1 + index into `codes.SUBTYPES`.
    spacing_mm
        Of the same axes, mm.
    seed
        What it was drawn from.
    """

    hu: npt.NDArray[np.float32]
    labels: npt.NDArray[np.uint8]
    spacing_mm: tuple[float, float, float]
    seed: int


def simulate_head(
    seed: int,
    bleeds: Sequence[str] | None = None,
    *,
    slices: int = 32,
    matrix: int = 512,
    thickness_mm: float = 5.0,
    field_mm: float = 230.0,
    noise: bool = True,
) -> SimulatedHead:
    """Draw one head.

    Parameters
    ----------
    seed
        Equal arguments give the equal head, on every machine with the same libraries.
    bleeds
        Names of `codes.SUBTYPES`; empty for none, None for what the seed draws.
    slices, matrix
        Size of the scan.
    thickness_mm, field_mm
        Slice thickness, and width of the square field of view, mm.
    noise
        False leaves the grain out of the otherwise equal head.
    """
    rng = np.random.default_rng(seed)
    if bleeds is None:
        count = int(rng.choice(len(_COUNTS), p=_COUNTS))
        bleeds = [str(name) for name in rng.choice(SUBTYPES, count, replace=False)]
    shape = (slices, matrix, matrix)
    spacing = (thickness_mm, field_mm / matrix, field_mm / matrix)
    grid = make_grid(rng, shape, spacing)
    head = make_anatomy(rng, grid, big_ventricles="intraventricular" in bleeds)
    hu = _tissues(rng, head)
    labels = np.zeros(shape, np.uint8)
    for name in bleeds:
        _bleed(rng, head, name, hu, labels, float(np.prod(spacing)) / 1000)
    _bone(rng, head, hu, labels)
    seen = _scan(rng, hu, labels, spacing, noise)
    return SimulatedHead(seen, labels, spacing, seed)


def _tissues(rng: np.random.Generator, head: Anatomy) -> Volume:
    """Paint every soft tissue in HU; each head draws its own values."""
    white, grey, csf = rng.uniform(24, 30), rng.uniform(34, 40), rng.uniform(2, 9)
    texture = smooth_noise(rng, head.grid.shape, head.grid.spacing_mm, 7.0)
    hu = np.full(head.grid.shape, -1000, np.float32)
    hu[head.scalp_mm > -rng.uniform(5, 9)] = rng.uniform(-40, 30)
    below = (head.grid.z < -45) & (head.scalp_mm > -rng.uniform(30, 45))
    hu[below] = 35 + 25 * texture[below]  # neck and face
    hu[head.inside] = white
    hu[head.grey] = grey
    hu[head.inside] += 1.5 * texture[head.inside]
    hu[head.sulci] = csf
    hu[head.ventricles] = csf
    hu[head.falx] = rng.uniform(40, 52)
    return hu


def _bleed(
    rng: np.random.Generator,
    head: Anatomy,
    name: str,
    hu: Volume,
    labels: npt.NDArray[np.uint8],
    voxel_ml: float,
) -> None:
    """Draw one bleed into HU and labels, again until it is large enough to be one."""
    for _ in range(_DRAWS):
        mask = DRAW[name](rng, head) & (labels == 0)
        if mask.sum() * voxel_ml >= SMALLEST_ML:
            break
    density = rng.uniform(56, 78)
    clot = smooth_noise(rng, head.grid.shape, head.grid.spacing_mm, 12.0)
    if name == "intraparenchymal":
        rim = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (9, 9))
        wide = np.stack([cv2.dilate(plane, rim) for plane in mask.astype(np.uint8)]).astype(bool)
        hu[wide & head.brain & ~mask] = rng.uniform(17, 23)  # oedema
    hu[mask] = density + 3 * clot[mask]
    labels[mask] = 1 + SUBTYPES.index(name)


def _bone(
    rng: np.random.Generator, head: Anatomy, hu: Volume, labels: npt.NDArray[np.uint8]
) -> None:
    """Draw what is dense and no bleed: skull, petrous ridges, calcifications. Labels end there."""
    grid = head.grid
    table = (head.scalp_mm > 0) & (head.depth_mm <= 0)
    diploe = table & (head.scalp_mm > 1.8) & (head.depth_mm < -1.8)
    bone = np.zeros(grid.shape, bool) | table
    hu[table] = rng.uniform(900, 1400)
    hu[diploe] = rng.uniform(300, 700)
    for side in (-1, 1):
        ridge = np.abs(grid.y - 8 + 0.75 * (np.abs(grid.x) - 30)) < rng.uniform(4, 8)
        ridge &= (grid.x * side > 14) & (np.abs(grid.z + 38) < rng.uniform(5, 9)) & head.inside
        hu[ridge] = rng.uniform(300, 900)
        bone |= ridge
        plexus = (grid.z - 14) ** 2 + (grid.y - 32) ** 2 + (grid.x - side * 17) ** 2
        spot = (plexus < rng.uniform(2, 4) ** 2) & head.ventricles & (rng.random() < 0.5)
        hu[spot & (labels == 0)] = rng.uniform(80, 250)
    pineal = (grid.z - 6) ** 2 + (grid.y - 16) ** 2 + grid.x**2
    spot = (pineal < rng.uniform(1.5, 3) ** 2) & (rng.random() < 0.6)
    hu[spot & (labels == 0)] = rng.uniform(90, 250)
    base = (grid.z < -46) & (head.scalp_mm > -10)
    blobs = smooth_noise(rng, grid.shape, grid.spacing_mm, 16.0)
    hu[base & (blobs > 0.9)] = rng.uniform(400, 1000)
    hu[base & (blobs < -1.2)] = -900  # sinuses and mastoid cells
    labels[bone | (base & (np.abs(blobs) > 0.9))] = 0


def _scan(
    rng: np.random.Generator,
    hu: Volume,
    labels: npt.NDArray[np.uint8],
    spacing_mm: tuple[float, float, float],
    noise: bool,
) -> Volume:
    """Look at it through a scanner: partial volume, blur, shading near bone, textured noise.

    Labels are cut to the blood that can still be seen, before noise.
    """
    through = rng.uniform(0.08, 0.18)
    padded = np.concatenate([hu[:1], hu, hu[-1:]])
    hu = (1 - 2 * through) * hu + through * (padded[:-2] + padded[2:])
    blur = rng.uniform(0.5, 0.9) / spacing_mm[1]
    glow = rng.uniform(0.0, 0.006)
    sigma = rng.uniform(2.0, 5.0)
    out = np.empty_like(hu)
    for index, plane in enumerate(hu):
        sharp = cv2.GaussianBlur(plane, (0, 0), blur)
        dense = np.clip(plane, 0, 1500)
        halo = cv2.GaussianBlur(dense, (0, 0), 6.0 / spacing_mm[1]) * glow
        out[index] = sharp + halo
        labels[index][out[index] > VISIBLE_HU] = 0
        grain = scanner_grain(rng, plane.shape, spacing_mm[1], sigma)
        if noise:
            out[index] += grain
    return np.clip(out, -1024, 3071)
