"""The picture shows the largest bleed in colour and carries no patient identity."""

from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from scipy import ndimage

from ich_node.codes import OF_CLASS, SUBTYPES
from ich_node.errors import Reason
from ich_node.records import Refusal
from ich_node.report import drawing, summary
from ich_node.report.drawing import edges
from ich_node.report.summary import draw_pages, draw_refusal, draw_summary
from tests.support.volumes import make_case, make_labels, make_prediction


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def colour(name: str) -> tuple[int, int, int]:
    return tuple(hd.color.CIELabColor.from_dicom_value(OF_CLASS[name].cielab).to_rgb())


def count(picture: np.ndarray, name: str) -> int:
    return int((picture == colour(name)).all(axis=2).sum())


def test_the_classes_found_are_drawn_in_the_colours_of_their_segments(tmp_path: Path):
    _, volume, prediction = make_case(shape=(10, 96, 80), subtypes=("subdural", "intraventricular"))
    picture = pixels(draw_summary(volume, prediction, tmp_path / "summary.png"))
    drawn = {name for name in SUBTYPES if count(picture, name)}
    assert drawn == {"subdural", "intraventricular"}


def test_outlines_are_on_the_second_panel_where_the_bleed_is(tmp_path: Path):
    shape = (10, 64, 64)
    labels = np.zeros(shape, dtype=np.uint8)
    labels[3, 8:20, 40:56] = 2
    _, volume, _ = make_case(shape=shape, spacing_mm=(5.0, 0.8, 0.8))
    picture = pixels(draw_summary(volume, make_prediction(labels), tmp_path / "s.png"))
    rows, columns = np.nonzero((picture == colour("subdural")).all(axis=2))
    inside = rows < 64 + 560  # the legend has the colour too
    scale, left = 560 / 64, 2 * 24 + 560
    top = rows[inside].min()
    assert np.isclose(top, 64 + 8 * scale, atol=3)
    assert np.isclose(rows[inside].max(), 64 + 20 * scale, atol=3)
    # A line in the same colour leads to the name of the class at the right.
    assert np.isclose(columns[inside].min(), left + 40 * scale, atol=3)
    assert np.isclose(columns[rows == top].max(), left + 56 * scale, atol=3)


def test_a_negative_series_shows_its_middle_slice_and_says_so(tmp_path: Path, monkeypatch):
    _, volume, _ = make_case()
    said: list[str] = []
    real = summary.ImageDraw.ImageDraw.text
    monkeypatch.setattr(
        summary.ImageDraw.ImageDraw,
        "text",
        lambda self, xy, text, *a, **k: (said.append(text), real(self, xy, text, *a, **k)),
    )
    path = draw_summary(volume, make_prediction(make_labels(subtypes=())), tmp_path / "s.png")
    assert not any(count(pixels(path), name) for name in SUBTYPES)
    assert "No haemorrhage found in the 50 mm that were read" in said
    assert any(text.startswith("Research use only") for text in said)
    assert "Slice 6 of 10, counted from below: the middle slice" in said
    identity = (
        "SIMULATED",
        volume.source.headers[0].PatientID,
        volume.source.headers[0].AccessionNumber,
    )
    assert not any(part in text for part in identity for text in said)


def test_the_title_of_a_part_of_a_head_leaves_room_for_what_is_shown(tmp_path: Path, monkeypatch):
    """The slice shown stands below it, above the panels."""
    boxes: list[tuple[float, float, float, float]] = []
    real = summary.ImageDraw.ImageDraw.text

    def text(self, xy, text, *args, **kwargs):
        boxes.append(self.textbbox(xy, text, font=kwargs["font"], anchor=kwargs.get("anchor")))
        real(self, xy, text, *args, **kwargs)

    monkeypatch.setattr(summary.ImageDraw.ImageDraw, "text", text)
    _, volume, prediction = make_case(subtypes=("subarachnoid",))
    draw_summary(volume, prediction, tmp_path / "s.png")
    header = sorted(box[1::2] for box in boxes if box[1] < summary._HEADER - 10)
    assert len(header) == 2
    assert header[0][1] <= header[1][0]
    assert header[1][1] <= summary._HEADER


def test_pixels_that_are_not_square_are_shown_in_their_proportions(tmp_path: Path):
    _, volume, prediction = make_case(shape=(10, 64, 64), spacing_mm=(5.0, 1.0, 0.5))
    assert summary._panel(volume, 0).size == (280, 560)
    draw_summary(volume, prediction, tmp_path / "s.png")


def test_the_largest_bleed_comes_first_then_the_largest_slice_of_each_class_not_yet_shown():
    """Pages of one size, so that they can be scrolled."""
    labels = np.zeros((10, 64, 64), dtype=np.uint8)
    labels[3, 8:28, 40:56] = 2
    labels[3, 8:28, 2:6] = 4
    labels[5, 8:18, 2:12] = 4
    labels[7, 30:33, 30:33] = 5
    _, volume, _ = make_case(shape=(10, 64, 64), spacing_mm=(5.0, 0.8, 0.8))
    pages = draw_pages(volume, make_prediction(labels))
    assert [index for index, _ in pages] == [3, 5, 7]
    assert len({page.size for _, page in pages}) == 1


def test_names_beside_outlines_stay_apart_and_inside():
    rows = summary._spread([300.0, 301.0, 555.0, 556.0], 560)
    assert rows == sorted(rows)
    assert np.diff(rows).min() >= summary._NAME
    assert rows[-1] <= 560 - summary._NAME


@pytest.mark.parametrize("words", [5, 150, 300])
def test_a_long_reason_stays_above_the_line_of_research_use(words: int):
    page = np.asarray(draw_refusal(Refusal(Reason.UNREADABLE, "expected " * words)))
    rows = np.flatnonzero((page == drawing.WHITE).all(axis=2).any(axis=1))
    assert rows.max() < page.shape[0] - summary._FOOTER


@pytest.mark.parametrize("present", [("epidural",), ("any",)])
def test_a_class_present_without_a_mask_still_counts_as_found(tmp_path, monkeypatch, present):
    _, volume, _ = make_case()
    said: list[str] = []
    monkeypatch.setattr(
        summary.ImageDraw.ImageDraw, "text", lambda self, xy, text, *a, **k: said.append(text)
    )
    prediction = make_prediction(make_labels(subtypes=()), present=present)
    draw_summary(volume, prediction, tmp_path / "s.png")
    assert "Intracranial haemorrhage found in the 50 mm that were read" in said
    assert "0 mL, no segment" in said
    most = int(np.argmax(prediction.slice_probabilities))
    assert most != len(prediction.labels) // 2
    assert f"Slice {most + 1} of 10, counted from below: the highest probability" in said


@given(
    hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.booleans())
)
def test_the_edge_of_a_mask_is_what_erosion_takes_from_it(mask):
    assert np.array_equal(edges(mask), mask & ~ndimage.binary_erosion(mask))


def test_the_window_is_that_of_the_brain():
    _, volume, _ = make_case()
    grey = np.asarray(summary._panel(volume, 5).convert("L"))
    middle = grey[grey.shape[0] // 2, grey.shape[1] // 2 - 60 : grey.shape[1] // 2 + 60].mean()
    assert grey.min() == 0
    assert grey.max() == 255
    assert abs(middle - 35 / 80 * 255) < 12
