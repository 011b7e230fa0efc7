"""Slices in order: sorted along their normal, and checked to be a regular grid.

Nothing is averaged over or guessed: a stack that is not a right-angled, evenly spaced grid is
refused with the numbers measured.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ich_node.assemble.source import SourceImage, numbers
from ich_node.errors import Reason, SeriesRefused
from ich_node.geometry import Vector, plane_axes

# Slices nearer to one another than this are two images of one place; CT is not sliced so thin.
SAME_POSITION_MM = 0.1
# How far a slice may lie from its place on the even grid: positions come rounded.
POSITION_TOLERANCE_MM = 0.05
POSITION_TOLERANCE_OF_SPACING = 0.02
# How far a slice may lie sideways of the first: a pixel of a head CT is about this large.
SIDEWAYS_TOLERANCE_MM = 0.5
# In a text, at most this many runs of equal steps are listed.
_RUNS_SHOWN = 4


@dataclass(frozen=True)
class Stack:
    """Images from inferior to superior on a regular grid.

    Parameters
    ----------
    images
        Inferior to superior.
    along_row, along_column, superior
        Unit vectors (LPS): in which the column index, the row index and the slice index grow.
    origin_mm
        Image Position (Patient) of the first image, LPS, mm.
    step_mm
        Distance between neighbouring slices, mm.
    tilt_deg
        Angle between the stacking direction and the normal; positive where the front edge of the
        slices is tipped up.
    jitter_mm
        How far the worst slice lies from its place on the grid along the normal, mm.
    """

    images: tuple[SourceImage, ...]
    along_row: Vector
    along_column: Vector
    superior: Vector
    origin_mm: Vector
    step_mm: float
    tilt_deg: float
    jitter_mm: float


def stack_of(images: Sequence[SourceImage], orientation: Sequence[float]) -> Stack:
    """Sort images of one orientation along their normal and check their places.

    Parameters
    ----------
    images
        In any order; at least two.
    orientation
        The six direction cosines of the series.

    Raises
    ------
    SeriesRefused
        DUPLICATE_POSITIONS, GANTRY_TILT, MISSING_SLICES or UNEVEN_SPACING.
    """
    along_row, along_column, normal = plane_axes(orientation)
    superior = normal if normal[2] > 0 else -normal
    positions = np.array(
        [numbers(image.dataset, "ImagePositionPatient", 3) for image in images], np.float64
    )
    order = np.argsort(positions @ superior, kind="stable")
    images = [images[index] for index in order]
    positions = positions[order]
    heights = positions @ superior
    _check_one_image_a_place(images, heights)
    posterior = along_column if abs(along_column[1]) >= abs(along_row[1]) else along_row
    tilt = _tilt_deg(positions, superior, posterior * math.copysign(1.0, posterior[1]))
    _check_not_tilted(images, positions, superior, tilt)
    step = float(heights[-1] - heights[0]) / (len(heights) - 1)
    off = np.abs(heights - heights[0] - step * np.arange(len(heights)))
    _check_even(heights, off)
    return Stack(
        images=tuple(images),
        along_row=along_row,
        along_column=along_column,
        superior=superior,
        origin_mm=positions[0],
        step_mm=step,
        tilt_deg=tilt,
        jitter_mm=float(off.max()),
    )


def _check_one_image_a_place(images: Sequence[SourceImage], heights: Vector) -> None:
    close = np.flatnonzero(np.diff(heights) < SAME_POSITION_MM)
    if close.size:
        first = int(close[0])
        raise SeriesRefused(
            Reason.DUPLICATE_POSITIONS,
            f"{close.size} of {len(images)} slices share a place with another: at "
            f"{heights[first]:.2f} mm along the normal lie files {images[first].name} and "
            f"{images[first + 1].name}; send each acquisition as a series of its own",
        )


def _tilt_deg(positions: Vector, superior: Vector, posterior: Vector) -> float:
    """Angle between the way from the first to the last slice and the normal, with its sign."""
    way = positions[-1] - positions[0]
    height = float(way @ superior)
    sideways = float(np.linalg.norm(way - height * superior))
    return math.copysign(math.degrees(math.atan2(sideways, height)), -float(way @ posterior))


def _check_not_tilted(
    images: Sequence[SourceImage], positions: Vector, superior: Vector, tilt_deg: float
) -> None:
    way = positions - positions[0]
    heights = way @ superior
    sideways = way - np.outer(heights, superior)
    distance = np.linalg.norm(sideways, axis=1)
    worst = int(distance.argmax())
    if distance[worst] <= SIDEWAYS_TOLERANCE_MM:
        return
    straight = np.outer(heights / heights[-1], sideways[-1])
    if np.linalg.norm(sideways - straight, axis=1).max() <= SIDEWAYS_TOLERANCE_MM:
        raise SeriesRefused(
            Reason.GANTRY_TILT,
            f"gantry tilt of {tilt_deg:+.1f} degrees: from the first to the last slice the images "
            f"move {distance[worst]:.1f} mm sideways, at most {SIDEWAYS_TOLERANCE_MM:g} mm is "
            "allowed; send a reconstruction without tilt",
        )
    raise SeriesRefused(
        Reason.UNEVEN_SPACING,
        f"slices do not lie over one another: file {images[worst].name} is "
        f"{distance[worst]:.1f} mm sideways of the first, at most {SIDEWAYS_TOLERANCE_MM:g} mm is "
        "allowed",
    )


def _check_even(heights: Vector, off: Vector) -> None:
    """Every slice is in its place on an even grid; if not, say whether slices are missing."""
    steps = np.diff(heights)
    usual = float(np.median(steps))
    tolerance = max(POSITION_TOLERANCE_MM, POSITION_TOLERANCE_OF_SPACING * usual)
    if off.max() <= tolerance and np.abs(steps - usual).max() <= tolerance:
        return
    times = np.rint(steps / usual)
    if times.min() >= 1 and np.abs(steps - times * usual).max() <= tolerance:
        missing = int(times.sum()) - len(steps)
        if missing:
            raise SeriesRefused(Reason.MISSING_SLICES, _missing(heights, times, usual, missing))
    raise SeriesRefused(
        Reason.UNEVEN_SPACING,
        f"slice spacing is uneven, from {steps.min():.2f} to {steps.max():.2f} mm: "
        f"{_runs(heights, steps, tolerance)}; steps may differ by {tolerance:.2g} mm",
    )


def _missing(heights: Vector, times: Vector, usual: float, missing: int) -> str:
    gaps = [
        f"{heights[index]:.2f} and {heights[index + 1]:.2f} mm"
        for index in np.flatnonzero(times > 1)
    ]
    more = f" and in {len(gaps) - _RUNS_SHOWN} more gaps" if len(gaps) > _RUNS_SHOWN else ""
    return (
        f"missing slices: {missing}, between {', between '.join(gaps[:_RUNS_SHOWN])}{more} along "
        f"the normal, where neighbours are {usual:.2f} mm apart; send the missing images"
    )


def _runs(heights: Vector, steps: Vector, tolerance: float) -> str:
    """Runs of equal steps, as '13 x 4.00 mm from -40.00 mm'."""
    jumps = [index + 1 for index, (a, b) in enumerate(pairwise(steps)) if abs(b - a) > tolerance]
    bounds = list(pairwise([0, *jumps, len(steps)]))
    shown = [
        f"{end - start} x {float(np.mean(steps[start:end])):.2f} mm from {heights[start]:.2f} mm"
        for start, end in bounds[:_RUNS_SHOWN]
    ]
    more = f" and {len(bounds) - _RUNS_SHOWN} more runs" if len(bounds) > _RUNS_SHOWN else ""
    return ", ".join(shown) + more
