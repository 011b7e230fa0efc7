"""A simulated head CT in HU with voxel-true bleeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from ich_node.codes import SUBTYPES
from training.simulate.anatomy import Anatomy, Grid, make_anatomy
from training.simulate.atlas import Atlas, Mask, Volume, load_atlas
from training.simulate.background import bend_background, read_background
from training.simulate.bleeds import Plan, plan_bleeds
from training.simulate.blood import paint_bleed
from training.simulate.mimics import paint_mimics, paint_surgery
from training.simulate.scanner import expose
from training.simulate.seen import BRIGHTEST_HU, seen
from training.simulate.tissue import paint_brain, paint_holder, paint_petrous, paint_skull

SMALLEST_ML, LARGEST_ML = 0.2, 150.0
# What is spread thin has to be more before anyone would name it.
_LEAST_ML = {"subarachnoid": 1.0, "subdural": 0.8, "epidural": 0.5, "intraventricular": 0.4}
# How often a head drawn by its seed alone holds 0, 1, 2, 3 bleeds.
_COUNTS = (0.38, 0.36, 0.18, 0.08)
_SHARES = (0.12, 0.22, 0.20, 0.31, 0.15)
# How often one of these comes twice, on the other side or elsewhere.
_TWICE = 0.12
_MAY_COME_TWICE = ("epidural", "subdural", "subarachnoid", "intraparenchymal")
_ATTEMPTS = 40
_THIN_MM = 2.2
# Heads are drawn on no finer matrix; larger ones are interpolated.
_FINEST = 256


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


class NotDrawn(Exception):
    """A head that shows the bleeds asked for was drawn by none of many draws."""

    def __init__(self, seed: int, bleeds: Sequence[str]) -> None:
        super().__init__(
            f"seed {seed}: in none of {_ATTEMPTS} draws can all of {', '.join(bleeds)} be seen, "
            f"each of at most {LARGEST_ML:g} mL; ask for fewer, or give another seed"
        )


@dataclass(frozen=True)
class _Found:
    """Of a bleed: how much was drawn, and how much of it is labelled."""

    subtype: str
    drawn_ml: float
    seen_ml: float


def simulate_head(
    seed: int,
    bleeds: Sequence[str] | None = None,
    *,
    slices: int = 32,
    matrix: int = 512,
    thickness_mm: float = 5.0,
    field_mm: float = 230.0,
    noise: bool = True,
    templates: Path | None = None,
) -> SimulatedHead:
    """Draw one head.

    Parameters
    ----------
    seed
        Equal arguments give the equal head, on every machine with the same libraries.
    bleeds
        Names of `codes.SUBTYPES`, one twice for two such bleeds; empty for none, None for what the
        seed draws.
    slices, matrix
        Size of the scan.
    thickness_mm, field_mm
        Slice thickness, and width of the square field of view, mm.
    noise
        False leaves out what the scanner adds, of the otherwise equal head.
    templates
        Folder with the average head CT that gives the skull base; without it noise does.

    Raises
    ------
    MissingAnatomy
        The maps that heads are made of are not installed.
    NotDrawn
        None of many draws shows every bleed that is asked for.
    """
    names = _names(np.random.default_rng(seed)) if bleeds is None else list(bleeds)
    drawn = min(matrix, _FINEST)
    pixel = field_mm / drawn
    thin = max(1, round(thickness_mm / _THIN_MM))
    grid = Grid((slices * thin, drawn, drawn), (thickness_mm / thin, pixel, pixel))
    atlas = load_atlas(templates)
    for attempt in range(_ATTEMPTS):
        rng = np.random.default_rng((seed, 1, attempt))
        hu, labels, found = _draw_head(rng, atlas, grid, thin, names)
        if _as_asked(found):
            break
    else:
        raise NotDrawn(seed, names)
    hu, labels = _to_matrix(hu, labels, matrix)
    spacing = (thickness_mm, field_mm / matrix, field_mm / matrix)
    scanned = expose(np.random.default_rng((seed, 2)), hu, spacing) if noise else hu
    return SimulatedHead(scanned, labels, spacing, seed)


def _draw_head(
    rng: np.random.Generator, atlas: Atlas, grid: Grid, thin: int, names: Sequence[str]
) -> tuple[Volume, npt.NDArray[np.uint8], list[_Found]]:
    """Return HU, labels and bleeds of one head in slices."""
    top = rng.uniform(76, 104)
    span = (top - grid.shape[0] * grid.spacing_mm[0], top)
    plans = plan_bleeds(rng, atlas, names)
    pushes = [push for plan in plans for push in plan.pushes]
    head = make_anatomy(rng, atlas, grid, span, pushes)
    clean, bloody, masks = _paint(rng, head, plans)
    overlap = float(rng.uniform(0.0, 0.2))
    return _through_slices(clean, bloody, masks, thin, overlap, grid.spacing_mm)


def _as_asked(bleeds: Sequence[_Found]) -> bool:
    """Tell whether enough of every bleed can be seen, and none is larger than there can be."""
    return all(
        one.seen_ml >= least_ml(one.subtype) and max(one.drawn_ml, one.seen_ml) <= LARGEST_ML
        for one in bleeds
    )


def least_ml(name: str) -> float:
    """Return the smallest volume of a subtype that a head is asked to show, mL."""
    return _LEAST_ML.get(name, SMALLEST_ML)


def _to_matrix(
    hu: Volume, labels: npt.NDArray[np.uint8], matrix: int
) -> tuple[Volume, npt.NDArray[np.uint8]]:
    """Bring what was drawn to a larger matrix; the scanner then sees it at that."""
    if hu.shape[1] == matrix:
        return hu, labels
    size = (matrix, matrix)
    larger = [cv2.resize(plane, size, interpolation=cv2.INTER_LINEAR) for plane in hu]
    nearest = [cv2.resize(plane, size, interpolation=cv2.INTER_NEAREST_EXACT) for plane in labels]
    return np.stack(larger), np.stack(nearest)


def simulate_on(seed: int, background: Path, bleeds: Sequence[str] | None = None) -> SimulatedHead:
    """Draw bleeds, or none, on a real head without any, and push its brain by them.

    No scanner is laid over it.

    Parameters
    ----------
    seed, bleeds
        As of `simulate_head`.
    background
        Folder of the real head's images; `training.simulate.background`.

    Raises
    ------
    NotDrawn
        As of `simulate_head`.
    """
    names = _names(np.random.default_rng(seed)) if bleeds is None else list(bleeds)
    atlas = load_atlas()
    for attempt in range(_ATTEMPTS):
        rng = np.random.default_rng((seed, 1, attempt))
        plans = plan_bleeds(rng, atlas, names)
        pushes = [push for plan in plans for push in plan.pushes]
        # Bent by its own draws: the head under a bleed is the one without, but for what is pushed.
        bend = np.random.default_rng((seed, 4, attempt))
        head, clean = bend_background(bend, read_background(background), pushes)
        bloody, masks = _paint_bleeds(rng, head, clean, plans)
        bone = clean > BRIGHTEST_HU
        free = [(name, mask & ~bone) for name, mask in masks]
        hu, labels, found = _through_slices(clean, bloody, free, 1, 0.0, head.grid.spacing_mm)
        if _as_asked(found):
            break
    else:
        raise NotDrawn(seed, names)
    return SimulatedHead(hu, labels, head.grid.spacing_mm, seed)


def _names(rng: np.random.Generator) -> list[str]:
    """Draw which bleeds a head holds."""
    count = int(rng.choice(len(_COUNTS), p=_COUNTS))
    names = [str(name) for name in rng.choice(SUBTYPES, count, replace=False, p=_SHARES)]
    more = [name for name in names if name in _MAY_COME_TWICE]
    if more and rng.random() < _TWICE:
        names.append(str(rng.choice(more)))
    return names


def _paint(
    rng: np.random.Generator, head: Anatomy, plans: Sequence[Plan]
) -> tuple[Volume, Volume, list[tuple[str, Mask]]]:
    """Return the head without and with its bleeds, and where these are."""
    clean = paint_brain(rng, head)
    paint_mimics(rng, head, clean)
    bloody, masks = _paint_bleeds(rng, head, clean, plans)
    outer = np.random.default_rng(rng.integers(2**63))
    state = outer.bit_generator.state
    for hu in (clean, bloody):  # the same skull, drawn twice
        outer.bit_generator.state = state
        bone = paint_skull(outer, head, hu)
        bone = paint_surgery(outer, head, hu, bone)
        bone |= paint_petrous(outer, head, hu)
        paint_holder(outer, head, hu)
    return clean, bloody, [(name, mask & ~bone) for name, mask in masks]


def _paint_bleeds(
    rng: np.random.Generator, head: Anatomy, clean: Volume, plans: Sequence[Plan]
) -> tuple[Volume, list[tuple[str, Mask]]]:
    """Return the head with its bleeds, and where each is.

    A bleed that finds no room is not drawn elsewhere: the brain has been pushed by this one.
    """
    bloody = clean.copy()
    taken = np.zeros(head.grid.shape, bool)
    masks = []
    for plan in plans:
        mask = plan.draw(rng, head) & ~taken
        paint_bleed(rng, head, plan, mask, bloody)
        taken |= mask
        masks.append((plan.subtype, mask))
    return bloody, masks


def _through_slices(
    clean: Volume,
    bloody: Volume,
    masks: Sequence[tuple[str, Mask]],
    thin: int,
    overlap: float,
    spacing_mm: tuple[float, float, float],
) -> tuple[Volume, npt.NDArray[np.uint8], list[_Found]]:
    """Average thin slices to thick ones; label what blood can be seen in them.

    A slice sees some of its neighbours too: bone of the vertex shines into brain.
    """

    def thick(volume: Volume) -> Volume:
        parts = volume.reshape(-1, thin, *volume.shape[1:]).mean(1, dtype=np.float32)
        beside = np.concatenate([parts[:1], parts, parts[-1:]])
        mixed = (1 - overlap) * parts + overlap / 2 * (beside[:-2] + beside[2:])
        return np.asarray(mixed, np.float32)

    hu, without = thick(bloody), thick(clean)
    labels = np.zeros(hu.shape, np.uint8)
    parts = [(name, thick(mask.astype(np.float32))) for name, mask in masks]
    bloodied = np.sum([part for _, part in parts], axis=0) > 0.1 if parts else labels > 0
    voxel_ml = float(np.prod(spacing_mm)) * thin / 1000
    found = []
    for name, part in parts:
        told = seen(name, part >= 0.4, bloodied, without, hu, spacing_mm[1])
        labels[told] = 1 + SUBTYPES.index(name)
        found.append(_Found(name, float(part.sum()) * voxel_ml, float(told.sum()) * voxel_ml))
    return hu, labels, found
