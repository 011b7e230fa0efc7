"""NIfTI volumes turned to the project's axes, and masks held against their images."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
from nibabel.affines import apply_affine, voxel_sizes
from nibabel.filebasedimages import ImageFileError
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

from ich_node.assemble.pixels import AIR_HU, check_air
from ich_node.errors import SeriesRefused
from training.real.records import DataError, Labels

# NIfTI counts to the right, to the front and up (RAS+); ours are its axes turned to the left, to
# the back and up, last to first.
_AXES = axcodes2ornt(("L", "P", "S"))
# Headers are rounded (float32, quaternions); a pixel of a head CT is 0.4 mm.
_SAME_PLACE_MM = 0.1


@dataclass(frozen=True)
class Scan:
    """A CT volume as in `records.Loaded`, and how its slices lie in the file.

    ``file_axis`` is the axis of the file's array that runs from slice to slice, ``file_slices`` the
    index along it of each of our slices.
    """

    hu: npt.NDArray[np.float32]
    spacing_mm: tuple[float, float, float]
    file_axis: int
    file_slices: tuple[int, ...]


def read_ct(path: Path) -> Scan:
    """Read a CT volume in HU.

    Raises
    ------
    DataError
        It cannot be read, does not say how it lies in the patient, or is not in HU.
    """
    image = _open(path)
    turn = ornt_transform(io_orientation(image.affine), _AXES)
    hu = np.maximum(_turned(image, path), np.float32(AIR_HU))
    try:
        check_air(hu)
    except SeriesRefused as refused:
        raise DataError(
            f"{path.name}: {refused.text}; read the HU volume, not a windowed copy of it"
        ) from refused
    axis = int(np.flatnonzero(turn[:, 0] == 2)[0])
    order = range(len(hu)) if turn[axis, 1] > 0 else reversed(range(len(hu)))
    left, posterior, superior = _sizes_mm(image)[np.argsort(turn[:, 0])]
    return Scan(hu, (float(superior), float(posterior), float(left)), axis, tuple(order))


def read_mask(path: Path, image: Path) -> npt.NDArray[np.int64]:
    """Read a mask that lies on the grid of its image.

    Returns
    -------
    ndarray
        (slice, row, column), the values as they are in the file.

    Raises
    ------
    DataError
        It cannot be read, lies on another grid, or holds fractions.
    """
    check_pair(image, path)
    values = _turned(_open(path), path)
    rounded = np.rint(values)
    if np.abs(values - rounded).max() > 0.01:
        raise DataError(
            f"{path.name}: a mask holds whole numbers, this one fractions; masks must be resampled "
            "by nearest neighbour"
        )
    return rounded.astype(np.int64)


def check_pair(image: Path, mask: Path) -> None:
    """A mask has the shape of its image and lies where it lies; only headers are read.

    Raises
    ------
    DataError
        It does not; both files are named.
    """
    one, other = _open(image), _open(mask)
    if one.shape != other.shape:
        raise DataError(
            f"image {image.name} has shape {one.shape}, mask {mask.name} has {other.shape}; "
            "a mask must be of its image's grid: is it another scan's?"
        )
    apart = np.abs(_corners(one) - _corners(other)).max()
    if apart > _SAME_PLACE_MM:
        raise DataError(
            f"image {image.name} and mask {mask.name} lie up to {apart:.1f} mm apart by their "
            f"affines, at most {_SAME_PLACE_MM:g} mm is allowed; if the voxels do agree, give the "
            "mask the image's affine"
        )


def shape_of(path: Path) -> tuple[int, ...]:
    """Return the shape of the array in a file, by its header."""
    return tuple(map(int, _open(path).shape))


def labels_of(mask: npt.NDArray[np.int64], table: Mapping[int, int], path: Path) -> Labels:
    """Translate the values of a mask to labels.

    Parameters
    ----------
    table
        From value to label; 0 stays 0.

    Raises
    ------
    DataError
        The mask holds another value.
    """
    strange = sorted(set(np.unique(mask).tolist()) - {0, *table})
    if strange:
        raise DataError(
            f"mask {path.name} holds {', '.join(map(str, strange))}; expected 0 or "
            f"{', '.join(map(str, table))}"
        )
    labels = np.zeros(mask.shape, np.uint8)
    for value, label in table.items():
        labels[mask == value] = label
    return labels


def _open(path: Path) -> Any:  # noqa: ANN401 - nibabel has no types
    try:
        image = nib.load(path)
    except FileNotFoundError as error:
        raise DataError(f"{path} is not there; unpack it again, or take the scan out") from error
    except (ImageFileError, OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path.name} is no NIfTI file; download it again") from error
    if not isinstance(image, nib.Nifti1Pair) or len(image.shape) != 3:
        raise DataError(
            f"{path.name} is {type(image).__name__} of shape {image.shape}, expected a NIfTI "
            "volume of three axes"
        )
    _check_orientation(image, path)
    return image


def _check_orientation(image: Any, path: Path) -> None:  # noqa: ANN401
    if not (int(image.header["sform_code"]) or int(image.header["qform_code"])):
        raise DataError(
            f"{path.name} does not say how it lies in the patient (sform_code and qform_code are "
            "0); find out, and write the affine with nibabel's set_sform(affine, code=1)"
        )
    affine = image.affine[:3, :3]
    if not np.isfinite(image.affine).all() or abs(np.linalg.det(affine)) < 1e-6:
        raise DataError(f"{path.name}: its affine {affine.round(3).tolist()} is that of no volume")


def _turned(image: Any, path: Path) -> npt.NDArray[np.float32]:  # noqa: ANN401
    """Return the voxels as (slice, row, column)."""
    turn = ornt_transform(io_orientation(image.affine), _AXES)
    try:
        voxels = image.get_fdata(dtype=np.float32, caching="unchanged")
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise DataError(f"{path.name} breaks off; download it again") from error
    if not np.isfinite(voxels).all():
        raise DataError(f"{path.name} holds values that are no numbers (NaN or infinite)")
    turned = nib.orientations.apply_orientation(voxels, turn)
    return np.ascontiguousarray(turned.transpose(2, 1, 0))


def _sizes_mm(image: Any) -> npt.NDArray[np.float64]:  # noqa: ANN401
    """Return the voxel size along each axis of the file."""
    return np.asarray(voxel_sizes(image.affine), np.float64)


def _corners(image: Any) -> npt.NDArray[np.float64]:  # noqa: ANN401
    """Return where the eight corners of the grid lie, (8, 3), mm."""
    ends = np.array(np.meshgrid(*[(0, count - 1) for count in image.shape])).reshape(3, -1).T
    return np.asarray(apply_affine(image.affine, ends), np.float64)
