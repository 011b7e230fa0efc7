"""What the headers of a series say of its places: a stack without gaps, numbered from 1 on."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    LegacyConvertedEnhancedCTImageStorage,
)

from ich_node.geometry import MIN_SLICES, Vector, plane_axes
from ich_node.records import Arrival

# Images nearer to one another than this lie at one place.
SAME_PLACE_MM = 0.1
# A step so many times as long as both its neighbours is a gap; one that stays is another spacing.
GAP_STEPS = 1.5
# Cosines of one orientation differ by rounding only.
SAME_DIRECTION = 1e-3
# How far below the top of a head the brain is wide.
WIDE_BRAIN_MM = 60.0

_MULTIFRAME = (EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage)


@dataclass(frozen=True)
class Stack:
    """What is known of a series without a look at its pixels.

    Parameters
    ----------
    slices
        How many CT slices there are, localizers apart.
    worth_reading
        It holds multi-frame CT, or as many CT slices as a head needs at least.
    gap
        Where slices are missing between others, in words; empty where none are, or where the
        slices do not say where they lie.
    placed
        Every CT slice says where it lies, in one orientation, and each place has as many images.
    numbered
        Instance Number runs from 1 to N over the instances, each once.
    height_mm
        From the lowest slice to the highest.
    ends
        SOP Instance UIDs of the lowest slice, of one in the wide brain if this is a whole head,
        and of the highest; empty where the slices are not placed.
    in_acquisition
        How many images the scanner says there are (Images in Acquisition, summed over the
        acquisitions); None where it does not say, or contradicts itself.
    """

    slices: int
    worth_reading: bool
    gap: str
    placed: bool
    numbered: bool
    height_mm: float
    ends: tuple[str, ...]
    in_acquisition: int | None


def stack_of(arrivals: Sequence[Arrival]) -> Stack:
    """Return what the headers of a series say."""
    slices = [item for item in arrivals if _is_slice(item)]
    multiframe = any(item.sop_class_uid in _MULTIFRAME for item in arrivals)
    heights = _heights(slices)
    order = np.argsort(heights, kind="stable") if heights is not None else np.array([], int)
    sorted_heights = heights[order] if heights is not None else np.array([])
    places, counts = _places(sorted_heights)
    placed = len(places) > 1 and len(set(counts)) == 1
    return Stack(
        slices=len(slices),
        worth_reading=multiframe or len(slices) >= MIN_SLICES,
        gap=_gap(places),
        placed=placed,
        numbered=sorted(item.number or 0 for item in arrivals) == list(range(1, len(arrivals) + 1)),
        height_mm=float(places[-1] - places[0]) if placed else 0.0,
        ends=_ends([slices[index] for index in order], sorted_heights) if placed else (),
        in_acquisition=_in_acquisition(slices),
    )


def _is_slice(item: Arrival) -> bool:
    words = item.placing.image_type.upper().split("\\")
    return item.sop_class_uid == CTImageStorage and "LOCALIZER" not in words[2:]


def _heights(slices: Sequence[Arrival]) -> Vector | None:
    """Return the place of each slice along the common normal, towards the head, mm."""
    orientations = [_numbers(item.placing.orientation, 6) for item in slices]
    positions = [_numbers(item.placing.position, 3) for item in slices]
    if not slices or None in orientations or None in positions:
        return None
    cosines = np.array(orientations, np.float64)
    if np.abs(cosines - cosines[0]).max() > SAME_DIRECTION:
        return None
    normal = plane_axes(cosines[0])[2]
    heights = np.asarray(positions, np.float64) @ (normal if normal[2] > 0 else -normal)
    return heights if np.isfinite(heights).all() else None


def _numbers(text: str, count: int) -> tuple[float, ...] | None:
    try:
        found = tuple(float(part) for part in text.split("\\"))
    except ValueError:
        return None
    return found if len(found) == count and all(map(math.isfinite, found)) else None


def _places(heights: Vector) -> tuple[Vector, list[int]]:
    """Return the distinct places, lowest first, and how many images lie at each."""
    if not heights.size:
        return heights, []
    first = np.flatnonzero(np.diff(heights, prepend=-np.inf) > SAME_PLACE_MM)
    return heights[first], np.diff(first, append=len(heights)).tolist()


def _gap(places: Vector) -> str:
    """Say where a step is longer than both its neighbours by what one missing slice makes it."""
    steps = np.diff(places)
    if len(steps) < 2:
        return ""
    beside = np.maximum(np.concatenate([[0.0], steps[:-1]]), np.concatenate([steps[1:], [0.0]]))
    gaps = np.flatnonzero(steps > GAP_STEPS * beside)
    if not gaps.size:
        return ""
    at = int(gaps[0])
    return f"a gap of {steps[at]:.1f} mm beside steps of {beside[at]:.1f} mm"


def _ends(slices: Sequence[Arrival], heights: Vector) -> tuple[str, ...]:
    wide = int(np.abs(heights - (heights[-1] - WIDE_BRAIN_MM)).argmin())
    return tuple(slices[index].sop_instance_uid for index in (0, wide, -1))


def _in_acquisition(slices: Sequence[Arrival]) -> int | None:
    """Add up Images in Acquisition (0020,1002) over the acquisitions (PS3.3 C.7.6.1)."""
    said = {item.placing.acquisition: item.placing.in_acquisition for item in slices}
    come = Counter(item.placing.acquisition for item in slices)
    consistent = all(
        item.placing.in_acquisition == said[item.placing.acquisition] for item in slices
    )
    total = 0
    for acquisition, number in said.items():
        if number is None or not consistent or number < come[acquisition]:
            return None
        total += number
    return total or None
