"""Slices in order: sorted along their normal, and what their places are: even, uneven, sheared.

Places are taken as the headers state them. Slices that are not parallel planes over one another,
or that leave more of the head unseen than may be bridged, are refused with the numbers measured.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from ich_node.assemble.source import SourceImage, number, numbers
from ich_node.errors import Reason, SeriesRefused
from ich_node.geometry import Vector, plane_axes

# Slices nearer to one another than this are two images of one place; CT is not sliced so thin.
SAME_POSITION_MM = 0.1
# How far a slice may lie from its place on an even grid: positions come rounded.
POSITION_TOLERANCE_MM = 0.05
POSITION_TOLERANCE_OF_SPACING = 0.02
# Up to so far sideways of one another slices lie straight: no viewer shows it.
STRAIGHT_MM = 0.1
STRAIGHT_OF_PIXEL = 0.25
# Up to so far from the planes of an even grid slices that are not even have each one of their own.
OWN_PLANE_OF_SPACING = 0.25
# How far a slice may lie off the line from the first to the last: a pixel is about this large.
SIDEWAYS_TOLERANCE_MM = 0.5
# Gantries tip by half degrees at least, and no farther than this.
LEAST_TILT_DEG = 0.5
MAX_TILT_DEG = 35.0
# What lies between slices farther apart is not seen: a bleed of 1.5 mL has room there.
MAX_STEP_MM = 15.0
# A step so many times as long as those around it is a gap where slices are missing.
GAP_RATIO = 1.5
# How many missing slices are bridged by what lies beside them.
MAX_MISSING = 1
# In a text, at most this many runs of equal steps are listed.
_RUNS_SHOWN = 4


@dataclass(frozen=True)
class Stack:
    """Parallel images from inferior to superior, and the even grid nearest to them.

    Parameters
    ----------
    images
        Inferior to superior.
    along_row, along_column, superior
        Unit vectors (LPS): in which the column index, the row index and the slice index grow.
    positions_mm
        Shape (image, 3); Image Position (Patient) of each, LPS, mm.
    heights_mm
        Shape (image,); distance of each from the first along the normal, mm.
    step_mm, planes
        Distance between the planes of the even grid from the first image to the last, mm, and how
        many they are.
    tilt_deg
        Angle between the stacking direction and the normal; positive where the front edge of the
        slices is tipped up.
    jitter_mm
        How far the worst slice lies from its place on the grid along the normal, mm, where they
        are even.
    even
        Whether each image lies on a plane of its own.
    straight
        Whether they lie over one another along their normal.
    missing
        Steps (by the index of the lower image) that leave out slices, and how many.
    """

    images: tuple[SourceImage, ...]
    along_row: Vector
    along_column: Vector
    superior: Vector
    positions_mm: npt.NDArray[np.float64]
    heights_mm: Vector
    step_mm: float
    planes: int
    tilt_deg: float
    jitter_mm: float
    even: bool
    straight: bool
    missing: tuple[tuple[int, int], ...]

    @property
    def regular(self) -> bool:
        """Whether the images lie on a regular right-angled grid as they are."""
        return self.even and self.straight

    @property
    def sideways_mm(self) -> float:
        """How far sideways of the first image the farthest lies, mm."""
        way = self.positions_mm - self.positions_mm[0]
        off = way - np.outer(self.heights_mm, self.superior)
        return float(np.linalg.norm(off, axis=1).max())

    @property
    def extents_mm(self) -> Vector:
        """How much each image stands for: half the way to its neighbours; an end as its step."""
        if self.even:
            return np.full(len(self.images), self.step_mm)
        steps = np.diff(self.heights_mm)
        around = np.concatenate([steps[:1], steps, steps[-1:]])
        return np.asarray((around[:-1] + around[1:]) / 2)


def apart_mm(stack: Stack) -> tuple[float, float] | None:
    """Return how much of the patient no slice shows, and how thick slices are, mm, a step.

    Only where that is so from the first slice to the last; None elsewhere, and where slices do not
    say how thick they are.
    """
    thick = np.array([_thickness_mm(image) for image in stack.images])
    steps, between = np.diff(stack.heights_mm), np.maximum(thick[1:], thick[:-1])
    if (steps <= GAP_RATIO * between).any():
        return None
    return float(np.median(steps - between)), float(np.median(between))


def _thickness_mm(image: SourceImage) -> float:
    """Slice Thickness (0018,0050); without one a slice may be as thick as any step."""
    said = number(image.dataset, "SliceThickness")
    return said if said is not None and said > 0 else math.inf


def stack_of(
    images: Sequence[SourceImage], orientation: Sequence[float], max_missing: int = MAX_MISSING
) -> Stack:
    """Sort images of one orientation along their normal and look at their places.

    Parameters
    ----------
    images
        In any order; at least two, no two at one place.
    orientation
        The six direction cosines of the series.
    max_missing
        How many missing slices may be bridged.

    Raises
    ------
    SeriesRefused
        GANTRY_TILT, MISSING_SLICES or UNEVEN_SPACING.
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
    posterior = along_column if abs(along_column[1]) >= abs(along_row[1]) else along_row
    tilt = _tilt_deg(positions, superior, posterior * math.copysign(1.0, posterior[1]))
    sideways = _check_in_line(images, positions, superior, tilt)
    missing = _missing_steps(heights, images)
    _check_gaps(images, heights - heights[0], missing, max_missing)
    step, planes = _grid(heights)
    off = float(np.abs(heights - heights[0] - step * np.arange(len(images))).max())
    pixel = min(numbers(images[0].dataset, "PixelSpacing", 2) or (0.0,))
    return Stack(
        images=tuple(images),
        along_row=along_row,
        along_column=along_column,
        superior=superior,
        positions_mm=positions,
        heights_mm=heights - heights[0],
        step_mm=step,
        planes=planes,
        tilt_deg=tilt,
        jitter_mm=off,
        even=planes == len(images) and off <= tolerance_mm(step),
        straight=bool(sideways <= max(STRAIGHT_MM, STRAIGHT_OF_PIXEL * pixel)),
        missing=missing,
    )


def tolerance_mm(step_mm: float) -> float:
    """Return how far a slice may lie from a plane of the grid and still be the one there, mm."""
    return max(POSITION_TOLERANCE_MM, POSITION_TOLERANCE_OF_SPACING * step_mm)


def _grid(heights: Vector) -> tuple[float, int]:
    """Return step and number of planes of the even grid from the first slice to the last.

    Where the slices are even, or each is nearest to a plane of its own, it has as many planes as
    they are. Else its step is the usual one where they lie densest, a quarter of them at least: a
    slice that is no nearer to others than that comes back as itself.
    """
    count = len(heights)
    span = float(heights[-1] - heights[0])
    step = span / (count - 1)
    if np.abs(heights - heights[0] - step * np.arange(count)).max() <= max(
        tolerance_mm(step), OWN_PLANE_OF_SPACING * step
    ):
        return step, count
    steps = np.diff(heights)
    dense = float(np.percentile(steps, 25, method="lower"))
    usual = steps[np.abs(steps - dense) <= tolerance_mm(dense)].mean()
    between = max(1, round(span / float(usual)))
    return span / between, between + 1


def _tilt_deg(positions: Vector, superior: Vector, posterior: Vector) -> float:
    """Angle between the way from the first to the last slice and the normal, with its sign."""
    way = positions[-1] - positions[0]
    height = float(way @ superior)
    sideways = float(np.linalg.norm(way - height * superior))
    return math.copysign(math.degrees(math.atan2(sideways, height)), -float(way @ posterior))


def _check_in_line(
    images: Sequence[SourceImage], positions: Vector, superior: Vector, tilt_deg: float
) -> float:
    """Return how far the slices lie sideways of the first, mm, having checked that it is a line."""
    way = positions - positions[0]
    heights = way @ superior
    sideways = way - np.outer(heights, superior)
    distance = np.linalg.norm(sideways, axis=1)
    if abs(tilt_deg) > MAX_TILT_DEG:
        raise SeriesRefused(
            Reason.GANTRY_TILT,
            f"gantry tilt of {tilt_deg:+.1f} degrees: from the first to the last slice the images "
            f"move {distance[-1]:.1f} mm sideways, at most {MAX_TILT_DEG:g} degrees are read; "
            "send a reconstruction without tilt",
        )
    off = np.linalg.norm(sideways - np.outer(heights / heights[-1], sideways[-1]), axis=1)
    worst = int(off.argmax())
    if off[worst] > SIDEWAYS_TOLERANCE_MM:
        raise SeriesRefused(
            Reason.UNEVEN_SPACING,
            f"slices do not lie over one another: file {images[worst].name} is {off[worst]:.1f} mm "
            "sideways of the line from the first to the last, at most "
            f"{SIDEWAYS_TOLERANCE_MM:g} mm is allowed",
        )
    return float(distance.max())


def _missing_steps(heights: Vector, images: Sequence[SourceImage]) -> tuple[tuple[int, int], ...]:
    """Find the steps that are longer than those around them, and how many slices each leaves out.

    Three steps on either side are asked, and the longer half of them counts: where a stack goes
    over from thin slices to thick ones nothing is missing. But where slices do not get thicker with
    the steps, those that lie densest are asked.
    """
    steps = np.diff(heights)
    dense = float(np.percentile(steps, 25, method="lower"))
    thick = [_thickness_mm(image) for image in images]
    found = []
    for index, step in enumerate(steps):
        around = np.delete(steps[max(0, index - 3) : index + 4], min(index, 3))
        local = float(np.percentile(around, 50, method="higher"))
        if step > GAP_RATIO * max(thick[index], thick[index + 1]):
            local = min(local, dense)
        if step >= GAP_RATIO * local:
            found.append((index, max(1, round(step / local) - 1)))
    return tuple(found)


def _check_gaps(
    images: Sequence[SourceImage],
    heights: Vector,
    missing: Sequence[tuple[int, int]],
    max_missing: int,
) -> None:
    """Nothing larger than may be bridged lies between slices; heights are above the lowest."""
    steps = np.diff(heights)

    def named(index: int) -> str:
        below, above = (f"{heights[i]:.2f} mm (file {images[i].name})" for i in (index, index + 1))
        return f"between {below} and {above}"

    count = sum(slices for _, slices in missing)
    if count > max_missing:
        raise SeriesRefused(
            Reason.MISSING_SLICES,
            f"missing slices: {count}, {_listed([named(index) for index, _ in missing])} above the "
            f"lowest slice, where neighbours are {np.median(steps):.2f} mm apart; at most "
            f"{max_missing} is bridged: send the missing images",
        )
    widest = int(steps.argmax())
    if steps[widest] > MAX_STEP_MM:
        raise SeriesRefused(
            Reason.MISSING_SLICES,
            f"{named(widest)} above the lowest slice nothing was sent; slices may be "
            f"{MAX_STEP_MM:g} mm apart: send the missing images",
        )


def gaps_text(heights: Vector, missing: Sequence[tuple[int, int]]) -> str:
    """Return where slices are missing, as 'between 5.00 and 15.00 mm'."""
    return _listed(
        [f"between {heights[index]:.2f} and {heights[index + 1]:.2f} mm" for index, _ in missing]
    )


def _listed(gaps: Sequence[str]) -> str:
    more = f" and in {len(gaps) - _RUNS_SHOWN} more gaps" if len(gaps) > _RUNS_SHOWN else ""
    return ", ".join(gaps[:_RUNS_SHOWN]) + more


def steps_text(heights: Vector) -> str:
    """Return runs of equal steps, as '13 x 4.00 mm, 1 x 1.08 mm'."""
    steps = np.diff(heights)
    allowed = tolerance_mm(float(np.median(steps)))
    jumps = [index + 1 for index, (a, b) in enumerate(pairwise(steps)) if abs(b - a) > allowed]
    bounds = list(pairwise([0, *jumps, len(steps)]))
    shown = [
        f"{end - start} x {float(np.mean(steps[start:end])):.2f} mm"
        for start, end in bounds[:_RUNS_SHOWN]
    ]
    more = f" and {len(bounds) - _RUNS_SHOWN} more runs" if len(bounds) > _RUNS_SHOWN else ""
    return ", ".join(shown) + more
