"""From slices where they were taken to the regular grid that the network reads, and back.

The planes of the grid are parallel to the slices: a tilted stack is set upright by moving each
slice within its own plane, so that nothing is blurred along the patient but where slices are
uneven.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk  # noqa: N813 - the name that its own documentation uses

from ich_node.assemble.pixels import AIR_HU, check_volume
from ich_node.assemble.stack import STRAIGHT_MM, STRAIGHT_OF_PIXEL, Stack, tolerance_mm
from ich_node.errors import CheckFailed
from ich_node.records import CtVolume, Prediction, SourceSlices

# A place half-way between two voxels may count for either.
_HALF = 0.5 + 1e-6


def on_grid(source: SourceSlices, stack: Stack) -> dict[str, Any]:
    """Resample slices that are tilted or uneven onto the even grid of their stack.

    Within the plane by linear interpolation, at the true position of each slice; along the normal
    linearly between the two slices around, a slice that lies on a plane of the grid being taken as
    it is. The grid holds all that any slice shows and has the proportions of a slice.

    Returns
    -------
    dict
        ``hu``, ``spacing_mm`` and ``origin_mm`` of `CtVolume`.

    Raises
    ------
    SeriesRefused
        TOO_LARGE, before the grid is made.
    """
    _check_grid(stack.planes, source.hu.shape[1:])
    upright, origin = (source.hu, source.origins_mm[0]) if stack.straight else _upright(source)
    hu = np.empty((stack.planes, *upright.shape[1:]), np.float32)
    for plane, height in zip(hu, stack.step_mm * np.arange(stack.planes), strict=True):
        plane[:] = _at(upright, stack, float(height))
    return {
        "hu": hu,
        "spacing_mm": (stack.step_mm, *source.pixel_spacing_mm),
        "origin_mm": tuple(float(part) for part in origin),
    }


def _check_grid(planes: int, matrix: Sequence[int] | npt.NDArray[np.int_]) -> None:
    rows, columns = (int(count) for count in matrix)
    what = f"the {planes} planes of {rows} x {columns} that its geometry asks for"
    check_volume(planes * rows * columns, what)


def _at(hu: npt.NDArray[np.float32], stack: Stack, height: float) -> npt.NDArray[np.float32]:
    """Return what slices that lie over one another show at one height."""
    shown: npt.NDArray[np.float32]
    heights = stack.heights_mm
    nearest = int(np.abs(heights - height).argmin())
    if abs(heights[nearest] - height) <= tolerance_mm(stack.step_mm):
        shown = hu[nearest]
        return shown
    above = int(np.searchsorted(heights, height))
    part = np.float32((height - heights[above - 1]) / (heights[above] - heights[above - 1]))
    shown = (1 - part) * hu[above - 1] + part * hu[above]
    return shown


def _upright(source: SourceSlices) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]:
    """Move slices within their planes until they lie over one another.

    Returns
    -------
    hu, origin_mm
        Larger planes that hold them all, air around, and the place of the first voxel.
    """
    in_plane = np.array(source.direction)[:, 1:]
    sideways = (source.origins_mm - source.origins_mm[0]) @ in_plane / source.pixel_spacing_mm
    sent = np.array(source.hu.shape[1:])
    # Whole pixels, so that the slice farthest to the front and right stays as it is.
    needed = np.ceil(sideways.max(0) - sideways.min(0) - 1e-6) + sent
    matrix = np.ceil((needed / sent).max() * sent - 1e-6).astype(int)
    _check_grid(len(source.hu), matrix)
    first = sideways.min(0) - (matrix - needed.astype(int)) // 2
    planes = np.stack(
        [_moved(hu, at, matrix) for hu, at in zip(source.hu, sideways - first, strict=True)]
    )
    return planes, source.origins_mm[0] + in_plane @ (first * source.pixel_spacing_mm)


def _moved(
    plane: npt.NDArray[np.float32], to: npt.NDArray[np.float64], matrix: npt.NDArray[np.int_]
) -> npt.NDArray[np.float32]:
    """Lay a plane with its first pixel at (row, column) of a larger one."""
    image = sitk.GetImageFromArray(plane)
    image.SetOrigin((float(to[1]), float(to[0])))
    size = (int(matrix[1]), int(matrix[0]))
    upright, lattice = ((0.0, 0.0), (1.0, 1.0)), (1.0, 0.0, 0.0, 1.0)
    moved = sitk.Resample(image, size, sitk.Transform(), sitk.sitkLinear, *upright, lattice, AIR_HU)
    array: npt.NDArray[np.float32] = sitk.GetArrayFromImage(moved)
    return array


def onto_source(prediction: Prediction, volume: CtVolume) -> Prediction:
    """Bring what was found on the grid of a volume back to the slices that it was made from.

    Each pixel of a slice takes the label of the nearest voxel in patient space, each slice the
    probability at its height.

    Raises
    ------
    CheckFailed
        A slice does not lie on the grid where it should: an error of ours.
    """
    source = volume.source
    steps = np.array(volume.spacing_mm)
    exact = (source.origins_mm - volume.origin_mm) @ np.array(volume.direction) / steps
    if volume.hu.shape[1:] == source.hu.shape[1:]:
        exact[:, 1:] = _straight(exact[:, 1:], steps[1:])
    nearest = np.rint(exact[:, 0]).astype(int)
    if volume.hu is source.hu:
        _check_each_on_its_plane(exact[:, 0])
    labels = np.zeros(source.hu.shape, np.uint8)
    for into, plane, (row, column) in zip(labels, nearest, exact[:, 1:], strict=True):
        if not 0 <= plane < len(volume.hu):
            raise CheckFailed(f"a source image lies {abs(plane)} planes outside the volume")
        rows = _nearest(row, into.shape[0], volume.hu.shape[1])
        columns = _nearest(column, into.shape[1], volume.hu.shape[2])
        into[:] = prediction.labels[plane][np.ix_(rows, columns)]
    of_slices = np.interp(
        exact[:, 0], np.arange(len(volume.hu)), np.array(prediction.slice_probabilities)
    )
    return replace(
        prediction, labels=labels, slice_probabilities=tuple(float(part) for part in of_slices)
    )


def _straight(
    exact: npt.NDArray[np.float64], pixel_mm: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Slices taken as lying straight over one another do so."""
    allowed = max(STRAIGHT_MM, STRAIGHT_OF_PIXEL * float(pixel_mm.min()))
    off = np.linalg.norm(exact * pixel_mm, axis=1)
    if off.max() > allowed + 1e-6:
        raise CheckFailed(
            f"slice {int(off.argmax()) + 1} of the volume is {off.max():.2f} mm away from its "
            "source image"
        )
    return np.zeros_like(exact)


def _check_each_on_its_plane(exact: npt.NDArray[np.float64]) -> None:
    off = np.abs(exact - np.arange(len(exact)))
    if off.max() >= _HALF:
        raise CheckFailed(
            f"slice {int(off.argmax()) + 1} of the volume is {off.max():.2f} planes away from its "
            "source image"
        )


def _nearest(first: float, count: int, there: int) -> npt.NDArray[np.int_]:
    """Return the index on the grid that is nearest to each pixel of a row or column of pixels."""
    index: npt.NDArray[np.int_] = np.rint(first + np.arange(count)).astype(int)
    if index[0] < 0 or index[-1] >= there:
        raise CheckFailed("a source image reaches out of the volume")
    return index
