"""Average anatomy that simulated heads are bent from.

Grey and white matter of 1 mm (ICBM 152, in PyPI `nilearn`) are always there. An average head CT
with its skull base (`scct.nii.gz`, in Cormack units) is used where a folder with it is given.

Axes as everywhere: z to the vertex, y to the back, x to the left, mm from the anterior commissure.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import nibabel
import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn.functional import grid_sample

Volume = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Point = tuple[float, float, float]

_MAPS = "datasets/data/mni_icbm152_{}_tal_nlin_sym_09a_converted.nii.gz"
_SCCT = "scct.nii.gz"
# Of the 2 mm maps: the box that holds a whole head, mm.
_LOW, _HIGH, _STEP = (-90.0, -110.0, -110.0), (120.0, 150.0, 110.0), 2.0


class MissingAnatomy(Exception):
    """The package or the file that an average comes from is not there."""


@dataclass(frozen=True)
class Channels:
    """Maps on one grid.

    Parameters
    ----------
    maps
        float32 (1, map, z, y, x).
    low, step
        Position of the first voxel and distance between voxels, mm.
    """

    maps: Tensor
    low: Point
    step: float

    def at(self, z: Volume, y: Volume, x: Volume) -> list[Volume]:
        """Return every map, linear between voxels, at positions of any shape (slice, row, col)."""
        size = self.maps.shape[2:]
        unit = [
            torch.from_numpy(2 * (axis - low) / (self.step * (n - 1)) - 1)
            for axis, low, n in zip((x, y, z), self.low[::-1], size[::-1], strict=True)
        ]
        grid = torch.stack(unit, -1)[None]
        found = grid_sample(self.maps, grid, "bilinear", "border", align_corners=True)[0]
        return [np.asarray(one.numpy(), np.float32) for one in found]


@dataclass(frozen=True)
class Atlas:
    """The average head.

    ``tissue``: parts 0..1 of grey and of white matter, 1 mm. ``form``, 2 mm: depth below the inner
    table (negative outside), distance to the ventricles (negative inside), both in mm, and, where
    ``has_base``, HU of the average head.
    """

    tissue: Channels
    form: Channels
    has_base: bool


@lru_cache(maxsize=2)
def load_atlas(folder: Path | None = None) -> Atlas:
    """Read the averages and derive what is drawn from them.

    Parameters
    ----------
    folder
        Holds ``scct.nii.gz``, if there is one.

    Raises
    ------
    MissingAnatomy
        No `nilearn` is installed, or the folder lacks the file.
    """
    grey, white, low = _matter()
    form_grid = [
        np.arange(a, b + 1e-3, _STEP).astype(np.float32) for a, b in zip(_LOW, _HIGH, strict=True)
    ]
    z, y, x = np.meshgrid(*form_grid, indexing="ij")
    tissue = Channels(_stack(grey, white), low, 1.0)
    coarse_grey, coarse_white = tissue.at(z, y, x)
    matter = coarse_grey + coarse_white
    inside = _inside(matter)
    depth = _signed_mm(inside)
    maps = [depth, -_signed_mm(_ventricles(matter, depth, z, y, x))]
    if folder is not None:
        maps.append(_average_ct(folder).at(z, y, x)[0])
    return Atlas(tissue, Channels(_stack(*maps), _LOW, _STEP), folder is not None)


def _stack(*maps: Volume) -> Tensor:
    return torch.from_numpy(np.stack(maps).astype(np.float32))[None]


def _matter() -> tuple[Volume, Volume, Point]:
    found = find_spec("nilearn")
    if found is None or not found.submodule_search_locations:
        raise MissingAnatomy(
            "simulated heads need the maps in the package nilearn: "
            "pip install --no-deps --requirement training/anatomy.txt"
        )
    folder = Path(found.submodule_search_locations[0])
    grey, low = _read(folder / _MAPS.format("gm"))
    white, _ = _read(folder / _MAPS.format("wm"))
    return (grey / 255).astype(np.float32), (white / 255).astype(np.float32), low


def _average_ct(folder: Path) -> Channels:
    path = folder / _SCCT
    if not path.is_file():
        raise MissingAnatomy(f"{path} is not there: give the folder of the average head CT")
    stored, low = _read(path)
    hu = np.where(
        stored < 900,
        stored - 1000,
        np.where(stored <= 3100, (stored - 900) / 11 - 100, stored - 3000),
    )
    return Channels(_stack(hu.astype(np.float32)), low, _STEP)


def _read(path: Path) -> tuple[Volume, Point]:
    """Return a volume in our axes and the position of its first voxel, mm."""
    image = nibabel.as_closest_canonical(nibabel.load(path))
    array = np.asarray(image.dataobj, np.float32)  # to the right, to the front, up
    affine = image.affine
    far = [affine[axis, 3] + affine[axis, axis] * (array.shape[axis] - 1) for axis in (0, 1)]
    turned = np.ascontiguousarray(array.transpose(2, 1, 0)[:, ::-1, ::-1])
    return turned, (float(affine[2, 3]), float(-far[1]), float(-far[0]))


def _signed_mm(mask: Mask) -> Volume:
    """Distance to the border of a mask on the 2 mm grid, positive inside."""
    signed = ndimage.distance_transform_edt(mask) - ndimage.distance_transform_edt(~mask)
    smooth = ndimage.gaussian_filter(signed * _STEP, 0.8)
    return np.asarray(smooth, np.float32)


def _inside(matter: Volume) -> Mask:
    """The cavity of the skull: brain, its furrows closed, and a thin layer of fluid."""
    padded = np.pad(matter > 0.4, 10)
    closed = ndimage.distance_transform_edt(~padded) < 9.0
    shrunk = ndimage.distance_transform_edt(closed) > 8.0
    filled = ndimage.binary_fill_holes(shrunk)
    return np.asarray(filled[10:-10, 10:-10, 10:-10], bool)


def _ventricles(matter: Volume, depth: Volume, z: Volume, y: Volume, x: Volume) -> Mask:
    """Lateral, third and fourth ventricles: fluid deep inside the brain."""
    fluid = (matter < 0.45) & (depth > 14)
    lateral = fluid & (z > -22) & (z < 36) & (np.abs(x) < 42) & (y > -42) & (y < 70)
    lateral &= ~((np.abs(x) < 4) & ((y < -12) | (y > 30)))  # between the hemispheres
    lateral &= ~((z < -4) & (np.abs(x) < 20))  # cisterns
    lateral &= ~((z < 5) & (np.abs(x) < 15) & (y > 17))
    lateral &= ~((np.abs(x) > 22) & (y < 8) & (z > -6))  # Sylvian fissure
    third = fluid & (np.abs(x) < 4) & (z > -10) & (z < 12) & (y > -2) & (y < 30)
    fourth = fluid & (np.abs(x) < 10) & (z > -48) & (z < -22) & (y > 36) & (y < 58)
    return np.asarray(lateral | third | fourth, bool)
