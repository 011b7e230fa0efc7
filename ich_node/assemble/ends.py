"""`python -m ich_node.assemble.ends LOW WIDE HIGH ...` tells of stacks whether they are whole.

The receiver asks before a series is called complete. What a decoder of compressed pixels does to
its process must not end receiving: so it may be asked in a process of its own.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from ich_node.assemble.head import MIN_AREA_CM2, look_inside
from ich_node.assemble.pixels import hounsfield
from ich_node.assemble.source import numbers, read
from ich_node.errors import SeriesRefused

WHOLE, NOT_WHOLE = "whole", "not"
# Towards the skull base, bone encloses less than this part of the wide brain's area.
BASE_OF_WIDE = 0.5
_ONE_SLICE_MM = 5.0


def ends_outside(lowest: Path, wide: Path, highest: Path) -> bool:
    """Tell whether a head is whole between its lowest and its highest slice.

    Parameters
    ----------
    lowest, highest
        The end slices.
    wide
        A slice that shows the wide brain if this is a head.

    Returns
    -------
    bool
        The wide slice shows brain in a skull; the highest shows hardly anything within bone; the
        lowest shows no brain in a skull, or so little as at the skull base. False too where pixels
        cannot be read.
    """
    try:
        (low, wide_cm2, high) = (_inside(path) for path in (lowest, wide, highest))
    except SeriesRefused:
        return False
    area, shows_brain = wide_cm2
    above = high[0] < MIN_AREA_CM2
    below = not low[1] or low[0] < BASE_OF_WIDE * area
    return bool(shows_brain and above and below)


def _inside(path: Path) -> tuple[float, bool]:
    """Return what bone encloses in a slice, cm2, and whether it looks like brain in a skull.

    Raises
    ------
    SeriesRefused
        The file or its pixels cannot be read.
    """
    images = read([path])
    spacing = numbers(images[0].dataset, "PixelSpacing", 2) or (1.0, 1.0)
    found = look_inside(hounsfield(images), (_ONE_SLICE_MM, spacing[0], spacing[1]))
    return float(found.area_cm2[0]), bool(found.shows_brain[0])


def main(arguments: Sequence[str]) -> int:
    """Print one word for each three paths, each as soon as it is known."""
    paths = [Path(argument) for argument in arguments]
    for at in range(0, len(paths), 3):
        sys.stdout.write(f"{WHOLE if ends_outside(*paths[at : at + 3]) else NOT_WHOLE}\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
