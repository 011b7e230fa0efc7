"""What two screenshots show: the bright bleed before, what marks it after; no more is asked.

Nothing inside the viewer is consulted, so nothing in it can make a wrong picture look right.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

Mask = npt.NDArray[np.bool_]

DICE, SHIFT_PX = 0.95, 1.0
# Between brain and the white of bone; half-way to the brain is the bleed's edge.
_BLEED = (171, 250)
_COLOURED = 40
# Corner texts and the scroll bar stand at the border of the picture.
_MARGIN_PX = 80
_BETWEEN_DASHES = np.ones((7, 7))


@dataclass(frozen=True)
class Overlay:
    """How an overlay, or what an outline encloses, lies on the bleed that it marks.

    ``shift_px`` is the distance of the centroids in screen pixels; ``colour_before`` counts the
    coloured pixels before the result was opened.
    """

    dice: float
    shift_px: float
    colour_before: int

    @property
    def lies_on_the_bleed(self) -> bool:
        return self.dice > DICE and self.shift_px < SHIFT_PX and not self.colour_before


def compare(before: Path, after: Path, box: Mapping[str, float]) -> Overlay:
    """Measure an overlay from the pictures before and after it was opened.

    Parameters
    ----------
    before, after
        Screenshots at the same slice and zoom.
    box
        Of the image in them: ``x``, ``y``, ``width``, ``height``, screen pixels.
    """
    return _lying(before, box, _chroma(_inside(after, box)) > _COLOURED)


def compare_outline(before: Path, after: Path, box: Mapping[str, float]) -> Overlay:
    """Measure likewise what a green outline encloses; it may be dashed, with text beside it."""
    red, green, blue = np.moveaxis(_inside(after, box), -1, 0)
    line = green - np.maximum(red, blue) > _COLOURED
    closed = ndimage.binary_dilation(line, _BETWEEN_DASHES)
    enclosed = ndimage.binary_erosion(ndimage.binary_fill_holes(closed), _BETWEEN_DASHES)
    return _lying(before, box, _largest(enclosed))


def _lying(before: Path, box: Mapping[str, float], mark: Mask) -> Overlay:
    without = _inside(before, box)
    bleed = _bleed(without)
    colour = int((_chroma(without) > _COLOURED).sum())
    if not bleed.any() or not mark.any():
        return Overlay(0.0, float("inf"), colour)
    centres = [np.argwhere(mask).mean(0) for mask in (bleed, mark)]
    return Overlay(
        dice=float(2 * (bleed & mark).sum() / (bleed.sum() + mark.sum())),
        shift_px=float(np.linalg.norm(centres[0] - centres[1])),
        colour_before=colour,
    )


def magenta(path: Path, box: Mapping[str, float]) -> int:
    """Count the pixels in the colour of the phantom's bleed; nothing else on a page has it."""
    red, green, blue = np.moveaxis(_inside(path, box), -1, 0)
    return int((np.minimum(red, blue) - green > _COLOURED).sum())


def _inside(path: Path, box: Mapping[str, float]) -> npt.NDArray[np.int16]:
    """Return the middle of the image, shape (row, column, 3)."""
    left, top = round(box["x"]) + _MARGIN_PX, round(box["y"]) + _MARGIN_PX
    right = round(box["x"] + box["width"]) - _MARGIN_PX
    bottom = round(box["y"] + box["height"]) - _MARGIN_PX
    pixels = np.asarray(Image.open(path).convert("RGB"), np.int16)
    return pixels[top:bottom, left:right]


def _chroma(pixels: npt.NDArray[np.int16]) -> npt.NDArray[np.int16]:
    """Return how far a pixel is from grey."""
    return np.asarray(pixels.max(2) - pixels.min(2), np.int16)


def _bleed(pixels: npt.NDArray[np.int16]) -> Mask:
    """Return the largest bright region; rims of bone are thin, and left out by an opening."""
    low, high = _BLEED
    grey = pixels.mean(2)
    bright = (grey > low) & (grey < high) & (_chroma(pixels) <= _COLOURED)
    core = _largest(bright)
    return np.asarray(bright & ndimage.binary_dilation(core, np.ones((7, 7))), np.bool_)


def _largest(mask: Mask) -> Mask:
    """Return the largest region without what is thin."""
    thick = ndimage.binary_opening(mask, np.ones((7, 7)))
    regions, count = ndimage.label(thick)
    if not count:
        return np.zeros_like(mask)
    sizes = ndimage.sum_labels(thick, regions, range(1, count + 1))
    return np.asarray(regions == 1 + int(np.argmax(sizes)), np.bool_)
