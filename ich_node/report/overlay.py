"""Every slice in the brain window with the edges of its masks, pixel by pixel.

An edge is drawn on the outermost pixels of its mask and in a colour that no grey value has, so that
the mask can be read back from the picture. All writing stands below the slice.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from ich_node.codes import SUBTYPES
from ich_node.records import CtVolume, Prediction
from ich_node.report import drawing
from ich_node.report.drawing import AMBER, BLACK, GREY, WHITE, colour, font
from ich_node.report.identity import RESEARCH_USE

# A smaller matrix is drawn with so many picture pixels to a pixel that writing fits below it.
_LEAST_WIDTH = 512
_BAND = 66
_LINES = (6, 26, 46)  # where the lines of writing begin
_MARGIN = 8


def scale_of(plane: tuple[int, ...]) -> int:
    """Return how many picture pixels stand for a pixel of a slice, along rows and columns."""
    return math.ceil(_LEAST_WIDTH / min(plane))


def draw_overlay(volume: CtVolume, prediction: Prediction, index: int) -> npt.NDArray[np.uint8]:
    """Draw one slice of the source, turned as axial CT is read.

    Parameters
    ----------
    volume, prediction
        The slices of the volume's source are shown.
    index
        Of the slice, from below.

    Returns
    -------
    numpy.ndarray
        RGB, shape (row, column, 3): the slice at the top, writing below it.
    """
    labels = prediction.labels[index]
    rgb = np.repeat(drawing.windowed(volume.source.hu[index])[:, :, np.newaxis], 3, axis=2)
    for value, name in enumerate(SUBTYPES, start=1):
        rgb[drawing.edges(labels == value)] = colour(name)
    scale = scale_of(labels.shape)
    enlarged = rgb.repeat(scale, axis=0).repeat(scale, axis=1)
    return np.concatenate([enlarged, _band(enlarged.shape[1], prediction, index)])


def _band(width: int, prediction: Prediction, index: int) -> npt.NDArray[np.uint8]:
    """The writing below a slice: sides, classes on it, which slice it is, what it is not for."""
    picture = Image.new("RGB", (width, _BAND), BLACK)
    canvas = ImageDraw.Draw(picture)
    right = width - _MARGIN
    first, second, third = _LINES
    canvas.text((_MARGIN, first), "R", fill=WHITE, font=font(14))
    canvas.text((right, first), "L", fill=WHITE, font=font(14), anchor="ra")
    place = f"Slice {index + 1} of {len(prediction.labels)}, counted from below"
    canvas.text((width // 2, first), place, fill=WHITE, font=font(13), anchor="ma")
    _draw_classes(canvas, (_MARGIN, second), prediction, index)
    canvas.text((_MARGIN, third), RESEARCH_USE, fill=AMBER, font=font(12))
    model = f"{prediction.model.name} {prediction.model.version}"
    canvas.text((right, third), model, fill=GREY, font=font(12), anchor="ra")
    return np.asarray(picture)


def _draw_classes(
    canvas: ImageDraw.ImageDraw, corner: tuple[int, int], prediction: Prediction, index: int
) -> None:
    x, y = corner
    found = [
        name
        for value, name in enumerate(SUBTYPES, start=1)
        if (prediction.labels[index] == value).any()
    ]
    if not found:
        canvas.text(corner, "No segment on this slice", fill=GREY, font=font(12))
    for name in found:
        canvas.rectangle((x, y + 2, x + 9, y + 11), fill=colour(name))
        canvas.text((x + 14, y), name.capitalize(), fill=WHITE, font=font(12))
        x += 24 + round(canvas.textlength(name.capitalize(), font=font(12)))
