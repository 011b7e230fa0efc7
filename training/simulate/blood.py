"""What a bleed looks like: its HU by subtype and age, and the oedema around it."""

from __future__ import annotations

import cv2
import numpy as np

from training.simulate.anatomy import Anatomy, Grid
from training.simulate.atlas import Mask, Volume
from training.simulate.bleeds import Plan
from training.simulate.tissue import smoothstep


def paint_bleed(
    rng: np.random.Generator, head: Anatomy, plan: Plan, mask: Mask, hu: Volume
) -> None:
    """Give a bleed its HU: acute, subacute or mixed, with a level, and oedema around it."""
    grid = head.grid
    if plan.subtype == "intraparenchymal" and rng.random() < 0.75:
        _oedema(rng, head, plan, mask, hu)
    density = float(rng.uniform(14, 34)) if plan.old else _density(rng, plan.subtype)
    clot = density + rng.uniform(0.5, 4.0) * grid.noise(rng, rng.uniform(4, 14))
    kind = rng.random()
    if plan.old:
        clot = _in_membranes(rng, head, mask, clot)
    elif kind < 0.12 and plan.size_mm > 8:  # mixed: still bleeding
        clot -= rng.uniform(6, 22) * smoothstep(grid.noise(rng, 12.0), 0.2, 0.9)
    elif kind < 0.18 and plan.size_mm > 8:  # settled: plasma above, cells below
        level = grid.level_mm(mask, rng.uniform(0.2, 0.8))
        clot -= rng.uniform(10, 25) * (grid.down_mm < level)
    if plan.subtype == "subarachnoid":
        share = rng.uniform(0.65, 1.0)
        clot = share * clot + (1 - share) * hu
    part = _soft(rng, grid, mask) if plan.subtype != "epidural" else mask.astype(np.float32)
    hu += part * (clot - hu)


def _in_membranes(rng: np.random.Generator, head: Anatomy, mask: Mask, fluid: Volume) -> Volume:
    """Lay settled cells or fresh blood into an old bleed, walls around it and between its parts."""
    grid = head.grid
    kind = rng.random()
    if kind < 0.3:
        level = grid.level_mm(mask, rng.uniform(0.3, 0.8))
        fluid = fluid + rng.uniform(8, 30) * (grid.down_mm > level)
    elif kind < 0.5:
        fluid = fluid + rng.uniform(10, 35) * smoothstep(grid.noise(rng, 12.0), 0.3, 1.0)
    if rng.random() < 0.3:
        return np.asarray(fluid, np.float32)
    parts = grid.noise(rng, rng.uniform(14, 30))
    fluid = fluid + rng.uniform(-8, 8) * (parts > 0)  # each part of another age
    walls = np.abs(parts) < rng.uniform(0.0, 0.12)
    thin = max(1, round(1.5 / grid.spacing_mm[1]))
    inner = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * thin + 1, 2 * thin + 1))
    walls |= np.stack([cv2.erode(plane, inner) == 0 for plane in mask.astype(np.uint8)])
    bright = rng.uniform(0.3, 1.0) * (rng.uniform(45, 65) - fluid)
    return np.asarray(np.where(walls, fluid + np.maximum(bright, 0), fluid), np.float32)


def _soft(rng: np.random.Generator, grid: Grid, mask: Mask) -> Volume:
    """Parts 0..1 of a mask whose edge is as sharp as the rng draws."""
    blur = rng.uniform(0.2, 1.8) if rng.random() < 0.5 else 0.3
    sigma = blur / grid.spacing_mm[1]
    return np.stack([cv2.GaussianBlur(plane, (0, 0), sigma) for plane in mask.astype(np.float32)])


def _density(rng: np.random.Generator, subtype: str) -> float:
    age = rng.random()
    if subtype == "intraparenchymal" and age < 0.2:
        return float(rng.uniform(42, 52))  # bleeding into softened brain: faint, patchy
    if subtype == "subdural" and age < 0.12:
        return float(rng.uniform(34, 46))  # subacute, down to isodense
    if rng.random() < 0.25:
        return float(rng.uniform(45, 56))
    return float(rng.uniform(54, 84))


def _oedema(rng: np.random.Generator, head: Anatomy, plan: Plan, mask: Mask, hu: Volume) -> None:
    """A darker ring that follows the white matter."""
    wide = rng.uniform(0.15, 0.9) * plan.size_mm + rng.uniform(1, 5)
    away = head.away_mm(plan.place)
    uneven = plan.size_mm + wide * (1 + 0.45 * head.grid.noise(rng, 12.0))
    ring = smoothstep(uneven - away, -1.5, 2.5) * (0.35 + 0.65 * (head.white > 0.35))
    ring *= head.brain & ~mask
    target = rng.uniform(14, 25)
    hu += np.minimum(ring * (np.float32(target) - hu), 0)
