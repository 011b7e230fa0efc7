"""Outlines of a mask along the edges of its pixels, and back."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Mask = npt.NDArray[np.bool_]
Point = tuple[int, int]
# Columns then rows, shape (vertex, 2), first vertex repeated at the end.
Polyline = npt.NDArray[np.float64]

# Graphic Data is FL, two numbers a vertex; in Explicit VR its length has 16 bits (PS3.5 7.1.2).
MAX_VERTICES = 8000
_DIAGONALS_TOO = np.ones((3, 3), dtype=bool)


def fill_holes(mask: Mask) -> Mask:
    """Return the mask with everything that its outer outlines enclose, shape (row, column)."""
    filled = mask.copy()
    for where in ndimage.find_objects(mask.astype(np.uint8)):  # one box around everything
        filled[where] = ndimage.binary_fill_holes(mask[where], structure=_DIAGONALS_TOO)
    return filled


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
    found = _sized(fill_holes(mask))
    return [outline for _, outline in sorted(found, key=lambda pair: -pair[0])]


def _sized(filled: Mask) -> list[tuple[int, Polyline]]:
    """Return size and outline of each region of a mask without holes."""
    regions, _ = ndimage.label(filled)
    found = []
    for number, (rows, columns) in enumerate(ndimage.find_objects(regions), start=1):
        region = regions[rows, columns] == number
        outline = _trace(region)
        if len(outline) <= MAX_VERTICES:
            parts = [(int(region.sum()), outline)]
        else:  # too ragged to be written: in halves, which have no holes either
            middle = len(region) // 2
            lower = [(size, part + np.array([0, middle])) for size, part in _sized(region[middle:])]
            parts = [*_sized(region[:middle]), *lower]
        corner = np.array([columns.start, rows.start], dtype=np.float64)
        found += [(size, part + corner) for size, part in parts]
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
        filled |= _enclosed(corners, shape)
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
