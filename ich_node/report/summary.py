"""The summary picture: the slice with the largest bleed, as it is and with the outlines drawn in.

It carries no patient identity: a picture is copied to places that no record is.
"""

from __future__ import annotations

from pathlib import Path

import highdicom as hd
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from ich_node.codes import CLASSES, OF_CLASS, SUBTYPES
from ich_node.records import CtVolume, Prediction
from ich_node.report import words
from ich_node.report.identity import RESEARCH_USE
from ich_node.report.measure import percent_text, volumes_ml
from ich_node.report.outlines import outlines

# The brain window: blood is bright, brain grey, liquor dark.
WINDOW_HU = (0.0, 80.0)

_PANEL = 560  # largest side of a panel, pixels
_MARGIN = 24
_HEADER = 64
_ROW = 30
_FOOTER = 52
_COLUMNS = (24, 310, 430)  # where class, probability and volume begin in the legend
_LEGEND = _ROW * (len(CLASSES) + 1)
_CHART = 210

Rgb = tuple[int, int, int]

_BLACK: Rgb = (12, 14, 18)
_WHITE: Rgb = (240, 240, 240)
_GREY: Rgb = (150, 155, 162)
_AMBER: Rgb = (255, 190, 70)
_BAR: Rgb = (88, 96, 108)


def draw_summary(volume: CtVolume, prediction: Prediction, path: Path) -> Path:
    """Draw the result as one PNG for people.

    Two panels show the slice with the largest bleed in the brain window, the second with the
    outline of each class in the colour of its segment; without a mask one panel shows the middle
    slice. The patient's right is on the left.

    Parameters
    ----------
    volume, prediction
        The slices of the volume's source are shown.
    path
        The file to write.
    """
    index = _slice_to_show(prediction)
    panel = _panel(volume, index)
    bled = bool(prediction.labels.any())
    second = 2 * _MARGIN + _PANEL
    # Legend and chart stand under two panels, or one below the other beside the only panel.
    below = _HEADER + panel.height + _MARGIN
    legend = (_MARGIN, below) if bled else (second, _HEADER)
    chart = (second, below) if bled else (second, _HEADER + _LEGEND + 2 * _MARGIN)
    bottom = max(below, legend[1] + _LEGEND, chart[1] + _CHART)
    picture = Image.new("RGB", (second + _PANEL + _MARGIN, bottom + _FOOTER), _BLACK)
    canvas = ImageDraw.Draw(picture)
    picture.paste(panel, (_MARGIN, _HEADER))
    _draw_sides(canvas, _MARGIN, panel)
    if bled:
        _draw_outlines(panel, prediction.labels[index])
        picture.paste(panel, (second, _HEADER))
        _draw_sides(canvas, second, panel)
    _draw_header(canvas, picture.width - _MARGIN, prediction, index)
    _draw_legend(canvas, legend, volume, prediction)
    _draw_chart(canvas, chart, prediction, index)
    _draw_footer(canvas, (picture.width - _MARGIN, bottom + 18), prediction)
    picture.save(path, format="PNG", optimize=True)
    return path


def _slice_to_show(prediction: Prediction) -> int:
    areas = np.count_nonzero(prediction.labels, axis=(1, 2))
    return int(areas.argmax()) if areas.any() else len(areas) // 2


def _panel(volume: CtVolume, index: int) -> Image.Image:
    """One slice in the brain window with square pixels, RGB."""
    low, high = WINDOW_HU
    grey = np.clip((volume.source.hu[index] - low) / (high - low), 0.0, 1.0) * 255.0
    height_mm, width_mm = (
        count * step for count, step in zip(grey.shape, volume.source.pixel_spacing_mm, strict=True)
    )
    per_mm = _PANEL / max(height_mm, width_mm)
    size = (round(width_mm * per_mm), round(height_mm * per_mm))
    image = Image.fromarray(grey.astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)
    return image.convert("RGB")


def _draw_outlines(panel: Image.Image, labels: npt.NDArray[np.uint8]) -> None:
    canvas = ImageDraw.Draw(panel)
    scale = (panel.width / labels.shape[1], panel.height / labels.shape[0])
    for value, name in enumerate(SUBTYPES, start=1):
        for outline in outlines(labels == value):
            points = [(float(x), float(y)) for x, y in outline * scale]
            canvas.line(points, fill=_colour(name), width=2, joint="curve")


def _draw_header(
    canvas: ImageDraw.ImageDraw, right: int, prediction: Prediction, index: int
) -> None:
    found = prediction.scores["any"].present
    title = "Intracranial haemorrhage found" if found else "No haemorrhage found"
    canvas.text((_MARGIN, 18), title, fill=_WHITE, font=_font(26))
    place = f"Slice {index + 1} of {len(prediction.labels)}, counted from below"
    canvas.text((right, 26), place, fill=_GREY, font=_font(16), anchor="ra")


def _draw_sides(canvas: ImageDraw.ImageDraw, left: int, panel: Image.Image) -> None:
    """R and L of the patient, as a viewer shows them."""
    middle = _HEADER + panel.height // 2
    canvas.text((left + 8, middle), "R", fill=_GREY, font=_font(18), anchor="lm")
    canvas.text((left + panel.width - 8, middle), "L", fill=_GREY, font=_font(18), anchor="rm")


def _draw_legend(
    canvas: ImageDraw.ImageDraw,
    corner: tuple[int, int],
    volume: CtVolume,
    prediction: Prediction,
) -> None:
    """Every class with its probability and volume; those found stand out."""
    left, top = corner
    volumes = volumes_ml(prediction.labels, volume.source.voxels_ml)
    _draw_row(canvas, corner, ("Class", "Probability", "Volume"), _GREY)
    for number, name in enumerate(CLASSES, start=1):
        score = prediction.scores[name]
        y = top + _ROW * number
        size = words.size_text(volumes[name]) if score.present else "-"
        row = (OF_CLASS[name].name, percent_text(score.probability), size)
        _draw_row(canvas, (left, y), row, _WHITE if score.present else _GREY)
        if name in SUBTYPES and score.present:
            canvas.rectangle((left, y + 4, left + 14, y + 18), fill=_colour(name))


def _draw_row(
    canvas: ImageDraw.ImageDraw, corner: tuple[int, int], row: tuple[str, str, str], fill: Rgb
) -> None:
    for offset, text in zip(_COLUMNS, row, strict=True):
        canvas.text((corner[0] + offset, corner[1]), text, fill=fill, font=_font(17))


def _draw_chart(
    canvas: ImageDraw.ImageDraw,
    corner: tuple[int, int],
    prediction: Prediction,
    shown: int,
) -> None:
    """One bar for the probability of each slice, inferior on the left; the slice shown is white."""
    left, top = corner
    canvas.text((left, top), "Probability of haemorrhage by slice", fill=_GREY, font=_font(17))
    ceiling, floor = top + _ROW + 4, top + _CHART - _ROW
    step = _PANEL / len(prediction.slice_probabilities)
    for index, probability in enumerate(prediction.slice_probabilities):
        x, end = round(left + index * step), round(left + (index + 1) * step)
        height = max(1, round((floor - ceiling) * probability))
        fill = _WHITE if index == shown else _BAR
        canvas.rectangle((x, floor - height, max(x, end - 2), floor), fill=fill)
    canvas.line((left, ceiling, left + _PANEL, ceiling), fill=_BAR)
    canvas.text((left, floor + 6), "Inferior", fill=_GREY, font=_font(14))
    right = left + _PANEL
    canvas.text((right, floor + 6), "Superior", fill=_GREY, font=_font(14), anchor="ra")
    canvas.text((right, ceiling - 4), "100 %", fill=_GREY, font=_font(14), anchor="rd")


def _draw_footer(
    canvas: ImageDraw.ImageDraw, corner: tuple[int, int], prediction: Prediction
) -> None:
    right, y = corner
    canvas.text((_MARGIN, y), RESEARCH_USE, fill=_AMBER, font=_font(17))
    model = f"{prediction.model.name} {prediction.model.version}"
    canvas.text((right, y), model, fill=_GREY, font=_font(15), anchor="ra")


def _colour(name: str) -> Rgb:
    """The colour in which viewers draw the segment."""
    red, green, blue = hd.color.CIELabColor.from_dicom_value(OF_CLASS[name].cielab).to_rgb()
    return int(red), int(green), int(blue)


def _font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)
