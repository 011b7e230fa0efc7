"""Outlines of a mask along the edges of its pixels, and back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ich_node.codes import SUBTYPES
from ich_node.records import SourceSlices

Mask = npt.NDArray[np.bool_]
Point = tuple[int, int]
# Columns then rows, shape (vertex, 2), first vertex repeated at the end.
Polyline = npt.NDArray[np.float64]

# Graphic Data is FL, two numbers a vertex; in Explicit VR its length has 16 bits (PS3.5 7.1.2).
MAX_VERTICES = 8000
# What a reader uses of one class: crumbs and the hundredth region tell nothing more.
MIN_AREA_MM2 = 10.0
MAX_REGIONS = 100
_DIAGONALS_TOO = np.ones((3, 3), dtype=bool)


@dataclass(frozen=True)
class Outlined:
    """The outlines of a class that are given, and how many of its regions have one and have none.

    ``polylines`` are pairs of slice and outline: the slice with the largest area first, in a slice
    the largest region first.
    """

    polylines: list[tuple[int, Polyline]]
    given: int
    left_out: int


def fill_holes(mask: Mask) -> Mask:
    """Return the mask with everything that its outer outlines enclose, shape (row, column)."""
    filled = mask.copy()
    box = _box(mask)
    # What is joined, by edges or corners, to a border around the mask is outside.
    around = np.pad(~mask[box], 1, constant_values=True)
    outside, _ = ndimage.label(around, structure=_DIAGONALS_TOO)
    filled[box] = outside[1:-1, 1:-1] != outside[0, 0]
    return filled


def _box(mask: Mask) -> tuple[slice, slice]:
    """Rows and columns that hold every pixel of a mask."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    if not rows.size:
        return slice(0, 0), slice(0, 0)
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def regions(mask: Mask) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int_]]:
    """Return the regions of a mask, holes filled, numbered from 1, and the pixels of each.

    Parameters
    ----------
    mask
        Shape (row, column). Regions are joined by edges, not by corners.

    Returns
    -------
    tuple
        Shape (row, column), 0 outside; and shape (region,).
    """
    numbered = np.zeros(mask.shape, dtype=np.int32)
    box = _box(mask)
    numbered[box], count = ndimage.label(fill_holes(mask)[box])
    return numbered, np.bincount(numbered[box].ravel(), minlength=count + 1)[1:]


def choose(masks: npt.NDArray[np.bool_], pixel_mm2: float) -> Outlined:
    """Outline what a reader uses of a class: its `MAX_REGIONS` largest regions on all slices.

    Regions below `MIN_AREA_MM2` have no outline, unless the class has no larger one: then the
    largest has.

    Parameters
    ----------
    masks
        Shape (slice, row, column), of the source images.
    pixel_mm2
        Area of a pixel, mm2.
    """
    areas = np.count_nonzero(masks, axis=(1, 2))
    ranked = sorted(
        (-int(size), int(index), number)
        for index in np.flatnonzero(areas)
        for number, size in enumerate(regions(masks[index])[1], start=1)
    )
    large = [one for one in ranked if -one[0] * pixel_mm2 >= MIN_AREA_MM2]
    kept = (large or ranked[:1])[:MAX_REGIONS]
    wanted: dict[int, list[int]] = {}
    for _, index, number in sorted(kept, key=lambda one: (-areas[one[1]], one[1], one[0])):
        wanted.setdefault(index, []).append(number)
    polylines = [
        (index, outline)
        for index, numbers in wanted.items()
        for _, outline in _traced(regions(masks[index])[0], numbers)
    ]
    return Outlined(polylines, len(kept), len(ranked) - len(kept))


def of_classes(source: SourceSlices, labels: npt.NDArray[np.uint8]) -> dict[str, Outlined]:
    """Return the outlines of each subtype with a voxel, in the rows and columns that were sent."""
    area = float(np.prod(source.pixel_spacing_mm))
    sent = source.plane_map.to_source(labels)
    return {
        name: choose(sent == value, area)
        for value, name in enumerate(SUBTYPES, start=1)
        if (labels == value).any()
    }


def outlines(mask: Mask) -> list[Polyline]:
    r"""Return the closed outer outlines of a mask, the largest region first.

    Vertices are corners of pixels in the coordinates of SCOORD: column, row, where 0\0 is the top
    left corner of the first pixel and Columns\Rows the bottom right corner of the last one
    (PS3.3 C.18.6.1.2). So an outline encloses exactly the pixels of its region, holes included.

    Parameters
    ----------
    mask
        Shape (row, column), of the source image. Regions are joined by edges, not by corners; one
        with more than `MAX_VERTICES` corners is given in parts.
    """
    numbered, sizes = regions(mask)
    found = _traced(numbered, range(1, len(sizes) + 1))
    return [outline for _, outline in sorted(found, key=lambda pair: -pair[0])]


def _traced(numbered: npt.NDArray[np.int32], wanted: Iterable[int]) -> list[tuple[int, Polyline]]:
    """Return size and outline of these regions without holes."""
    boxes = ndimage.find_objects(numbered)
    found = []
    for number in wanted:
        rows, columns = boxes[number - 1]
        corner = np.array([columns.start, rows.start], dtype=np.float64)
        parts = _parts(numbered[rows, columns] == number)
        found += [(size, part + corner) for size, part in parts]
    return found


def _parts(region: Mask) -> list[tuple[int, Polyline]]:
    """Return size and outline of one region, of its halves where it is too ragged to be written."""
    outline = _trace(region)
    if len(outline) <= MAX_VERTICES:
        return [(int(region.sum()), outline)]
    middle = len(region) // 2  # the halves have no holes either
    found = []
    for half, top in ((region[:middle], 0), (region[middle:], middle)):
        numbered, count = ndimage.label(half)
        parts = _traced(numbered, range(1, count + 1))
        found += [(size, part + np.array([0, top])) for size, part in parts]
    return found


def fill(polylines: Iterable[Polyline], shape: tuple[int, int]) -> Mask:
    """Return the pixels that outlines of `outlines` enclose, shape (row, column).

    Raises
    ------
    ValueError
        A vertex is not the corner of a pixel of the image, or an edge is oblique.
    """
    filled = np.zeros(shape, dtype=bool)
    for polyline in polylines:
        corners = np.rint(polyline).astype(int)
        inside = (corners >= 0).all() and (corners <= (shape[1], shape[0])).all()
        if not inside or np.abs(corners - polyline).max() > 0.001:
            raise ValueError("an outline leaves the corners of the image's pixels")
        (left, top), (right, bottom) = corners.min(axis=0), corners.max(axis=0)
        filled[top:bottom, left:right] |= _enclosed(
            corners - (left, top), (bottom - top, right - left)
        )
    return filled


def _enclosed(corners: npt.NDArray[np.int_], shape: tuple[int, int]) -> Mask:
    """Even-odd rule along rows: a pixel is inside after an odd number of vertical edges."""
    toggles = np.zeros((shape[0], shape[1] + 1), dtype=np.uint8)
    for (column, row), (next_column, next_row) in pairwise(corners):
        if column != next_column and row != next_row:
            raise ValueError("an outline has an oblique edge")
        toggles[min(row, next_row) : max(row, next_row), column] ^= 1
    return np.bitwise_xor.accumulate(toggles, axis=1)[:, :-1].astype(bool)


def _trace(region: Mask) -> Polyline:
    """Walk the outer edge of one region, pixels on the right hand, corners only."""
    steps = _edges(np.pad(region, 1))
    start = min(steps)
    point, heading = start, (0, 1)
    corners: list[Point] = []
    while True:
        heading_next = _turn(steps[point], heading)
        if heading_next != heading or not corners:
            corners.append(point)
        heading = heading_next
        steps[point].remove(heading)
        point = (point[0] + heading[0], point[1] + heading[1])
        if point == start:
            break
    corners.append(start)
    return np.array([(column - 1, row - 1) for row, column in corners], dtype=np.float64)


def _edges(padded: Mask) -> dict[Point, list[Point]]:
    """Every unit edge between inside and outside as corner -> headings, inside on the right.

    Corner (r, c) is the top left corner of pixel (r, c) of the padded region; a heading is the
    step (rows, columns) to the next corner.
    """
    steps: dict[Point, list[Point]] = {}
    above, below = padded[:-1, :], padded[1:, :]
    left, right = padded[:, :-1], padded[:, 1:]
    for inside, offset, heading in (
        (below & ~above, (1, 0), (0, 1)),
        (above & ~below, (1, 1), (0, -1)),
        (left & ~right, (0, 1), (1, 0)),
        (right & ~left, (1, 1), (-1, 0)),
    ):
        for row, column in np.argwhere(inside).tolist():
            steps.setdefault((row + offset[0], column + offset[1]), []).append(heading)
    return steps


def _turn(headings: list[Point], heading: Point) -> Point:
    """Where two edges leave a corner, turn right: pixels that meet at a corner stay apart."""
    right = (heading[1], -heading[0])
    return right if right in headings else headings[0]
