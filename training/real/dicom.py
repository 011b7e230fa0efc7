"""DICOM slices, read by the node's own reader.

A scan whose slices are labelled one by one is read as a pile: the node would refuse a tilted
gantry, uneven steps or a missing slice, and what a slice shows is true all the same. A scan that
the node is measured on is read as the node reads it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ich_node.assemble import checks
from ich_node.assemble.pixels import hounsfield
from ich_node.assemble.source import SourceImage, numbers
from ich_node.assemble.stack import SAME_POSITION_MM
from ich_node.complete.choose import choose_series
from ich_node.complete.facts import facts_of
from ich_node.errors import SeriesRefused
from ich_node.geometry import plane_axes, plane_map_of
from ich_node.pipeline.folder import series_of
from ich_node.pipeline.stages import header, volume_of
from ich_node.records import CtVolume
from ich_node.settings import Selection
from training.real.records import DataError


@dataclass(frozen=True)
class Pile:
    """Slices from inferior to superior, whatever lies between them.

    Parameters
    ----------
    hu
        float32 (slice, row, column), HU, each slice turned as axial head CT is read.
    spacing_mm
        Along the axes of ``hu``; between slices the median step along their normal.
    names
        Of the file of each slice.
    """

    hu: npt.NDArray[np.float32]
    spacing_mm: tuple[float, float, float]
    names: tuple[str, ...]


def pile_of(images: Sequence[SourceImage]) -> Pile:
    """Sort slices of one series by their positions along the normal and bring them to HU.

    Raises
    ------
    DataError
        They are not axial CT slices of one series and matrix, or two share a place.
    """
    try:
        _check(images)
        orientation = checks.common_orientation(images)
        checks.check_axial(orientation)
        ordered, heights = _sorted(images, orientation)
        hu = hounsfield(ordered)
    except SeriesRefused as refused:
        raise DataError(refused.text) from refused
    along_row, along_column, _ = plane_axes(orientation)
    turn = plane_map_of(along_row, along_column)
    row_mm, column_mm = numbers(ordered[0].dataset, "PixelSpacing", 2) or (0.0, 0.0)
    if turn.transpose:
        row_mm, column_mm = column_mm, row_mm
    step = float(np.median(np.diff(heights)))
    turned = np.ascontiguousarray(turn.to_canonical(hu))
    return Pile(turned, (step, row_mm, column_mm), tuple(image.name for image in ordered))


def chosen_volume(folder: Path) -> CtVolume:
    """Choose the series of a folder and assemble it as the node does.

    Raises
    ------
    DataError
        The folder holds no series, or none that the node would read.
    """
    series, others = series_of(folder)
    if not series:
        raise DataError(f"no DICOM file in {folder} ({others} other files); unpack it again")
    headers = {
        uid: [found for path in paths if (found := header(path)) is not None]
        for uid, paths in series.items()
    }
    rules = Selection()
    readable, refused = choose_series([facts_of(one, rules) for one in headers.values()], rules)
    if not readable:
        reasons = "; ".join(sorted({refusal.text for _, refusal in refused}))
        raise DataError(f"the node would read none of its {len(series)} series: {reasons}")
    try:
        return volume_of(series[readable[0].series_instance_uid])
    except SeriesRefused as refused:
        raise DataError(
            f"the node refuses the series that it would choose of {len(series)}: {refused.text}"
        ) from refused


def _check(images: Sequence[SourceImage]) -> None:
    if len(images) < 2:
        raise DataError(f"{len(images)} slices are no scan")
    for check in (
        checks.check_each_is_ct,
        checks.check_one_series,
        checks.check_pixels_are_there,
        checks.check_geometry_is_there,
        checks.check_one_grid,
    ):
        check(images)


def _sorted(
    images: Sequence[SourceImage], orientation: Sequence[float]
) -> tuple[list[SourceImage], npt.NDArray[np.float64]]:
    """Return the images from inferior to superior and how high each lies, mm."""
    normal = plane_axes(orientation)[2]
    superior = normal if normal[2] > 0 else -normal
    places = np.array([numbers(image.dataset, "ImagePositionPatient", 3) for image in images])
    heights = places @ superior
    order = np.argsort(heights, kind="stable")
    heights = heights[order]
    close = np.flatnonzero(np.diff(heights) < SAME_POSITION_MM)
    if close.size:
        pair = [images[order[close[0] + step]].name for step in (0, 1)]
        raise DataError(
            f"files {pair[0]} and {pair[1]} of a series lie at the same place; which belongs to "
            "the scan cannot be told, leave the series out"
        )
    return [images[index] for index in order], heights
