"""Volumes, counted once: SEG, SR, picture and `result.json` all carry these numbers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ich_node.codes import CLASSES, SUBTYPES

# Volumes are rounded to so many digits, not decimals: a voxel, however small, is never 0 mL, and
# 0 mL says that there is none. As decimal strings they have 12 of 16 characters at most.
DIGITS = 6


def voxels(labels: npt.NDArray[np.uint8]) -> dict[str, int]:
    """Return how many voxels each of `codes.CLASSES` has; `any` is the union.

    Parameters
    ----------
    labels
        0, or 1 + index into `codes.SUBTYPES`; any shape.

    Raises
    ------
    ValueError
        A label names no subtype.
    """
    bleeds = labels[labels != 0]
    counts = np.bincount(bleeds, minlength=len(SUBTYPES) + 1)
    if len(counts) > len(SUBTYPES) + 1:
        raise ValueError(f"label {len(counts) - 1} names no subtype, at most {len(SUBTYPES)} does")
    return dict(zip(CLASSES, (bleeds.size, *counts[1:].tolist()), strict=True))


def volumes_ml(
    labels: npt.NDArray[np.uint8], voxels_ml: npt.NDArray[np.float64]
) -> dict[str, float]:
    """Return the volume of each of `codes.CLASSES`, mL; `any` is the union.

    It is 0 only where a class has no voxel.

    Parameters
    ----------
    labels
        As `voxels` takes them, shape (slice, row, column).
    voxels_ml
        Volume of a voxel of each slice, shape (slice,), mL.
    """
    counts = [voxels(plane) for plane in labels]
    return {
        name: float(f"{np.dot([count[name] for count in counts], voxels_ml):.{DIGITS}g}")
        for name in CLASSES
    }


def volume_text(ml: float) -> str:
    """Return a volume for people: one decimal, and never 0.0 for what is there."""
    if 0 < ml < 0.1:
        return "< 0.1 mL"
    return f"{ml:.1f} mL"


def percent_text(fraction: float) -> str:
    """Return a probability or threshold for people."""
    return f"{percent(fraction):.1f} %"


def percent(fraction: float) -> float:
    """Return a fraction as percent to the tenth, as it is written everywhere."""
    return round(100.0 * fraction, 1)
