"""Stage assemble, stage by stage: read, check, sort, rescale, turn, set upright, look."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset
from pydicom.uid import UID

from ich_node.assemble import carrier, checks
from ich_node.assemble.acquisitions import left_out_text, one_image_a_place
from ich_node.assemble.frames import as_slices
from ich_node.assemble.grid import on_grid
from ich_node.assemble.head import check_head
from ich_node.assemble.pixels import hounsfield
from ich_node.assemble.source import SourceImage, number, read, text
from ich_node.assemble.stack import (
    LEAST_TILT_DEG,
    MAX_MISSING,
    Stack,
    apart_mm,
    gaps_text,
    stack_of,
    steps_text,
)
from ich_node.geometry import PlaneMap, part_mm, plane_map_of
from ich_node.records import CtVolume, FrameName, SourceSlices


def assemble(paths: Sequence[Path], max_missing: int = MAX_MISSING) -> CtVolume:
    """Read the files of one CT series into a checked volume.

    The volume depends on the files only, not on their order or names. No scanner's number or
    location is believed for the order: slices are sorted by Image Position (Patient) along the
    normal of the images (PS3.3 C.7.6.2.1.1). A regular stack is taken as it is; a tilted or uneven
    one is resampled, from the true position of each slice.

    Parameters
    ----------
    paths
        The files, in any order.
    max_missing
        How many missing slices may be bridged by what lies beside them.

    Returns
    -------
    CtVolume
        In HU, turned as axial head CT is read.

    Raises
    ------
    SeriesRefused
        The files are not one axial CT series of a head in HU that can be placed with certainty;
        with the reason and the numbers measured.
    CheckFailed
        The geometry found does not stand up to a second computation: an error of ours.
    """
    sent = read(paths)
    images, frames, dropped = _accepted(sent)
    orientation = checks.common_orientation(images)
    checks.check_axial(orientation)
    images, left_out = one_image_a_place(images, orientation)
    checks.check_enough(images)
    stack = stack_of(images, orientation, max_missing)
    source, placed = _source(stack, frames)
    if not stack.regular:
        placed = {**placed, **on_grid(source, stack)}
    head = check_head(placed["hu"], placed["spacing_mm"])
    done = [*_done(stack), *left_out_text(left_out["acquisitions_left_out"]), *_not_whole(stack)]
    found = _facts(stack, source.plane_map, placed)
    facts = {**found, "done": done, **dropped, **left_out, **head}
    return CtVolume(**placed, source=source, geometry=facts)


def _source(stack: Stack, frames: Mapping[str, FrameName]) -> tuple[SourceSlices, dict[str, Any]]:
    """Decode and turn the slices; with them what `CtVolume` has where the stack is regular."""
    plane_map = plane_map_of(stack.along_row, stack.along_column)
    sent = carrier.image_of(hounsfield(stack.images), stack)
    turned = carrier.to_canonical(sent, plane_map)
    placed = {"hu": carrier.array_of(turned), **carrier.geometry_of(turned)}
    # Where the turn brings the first voxel of a slice, seen from its first pixel.
    corner = np.array(turned.GetOrigin()) - np.array(sent.GetOrigin())
    source = SourceSlices(
        hu=placed["hu"],
        headers=tuple(_header(image) for image in stack.images),
        plane_map=plane_map,
        origins_mm=stack.positions_mm + corner,
        direction=placed["direction"],
        pixel_spacing_mm=placed["spacing_mm"][1:],
        extents_mm=stack.extents_mm,
        frames={image.uid: frames[image.uid] for image in stack.images if image.uid in frames},
    )
    return source, placed


def _accepted(
    sent: Sequence[SourceImage],
) -> tuple[list[SourceImage], dict[str, FrameName], dict[str, int]]:
    """Return the distinct CT slices, checked to belong together, the names of frames, and facts."""
    checks.check_each_is_ct(sent)
    checks.check_names_are_uids(sent)
    checks.check_one_series(sent)
    distinct = checks.without_copies(sent)
    slices, frames = as_slices(distinct)
    images = checks.without_localizers(slices)
    checks.check_enough(images)
    checks.check_pixels_are_there(images)
    checks.check_geometry_is_there(images)
    checks.check_one_grid(images)
    dropped = {
        "duplicates_dropped": len(sent) - len(distinct),
        "localizers_dropped": len(slices) - len(images),
    }
    return images, frames, dropped


def _header(source: SourceImage) -> Dataset:
    header = source.dataset
    del header.PixelData
    return header


def _facts(
    stack: Stack,
    plane_map: PlaneMap,
    placed: dict[str, Any],
) -> dict[str, Any]:
    """What was found and done, in words and numbers that JSON can carry."""
    datasets = [source.dataset for source in stack.images]
    first = datasets[0]
    thicknesses = [number(dataset, "SliceThickness") for dataset in datasets]
    known = [thickness for thickness in thicknesses if thickness is not None]
    syntaxes = {UID(text(d.file_meta, "TransferSyntaxUID")).name for d in datasets}
    return {
        "slices": len(datasets),
        "matrix": [int(first.Rows), int(first.Columns)],
        "steps": steps_text(stack.heights_mm),
        "resampled": not stack.regular,
        "planes_read": stack.planes,
        "spacing_mm": [round(part, 4) for part in placed["spacing_mm"]],
        "thickness_mm": float(np.median(known)) if known else None,
        "orientation": [round(float(part), 6) for part in (*stack.along_row, *stack.along_column)],
        "patient_position": text(first, "PatientPosition"),
        "tilt_deg": round(stack.tilt_deg, 2),
        "gantry_tilt_tag_deg": number(first, "GantryDetectorTilt"),
        "position_jitter_mm": round(stack.jitter_mm, 3) if stack.even else None,
        "interpolated_mm": _interpolated(stack),
        "turned": {
            "transpose": plane_map.transpose,
            "flip_rows": plane_map.flip_rows,
            "flip_cols": plane_map.flip_cols,
        },
        "frame_of_reference": bool(text(first, "FrameOfReferenceUID")),
        "lossy": any(text(d, "LossyImageCompression") == "01" for d in datasets),
        "transfer_syntax": sorted(syntaxes),
    }


def _done(stack: Stack) -> list[str]:
    """What was done to read the stack as a regular grid, in sentences."""
    done = []
    if not stack.straight:
        tilted = abs(stack.tilt_deg) >= LEAST_TILT_DEG
        tilt = f"gantry tilt of {stack.tilt_deg:+.1f} degrees"
        jitter = f"slices lie up to {stack.sideways_mm:.2f} mm sideways of the lowest"
        what = tilt if tilted else jitter
        done.append(
            f"{what}: every slice moved within its plane so that they lie over one another; the "
            "mask is given on the slices as sent"
        )
    if stack.missing:
        count = sum(number for _, number in stack.missing)
        where = gaps_text(stack.heights_mm, stack.missing)
        done.append(f"missing slices: {count}, {where} from the first; interpolated")
    elif not stack.even:
        done.append(
            f"steps of {steps_text(stack.heights_mm)}: read in even steps of {stack.step_mm:.2f} "
            "mm, interpolated between slices; the mask is given on the slices as sent"
        )
    apart = apart_mm(stack)
    if apart is not None:
        done.append("{:.3g} mm between slices of {:.3g} mm were not imaged".format(*apart))
    return done


def _not_whole(stack: Stack) -> list[str]:
    covered = part_mm(stack.extents_mm)
    return [] if covered is None else [f"the images cover {covered:g} mm, not a whole head"]


def _interpolated(stack: Stack) -> list[float]:
    """Heights along the normal, from the first slice, at which slices are missing, mm."""
    heights = stack.heights_mm
    return [
        round(float(height), 2)
        for index, count in stack.missing
        for height in np.linspace(heights[index], heights[index + 1], count + 2)[1:-1]
    ]
