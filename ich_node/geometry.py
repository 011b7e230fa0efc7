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
