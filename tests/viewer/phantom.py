"""A head whose bleed is off-centre on every axis and changes its size from slice to slice."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from pydicom import Dataset

from ich_node.selftest.series import build_series
from tests.support.series import head_hu

SLICES = 24
MATRIX = (512, 512)
SPACING_MM = (5.0, 0.45, 0.45)
BLOOD_HU = 72
# Towards the vertex, the front and the patient's left; at one fifth of the stack it is half cut.
_CENTRE_MM, _RADIUS_MM = (22.0, -28.0, 30.0), 25.0
_HEAD_BLOOD_HU, _SCALP_HU, _BRAIN_HU = 65, 40, 32


def hu_of(bleeds: bool) -> npt.NDArray[np.float32]:
    """The head in HU, with a ball of blood or without; axes as in `CtVolume`."""
    hu = head_hu(SLICES, MATRIX, SPACING_MM)
    brain = hu.max((1, 2), keepdims=True, initial=0, where=(hu >= _BRAIN_HU) & (hu < _SCALP_HU))
    hu = np.where(hu == _HEAD_BLOOD_HU, brain, hu)
    grid = np.indices(hu.shape, np.float32) - (np.array(hu.shape).reshape(3, 1, 1, 1) - 1) / 2
    off = grid * np.reshape(SPACING_MM, (3, 1, 1, 1)) - np.reshape(_CENTRE_MM, (3, 1, 1, 1))
    if bleeds:
        hu[np.sqrt((off**2).sum(0)) < _RADIUS_MM] = BLOOD_HU
    return hu


def series(seed: int, bleeds: bool = True) -> list[Dataset]:
    """The head as the CT of a patient of its own, inferior slice first."""
    return build_series(hu_of(bleeds), spacing_mm=SPACING_MM, seed=seed)


def telling_slice() -> int:
    """Return the index of the slice whose bleed differs most from those of both its neighbours."""
    areas = _areas()
    inside = np.flatnonzero(areas > 0.2 * areas.max())
    least = [min(abs(areas[i] - areas[i - 1]), abs(areas[i] - areas[i + 1])) for i in inside]
    return int(inside[int(np.argmax(least))])


def largest_slice() -> int:
    """Return the index of the slice with most of the bleed."""
    return int(np.argmax(_areas()))


def volume_ml() -> float:
    """Return the volume of the bleed, mL."""
    return float(_areas().sum() * np.prod(SPACING_MM) / 1000)


def _areas() -> npt.NDArray[np.float64]:
    """Return the voxels of the bleed in each slice."""
    return (hu_of(True) == BLOOD_HU).sum((1, 2)).astype(float)
