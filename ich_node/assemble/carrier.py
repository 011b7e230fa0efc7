"""A SimpleITK image as the carrier of geometry, and as the second opinion on it.

The turn to canonical axes is done twice, by `PlaneMap` and by SimpleITK, and the position of every
slice is asked back from the image; what does not agree is an error of ours and goes no further.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk  # noqa: N813 - the name that its own documentation uses

from ich_node.assemble.source import numbers
from ich_node.assemble.stack import SIDEWAYS_TOLERANCE_MM, Stack, tolerance_mm
from ich_node.errors import CheckFailed
from ich_node.geometry import PlaneMap


def image_of(hu: npt.NDArray[np.float32], stack: Stack) -> sitk.Image:
    """Return the stack as an image in LPS with the rows and columns of the source.

    Where the stack is not regular, only the first slice lies in its place: an image cannot be
    sheared or uneven.

    Parameters
    ----------
    hu
        Shape (slice, row, column), slices inferior to superior.
    stack
        Where they lie.
    """
    between_rows, between_columns = numbers(stack.images[0].dataset, "PixelSpacing", 2) or (0, 0)
    image = sitk.GetImageFromArray(hu)
    image.SetSpacing((between_columns, between_rows, stack.step_mm))
    image.SetOrigin([float(part) for part in stack.positions_mm[0]])
    axes = np.stack([stack.along_row, stack.along_column, stack.superior], axis=1)
    image.SetDirection([float(part) for part in axes.ravel()])
    if stack.regular:
        _check_positions(image, stack)
    return image


def to_canonical(image: sitk.Image, plane_map: PlaneMap) -> sitk.Image:
    """Turn an image to axes running to the patient's left, to posterior and to superior.

    Raises
    ------
    CheckFailed
        SimpleITK turns it otherwise than the map does.
    """
    turned = sitk.DICOMOrient(image, "LPS")
    ours = plane_map.to_canonical(sitk.GetArrayViewFromImage(image))
    if not np.array_equal(ours, sitk.GetArrayViewFromImage(turned)):
        raise CheckFailed(f"{plane_map} does not turn the slices as their orientation says")
    return turned


def array_of(image: sitk.Image) -> npt.NDArray[np.float32]:
    """Return a copy of the voxels, shape (slice, row, column)."""
    array: npt.NDArray[np.float32] = sitk.GetArrayFromImage(image)
    return array


def geometry_of(image: sitk.Image) -> dict[str, Any]:
    """Return spacing, origin and direction as `CtVolume` has them: array axes, LPS, mm."""
    axes = np.array(image.GetDirection()).reshape(3, 3)[:, ::-1]
    x, y, z = image.GetSpacing()
    return {
        "spacing_mm": (z, y, x),
        "origin_mm": tuple(image.GetOrigin()),
        "direction": tuple(tuple(float(part) for part in row) for row in axes),
    }


def _check_positions(image: sitk.Image, stack: Stack) -> None:
    allowed = SIDEWAYS_TOLERANCE_MM + tolerance_mm(stack.step_mm)
    for index, source in enumerate(stack.images):
        there = np.array(image.TransformIndexToPhysicalPoint((0, 0, index)))
        said = np.array(numbers(source.dataset, "ImagePositionPatient", 3))
        if np.linalg.norm(there - said) > allowed:
            raise CheckFailed(
                f"slice {index} lies at {there.round(2).tolist()} mm in the volume, "
                f"at {said.round(2).tolist()} mm by its header"
            )
