"""The summary: the slices to look at first, as they are and with the outlines, and the numbers.

It carries no patient identity: a picture is copied to places that no record is.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from ich_node import __version__
from ich_node.codes import CLASSES, OF_CLASS, SUBTYPES
from ich_node.records import CtVolume, Prediction, Refusal
from ich_node.report import words
from ich_node.report.drawing import (
    AMBER,
    BLACK,
    GREY,
    WHITE,
    Rgb,
    colour,
    font,
    windowed,
    wrapped,
)
from ich_node.report.identity import PRODUCT, RESEARCH_USE
from ich_node.report.measure import volumes_ml
from ich_node.report.outlines import outlines

_PANEL = 560  # largest side of a panel, pixels
_MARGIN = 24
_HEADER = 64
_ROW = 30
_FOOTER = 74
_COLUMNS = (24, 310, 430)  # where class, probability and volume begin in the legend
_LEGEND = _ROW * (len(CLASSES) + 1)
_CHART = 210
_WIDTH = 3 * _MARGIN + 2 * _PANEL
_SIZES = (24, 18, 12)  # of the letters of a reason: the largest that fits
_NAME = 24  # height of a class's name beside the outlines
_BAR: Rgb = (88, 96, 108)

Corner = tuple[int, int]


def draw_summary(volume: CtVolume, prediction: Prediction, path: Path) -> Path:
    """Draw the result as one PNG for people: the first of `draw_pages`."""
    index, what = _slices_to_show(prediction)[0]
    _page(volume, prediction, index, what).save(path, format="PNG", optimize=True)
    return path


def draw_pages(
    volume: CtVolume, prediction: Prediction, when: str = ""
) -> list[tuple[int, Image.Image]]:
    """Draw the result as pages of one size, each of one slice.

    Two panels show the slice in the brain window, the second with the outline of each class in the
    colour of its segment; without a mask one panel shows the most suspicious slice of a haemorrhage
    found, else the middle one. The patient's right is on the left. The first page is of the slice
    with the largest bleed, those after it of the largest slice of each class that is not shown yet.

    Parameters
    ----------
    volume, prediction
        The slices of the volume's source are shown.
    when
        A line that tells when the images were taken and analysed.

    Returns
    -------
    list of tuple
        Index of the slice shown, and the page.
    """
    return [
        (index, _page(volume, prediction, index, what, when))
        for index, what in _slices_to_show(prediction)
    ]


def draw_refusal(refusal: Refusal, when: str = "") -> Image.Image:
    """Draw the page of a series that was not analysed: that it was not, and why."""
    picture = Image.new("RGB", (_WIDTH, _HEADER + _PANEL + _FOOTER), BLACK)
    canvas = ImageDraw.Draw(picture)
    canvas.text((_MARGIN, 18), "Not analysed", fill=AMBER, font=font(26))
    last = "No images were read for this report. It says nothing about haemorrhage."
    for size in _SIZES:
        lines = [*wrapped(f"Reason: {refusal.text}", _WIDTH - 2 * _MARGIN, size), "", last]
        if len(lines) * size * 1.5 < _PANEL - 40:
            break
    for number, line in enumerate(lines):
        y = _HEADER + 40 + round(number * size * 1.5)
        canvas.text((_MARGIN, y), line, fill=WHITE, font=font(size))
    _draw_footer(canvas, picture.height - _FOOTER + 14, f"{PRODUCT} {__version__}", when)
    return picture


def _slices_to_show(prediction: Prediction) -> list[tuple[int, str]]:
    """Index and name of the slices to show, that with the largest bleed first."""
    areas = np.count_nonzero(prediction.labels, axis=(1, 2))
    if not areas.any() and prediction.scores["any"].present:
        probabilities = prediction.slice_probabilities
        return [(probabilities.index(max(probabilities)), "the highest probability")]
    if not areas.any():
        return [(len(areas) // 2, "the middle slice")]
    shown = {int(areas.argmax()): "the largest area of haemorrhage"}
    for value, name in enumerate(SUBTYPES, start=1):
        of_class = np.count_nonzero(prediction.labels == value, axis=(1, 2))
        if of_class.any():
            what = f"the largest area of {OF_CLASS[name].name.lower()}"
            shown.setdefault(int(of_class.argmax()), what)
    return list(shown.items())


def _page(
    volume: CtVolume, prediction: Prediction, index: int, what: str, when: str = ""
) -> Image.Image:
    panel = _panel(volume, index)
    bled = bool(prediction.labels.any())
    second = 2 * _MARGIN + _PANEL
    # Legend and chart stand under two panels, or one below the other beside the only panel.
    below = _HEADER + panel.height + _MARGIN
    legend = (_MARGIN, below) if bled else (second, _HEADER)
    chart = (second, below) if bled else (second, _HEADER + _LEGEND + 2 * _MARGIN)
    bottom = max(below, legend[1] + _LEGEND, chart[1] + _CHART)
    picture = Image.new("RGB", (_WIDTH, bottom + _FOOTER), BLACK)
    canvas = ImageDraw.Draw(picture)
    picture.paste(panel, (_MARGIN, _HEADER))
    _draw_sides(canvas, _MARGIN, panel)
    if bled:
        _draw_outlines(panel, prediction.labels[index])
        picture.paste(panel, (second, _HEADER))
        _draw_sides(canvas, second, panel)
    place = f"Slice {index + 1} of {len(prediction.labels)}, counted from below: {what}"
    _draw_header(canvas, volume, prediction, place)
    _draw_legend(canvas, legend, volume, prediction)
    _draw_chart(canvas, chart, prediction, index)
    model = f"{prediction.model.name} {prediction.model.version}, {PRODUCT} {__version__}"
    _draw_footer(canvas, bottom + 14, model, when)
    return picture


def _panel(volume: CtVolume, index: int) -> Image.Image:
    """One slice in the brain window with square pixels, RGB."""
    grey = windowed(volume.source.hu[index])
    height_mm, width_mm = (
        count * step for count, step in zip(grey.shape, volume.source.pixel_spacing_mm, strict=True)
    )
    per_mm = _PANEL / max(height_mm, width_mm)
    size = (round(width_mm * per_mm), round(height_mm * per_mm))
    return Image.fromarray(grey).resize(size, Image.Resampling.BICUBIC).convert("RGB")


def _draw_outlines(panel: Image.Image, labels: npt.NDArray[np.uint8]) -> None:
    """The outlines of each class; its name stands at the side, tied to its largest region."""
    canvas = ImageDraw.Draw(panel)
    scale = (panel.width / labels.shape[1], panel.height / labels.shape[0])
    largest: dict[str, npt.NDArray[np.float64]] = {}
    for value, name in enumerate(SUBTYPES, start=1):
        for outline in outlines(labels == value):
            points = outline * scale
            largest.setdefault(name, points)
            canvas.line([(float(x), float(y)) for x, y in points], fill=colour(name), width=2)
    middles = {name: points.mean(axis=0) for name, points in largest.items()}
    for on_left in (True, False):
        names = [name for name, (x, _) in middles.items() if (x < panel.width / 2) == on_left]
        names.sort(key=lambda name: middles[name][1])
        rows = _spread([middles[name][1] for name in names], panel.height)
        for name, row in zip(names, rows, strict=True):
            _draw_name(canvas, panel.width, name, (on_left, row), largest[name])


def _spread(rows: list[float], height: int) -> list[float]:
    """Move rows of writing apart and into the panel, top to bottom."""
    placed: list[float] = []
    for row in rows:
        placed.append(max(row, placed[-1] + _NAME if placed else 2 * _NAME))
    over = max(0.0, placed[-1] - (height - _NAME)) if placed else 0.0
    return [row - over for row in placed]


def _draw_name(
    canvas: ImageDraw.ImageDraw,
    width: int,
    name: str,
    place: tuple[bool, float],
    outline: npt.NDArray[np.float64],
) -> None:
    """The name of a class at the left or right side, with a line to the next point of it."""
    on_left, row = place
    text = name.capitalize()
    length = canvas.textlength(text, font=font(16))
    end = 8 + length + 4 if on_left else width - 8 - length - 4
    nearest = outline[np.hypot(outline[:, 0] - end, outline[:, 1] - row).argmin()]
    canvas.line((end, row, float(nearest[0]), float(nearest[1])), fill=colour(name), width=2)
    canvas.text(
        (8, row) if on_left else (width - 8, row),
        text,
        fill=WHITE,
        font=font(16),
        anchor="lm" if on_left else "rm",
        stroke_width=2,
        stroke_fill=(0, 0, 0),
    )


def _draw_header(
    canvas: ImageDraw.ImageDraw, volume: CtVolume, prediction: Prediction, place: str
) -> None:
    found = prediction.scores["any"].present
    title = "Intracranial haemorrhage found" if found else "No haemorrhage found"
    where = words.where_text(volume.source)
    # The longer title leaves no room beside it: what is shown stands below.
    top, below = (6, 40) if where else (18, 26)
    canvas.text((_MARGIN, top), f"{title}{where}", fill=WHITE, font=font(26))
    canvas.text((_WIDTH - _MARGIN, below), place, fill=GREY, font=font(16), anchor="ra")


def _draw_sides(canvas: ImageDraw.ImageDraw, left: int, panel: Image.Image) -> None:
    """R and L of the patient, as a viewer shows them."""
    y = _HEADER + 8
    canvas.text((left + 8, y), "R", fill=WHITE, font=font(20))
    canvas.text((left + panel.width - 8, y), "L", fill=WHITE, font=font(20), anchor="ra")


def _draw_legend(
    canvas: ImageDraw.ImageDraw, corner: Corner, volume: CtVolume, prediction: Prediction
) -> None:
    """Every class with its probability and volume; those found stand out."""
    left, top = corner
    volumes = volumes_ml(prediction.labels, volume.source.voxels_ml)
    _draw_row(canvas, corner, ("Class", "Probability", "Volume"), GREY)
    rows = words.table(prediction, volumes)
    for number, (name, row) in enumerate(zip(CLASSES, rows, strict=True), start=1):
        y = top + _ROW * number
        present = prediction.scores[name].present
        _draw_row(canvas, (left, y), row, WHITE if present else GREY)
        if name in SUBTYPES and present:
            canvas.rectangle((left, y + 4, left + 14, y + 18), fill=colour(name))


def _draw_row(
    canvas: ImageDraw.ImageDraw, corner: Corner, row: tuple[str, str, str], fill: Rgb
) -> None:
    for offset, text in zip(_COLUMNS, row, strict=True):
        canvas.text((corner[0] + offset, corner[1]), text, fill=fill, font=font(17))


def _draw_chart(
    canvas: ImageDraw.ImageDraw, corner: Corner, prediction: Prediction, shown: int
) -> None:
    """One bar for the probability of each slice, inferior on the left; the slice shown is white."""
    left, top = corner
    canvas.text((left, top), "Probability of haemorrhage by slice", fill=GREY, font=font(17))
    ceiling, floor = top + _ROW + 4, top + _CHART - _ROW
    step = _PANEL / len(prediction.slice_probabilities)
    for index, probability in enumerate(prediction.slice_probabilities):
        x, end = round(left + index * step), round(left + (index + 1) * step)
        height = max(1, round((floor - ceiling) * probability))
        fill = WHITE if index == shown else _BAR
        canvas.rectangle((x, floor - height, max(x, end - 2), floor), fill=fill)
    canvas.line((left, ceiling, left + _PANEL, ceiling), fill=_BAR)
    canvas.text((left, floor + 6), "Inferior", fill=GREY, font=font(14))
    right = left + _PANEL
    canvas.text((right, floor + 6), "Superior", fill=GREY, font=font(14), anchor="ra")
    canvas.text((right, ceiling - 4), "100 %", fill=GREY, font=font(14), anchor="rd")


def _draw_footer(canvas: ImageDraw.ImageDraw, y: int, model: str, when: str) -> None:
    right = _WIDTH - _MARGIN
    canvas.text((_MARGIN, y), RESEARCH_USE, fill=AMBER, font=font(17))
    canvas.text((right, y), model, fill=GREY, font=font(15), anchor="ra")
    canvas.text((right, y + 26), when, fill=GREY, font=font(15), anchor="ra")
