"""Geometry as values: how the pixels of a source slice lie in the patient.

Patient coordinates are DICOM's: LPS, in mm (PS3.3 C.7.6.2.1.1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class PlaneMap:
    """How a source slice is turned to be shown as axial CT is read, and back.

    Canonical planes have rows running anterior to posterior and columns running from the
    patient's right to the left. The map is one of the eight symmetries of the square, so it is
    exact in both directions.

    Parameters
    ----------
    transpose
        Exchange rows and columns first.
    flip_rows, flip_cols
        Reverse the rows, the columns, after the exchange.
    """

    transpose: bool = False
    flip_rows: bool = False
    flip_cols: bool = False

    def to_canonical(self, source: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Turn an array whose last two axes are (row, column) of the source; a view."""
        turned = np.swapaxes(source, -1, -2) if self.transpose else source
        return self._flip(turned)

    def to_source(self, canonical: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Undo `to_canonical`; a view."""
        turned = self._flip(canonical)
        return np.swapaxes(turned, -1, -2) if self.transpose else turned

    def _flip(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        if self.flip_rows:
            array = array[..., ::-1, :]
        if self.flip_cols:
            array = array[..., :, ::-1]
        return array


# A series with fewer images than this shows no head, whatever their spacing.
MIN_SLICES = 8
# A whole head is 120 to 180 mm high; less is a part of one.
WHOLE_HEAD_MM = 100.0

Vector = npt.NDArray[np.float64]


def part_mm(extents_mm: Vector) -> float | None:
    """Return how much of the patient slices cover along their normal, mm; None for a whole head.

    Parameters
    ----------
    extents_mm
        Shape (slice,); how much each of them stands for, mm.
    """
    covered = round(float(extents_mm.sum()), 1)
    return covered if covered < WHOLE_HEAD_MM else None


def unit(vector: npt.ArrayLike) -> Vector:
    """Return the vector brought to length 1."""
    array = np.asarray(vector, dtype=np.float64)
    with np.errstate(invalid="ignore"):  # a vector of no length has no direction: NaN
        return array / np.linalg.norm(array)


def plane_axes(orientation: npt.ArrayLike) -> tuple[Vector, Vector, Vector]:
    """Return the unit axes of an image from Image Orientation (Patient), PS3.3 C.7.6.2.1.1.

    Parameters
    ----------
    orientation
        Six direction cosines: of the first row, then of the first column.

    Returns
    -------
    along_row, along_column, normal
        LPS; the direction in which the column index grows, that in which the row index grows, and
        their cross product. Rounding in the cosines is taken out: the three are orthogonal.
    """
    cosines = np.asarray(orientation, dtype=np.float64)
    along_row = unit(cosines[:3])
    normal = unit(np.cross(along_row, cosines[3:]))
    return along_row, np.cross(normal, along_row), normal


def plane_map_of(along_row: Vector, along_column: Vector) -> PlaneMap:
    """Return the map that turns a source plane with these axes (LPS) to canonical rows and columns.

    Canonical columns grow to the patient's left (+x), canonical rows to posterior (+y); an oblique
    axis counts for the one that it is nearest to.
    """
    transpose = bool(abs(along_row[0]) < abs(along_row[1]))
    to_left, to_posterior = (along_column, along_row) if transpose else (along_row, along_column)
    return PlaneMap(
        transpose=transpose,
        flip_rows=bool(to_posterior[1] < 0),
        flip_cols=bool(to_left[0] < 0),
    )
