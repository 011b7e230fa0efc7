"""Stage assemble, stage by stage: read, check, sort, rescale, turn, look."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset
from pydicom.uid import UID

from ich_node.assemble import carrier, checks
from ich_node.assemble.head import check_head
from ich_node.assemble.pixels import hounsfield
from ich_node.assemble.source import SourceImage, number, read, text
from ich_node.assemble.stack import Stack, stack_of
from ich_node.geometry import PlaneMap, plane_map_of
from ich_node.records import CtVolume


def assemble(paths: Sequence[Path]) -> CtVolume:
    """Read the files of one CT series into a checked volume.

    The volume depends on the files only, not on their order or names. No scanner's number or
    location is believed for the order: slices are sorted by Image Position (Patient) along the
    normal of the images (PS3.3 C.7.6.2.1.1).

    Parameters
    ----------
    paths
        The files, in any order.

    Returns
    -------
    CtVolume
        In HU, turned as axial head CT is read.

    Raises
    ------
    SeriesRefused
        The files are not one regular axial CT series of a head in HU; with the reason and the
        numbers measured.
    CheckFailed
        The geometry found does not stand up to a second computation: an error of ours.
    """
    sent = read(paths)
    images = _accepted(sent)
    orientation = checks.common_orientation(images)
    checks.check_axial(orientation)
    stack = stack_of(images, orientation)
    plane_map = plane_map_of(stack.along_row, stack.along_column)
    image = carrier.to_canonical(carrier.image_of(hounsfield(stack.images), stack), plane_map)
    hu, placed = carrier.array_of(image), carrier.geometry_of(image)
    head = check_head(hu, placed["spacing_mm"])
    return CtVolume(
        hu=hu,
        **placed,
        headers=tuple(_header(source) for source in stack.images),
        plane_map=plane_map,
        geometry={**_facts(sent, stack, plane_map, placed), **head},
    )


def _accepted(sent: Sequence[SourceImage]) -> list[SourceImage]:
    """Return the distinct CT slices, having checked that they belong together."""
    checks.check_each_is_ct(sent)
    checks.check_one_series(sent)
    images = checks.without_localizers(checks.without_copies(sent))
    checks.check_enough(images)
    checks.check_pixels_are_there(images)
    checks.check_geometry_is_there(images)
    checks.check_one_grid(images)
    return images


def _header(source: SourceImage) -> Dataset:
    header = source.dataset
    del header.PixelData
    return header


def _facts(
    sent: Sequence[SourceImage],
    stack: Stack,
    plane_map: PlaneMap,
    placed: dict[str, Any],
) -> dict[str, Any]:
    """What was found and done, in words and numbers that JSON can carry."""
    datasets = [source.dataset for source in stack.images]
    first = datasets[0]
    distinct = {source.uid for source in sent}
    thicknesses = [number(dataset, "SliceThickness") for dataset in datasets]
    known = [thickness for thickness in thicknesses if thickness is not None]
    syntaxes = {UID(text(d.file_meta, "TransferSyntaxUID")).name for d in datasets}
    return {
        "slices": len(datasets),
        "matrix": [int(first.Rows), int(first.Columns)],
        "spacing_mm": [round(part, 4) for part in placed["spacing_mm"]],
        "thickness_mm": float(np.median(known)) if known else None,
        "orientation": [round(float(part), 6) for part in (*stack.along_row, *stack.along_column)],
        "patient_position": text(first, "PatientPosition"),
        "tilt_deg": round(stack.tilt_deg, 2),
        "gantry_tilt_tag_deg": number(first, "GantryDetectorTilt"),
        "position_jitter_mm": round(stack.jitter_mm, 3),
        "turned": {
            "transpose": plane_map.transpose,
            "flip_rows": plane_map.flip_rows,
            "flip_cols": plane_map.flip_cols,
        },
        "duplicates_dropped": len(sent) - len(distinct),
        "localizers_dropped": len(distinct) - len(datasets),
        "frame_of_reference": bool(text(first, "FrameOfReferenceUID")),
        "lossy": any(text(d, "LossyImageCompression") == "01" for d in datasets),
        "transfer_syntax": sorted(syntaxes),
    }
