"""What pictures of results have in common: the window, the colours, the letters, the edges."""

from __future__ import annotations

from functools import cache

import highdicom as hd
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from ich_node.codes import OF_CLASS
from ich_node.report.outlines import Mask

# The brain window: blood is bright, brain grey, liquor dark.
WINDOW_HU = (0.0, 80.0)

Rgb = tuple[int, int, int]

BLACK: Rgb = (12, 14, 18)
WHITE: Rgb = (240, 240, 240)
GREY: Rgb = (150, 150, 150)
AMBER: Rgb = (255, 190, 70)


def windowed(hu: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Return grey values of any array of HU in the brain window."""
    low, high = WINDOW_HU
    grey = np.clip((hu - low) / (high - low), 0.0, 1.0) * 255.0
    return np.asarray(grey.astype(np.uint8))


@cache
def colour(name: str) -> Rgb:
    """Return the colour in which viewers draw the segment of a class."""
    red, green, blue = hd.color.CIELabColor.from_dicom_value(OF_CLASS[name].cielab).to_rgb()
    return int(red), int(green), int(blue)


@cache
def font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    """Return the letters of pictures; ``size`` in pixels."""
    return ImageFont.load_default(size)


def edges(mask: Mask) -> Mask:
    """Return the pixels of a mask that have one outside beside them, shape (row, column)."""
    inside = np.zeros_like(mask)
    inside[1:-1, 1:-1] = mask[:-2, 1:-1] & mask[2:, 1:-1] & mask[1:-1, :-2] & mask[1:-1, 2:]
    return mask & ~inside


def wrapped(text: str, width: int, size: int) -> list[str]:
    """Break a text into lines that fit a width in pixels."""
    canvas = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and canvas.textlength(longer, font=font(size)) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines
