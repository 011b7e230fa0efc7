"""Stored values to Hounsfield units."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import Dataset
from pydicom.uid import UID

from ich_node import codestream
from ich_node.assemble.source import SourceImage, among, number, text
from ich_node.decoding import Undecodable, stored_values
from ich_node.errors import Reason, SeriesRefused

# A volume of 1024 slices of 512 x 512, or of 256 of 1024 x 1024: 1 GB as HU, and it is held twice.
MOST_VOXELS = 1 << 28
# What lies below air is padding outside the reconstructed circle (GE sends -1500, -2000, -3024).
AIR_HU = -1024.0
# Nothing in a head, metal included, is as dense as the padding that some scanners send above it.
HIGHEST_HU = 32000.0
# A picture of a head has this much air around or in it, padding apart, or it is not in HU.
REAL_AIR_HU = (-1100.0, -200.0)
AIR_FRACTION = 1e-3

# Of Rescale Type (PS3.3 C.11.1.1.2).
_UNITS = (
    *("OD", "HU", "US", "MGML", "Z_EFF", "ED", "EDW", "HU_MOD", "PCT"),
    *("NORMALIZED", "UNSPECIFIED"),
)


def hounsfield(images: Sequence[SourceImage]) -> npt.NDArray[np.float32]:
    """Decode images of one matrix and rescale each by its own slope and intercept.

    Returns
    -------
    ndarray
        float32, shape (image, row, column) as sent, HU; nothing below -1024.

    Raises
    ------
    SeriesRefused
        TOO_LARGE, before anything is decoded; UNREADABLE where pixels cannot be; NOT_HU where
        values are not Hounsfield units.
    """
    check_voxels(images)
    first = images[0].dataset
    hu = np.empty((len(images), int(first.Rows), int(first.Columns)), np.float32)
    for plane, image in zip(hu, images, strict=True):
        slope, intercept = _rescale(image)
        stored = _stored_values(image, plane.shape)
        np.multiply(stored, np.float32(slope), out=plane, casting="unsafe")
        np.add(plane, np.float32(intercept), out=plane)
        _clear_high_padding(image.dataset, stored, plane, (slope, intercept))
    check_air(hu)
    np.maximum(hu, AIR_HU, out=hu)
    return hu


def check_voxels(images: Sequence[SourceImage]) -> None:
    """All frames together are a volume that fits into memory.

    Raises
    ------
    SeriesRefused
        TOO_LARGE; UNREADABLE where Rows, Columns or Number of Frames are none of an image.
    """
    sizes = [_size(image) for image in images]
    slices = sum(size[0] for size in sizes)
    _, rows, columns = max(sizes, key=math.prod, default=(0, 0, 0))
    check_volume(sum(map(math.prod, sizes)), f"{slices} slices of {rows} x {columns}")


def _size(image: SourceImage) -> tuple[int, int, int]:
    try:
        frames = codestream.frames_of(image.dataset)
        rows, columns, _samples = codestream.size_of(image.dataset)
    except codestream.Unsound as error:
        raise SeriesRefused(Reason.UNREADABLE, f"file {image.name}: {error}") from error
    return frames, rows, columns


def check_volume(voxels: float, what: str) -> None:
    """So many voxels fit into memory.

    Raises
    ------
    SeriesRefused
        TOO_LARGE.
    """
    if voxels > MOST_VOXELS:
        raise SeriesRefused(
            Reason.TOO_LARGE,
            f"{what} are {voxels / 1e6:.0f} million voxels, at most {MOST_VOXELS / 1e6:.0f} "
            "million are read; send thicker slices or a smaller matrix",
        )


def _rescale(image: SourceImage) -> tuple[float, float]:
    """Return slope and intercept (PS3.3 C.11.1), both Type 1 in CT (PS3.3 C.8.2.1)."""
    dataset = image.dataset
    slope, intercept = number(dataset, "RescaleSlope"), number(dataset, "RescaleIntercept")
    unit = text(dataset, "RescaleType")
    if slope is None or intercept is None or slope <= 0:
        raise SeriesRefused(
            Reason.NOT_HU,
            f"file {image.name}: Rescale Intercept (0028,1052) is {_shown(intercept)} and Rescale "
            f"Slope (0028,1053) is {_shown(slope)}; without both, values are not HU",
        )
    if unit not in ("", "HU"):
        raise SeriesRefused(
            Reason.NOT_HU,
            f"file {image.name}: Rescale Type (0028,1054) is {among(unit, _UNITS)}, expected HU",
        )
    return slope, intercept


def _shown(value: float | None) -> str:
    return "absent" if value is None else f"{value:g}"


def _stored_values(image: SourceImage, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """Decode the stored values of one image.

    Bits above High Bit, which may hold an overlay, do not count (PS3.5 8.1.1). The array may be of
    the other byte order.
    """
    _check_high_bit(image)
    stored = decoded(image)
    if stored.shape != shape:
        raise SeriesRefused(
            Reason.UNREADABLE,
            f"file {image.name}: pixel data has shape {stored.shape}, expected {shape}",
        )
    return stored


def decoded(image: SourceImage) -> npt.NDArray[Any]:
    """Decode what an image holds, as pydicom shapes it.

    Raises
    ------
    SeriesRefused
        UNREADABLE.
    """
    syntax = UID(text(image.dataset.file_meta, "TransferSyntaxUID"))
    try:
        return stored_values(image.dataset)
    except Undecodable as error:
        raise SeriesRefused(
            Reason.UNREADABLE,
            f"file {image.name}: pixel data in {syntax.name} cannot be decoded "
            f"({error}); send it again, uncompressed if need be",
        ) from error


def _check_high_bit(image: SourceImage) -> None:
    """The value lies in the lowest bits (PS3.3 C.8.2.1): decoders take that for granted."""
    used, high = number(image.dataset, "BitsStored"), number(image.dataset, "HighBit")
    if used is not None and high is not None and high != used - 1:
        raise SeriesRefused(
            Reason.UNREADABLE,
            f"file {image.name}: High Bit (0028,0102) is {high:g} with {used:g} Bits Stored "
            f"(0028,0101), expected {used - 1:g}; send the images as the scanner made them",
        )


def _clear_high_padding(
    dataset: Dataset,
    stored: npt.NDArray[Any],
    plane: npt.NDArray[np.float32],
    rescale: tuple[float, float],
) -> None:
    """Make air of padding that is above anything in a head; padding below is clamped anyway.

    A padding value within the range of tissue is left alone: some senders write 0 there, which
    is water.
    """
    padding = number(dataset, "PixelPaddingValue")
    if padding is not None and padding * rescale[0] + rescale[1] > HIGHEST_HU:
        plane[stored == padding] = AIR_HU


def check_air(hu: npt.NDArray[np.float32]) -> None:
    """Values hold as much air as a picture of a head in HU must.

    Raises
    ------
    SeriesRefused
        NOT_HU.
    """
    lowest, highest = REAL_AIR_HU
    fraction = float(np.count_nonzero((hu >= lowest) & (hu <= highest))) / hu.size
    if fraction < AIR_FRACTION:
        raise SeriesRefused(
            Reason.NOT_HU,
            f"values are not plausible HU: they run from {hu.min():.0f} to {hu.max():.0f} and "
            f"{100 * fraction:.2f} % are air ({lowest:.0f} to {highest:.0f}); "
            f"at least {100 * AIR_FRACTION:g} % are expected",
        )
