"""Captures show people what SEG and SR say, in pictures that every viewer takes."""

import copy
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from ich_node.codes import CLASSES, SUBTYPES
from ich_node.errors import CheckFailed, Reason
from ich_node.geometry import PlaneMap
from ich_node.records import FrameName, Prediction, Refusal, Results, Wanted
from ich_node.report.build import build_not_analysed, build_results
from ich_node.report.check import check_refusal_others, check_results
from ich_node.report.decode import key_images
from ich_node.report.drawing import colour
from ich_node.report.identity import RESEARCH_USE
from ich_node.report.overlay import draw_overlay
from ich_node.report.words import rows_read
from tests.support.validators import dcentvfy_errors, dciodvfy_errors
from tests.support.volumes import (
    make_case,
    make_labels,
    make_prediction,
    with_source,
    write_ct,
)

REFUSAL = Refusal(Reason.MISSING_SLICES, "2 slices are missing between 35 mm and 50 mm")
SHAPE = (8, 64, 56)
CAPTURES = Wanted(("sc",))


def built(folder: Path, prediction: Prediction | None = None, **case):
    series, volume, made = make_case(shape=SHAPE, **case)
    prediction = prediction or made
    return series, volume, prediction, build_results(volume, prediction, folder, None, CAPTURES)


def read(results: Results) -> tuple[list[Dataset], list[Dataset]]:
    """Return the images of the summary and of the overlay."""
    captures = [pydicom.dcmread(path) for path in results.others["sc"]]
    split = [[c for c in captures if c.SeriesNumber == number] for number in (9704, 9705)]
    return split[0], split[1]


NEGATIVE = make_prediction(make_labels(SHAPE, subtypes=()))
NO_MASK = make_prediction(make_labels(SHAPE, subtypes=()), present=("epidural",))


@pytest.mark.parametrize("prediction", [None, NEGATIVE, NO_MASK], ids=["two", "none", "no mask"])
def test_every_capture_is_valid_and_agrees_with_its_study(tmp_path: Path, prediction):
    series, _, _, results = built(tmp_path, prediction, subtypes=("subdural", "intraventricular"))
    summary, overlay = results.others["sc"][0], results.others["sc"][-1]
    for path in (summary, overlay):
        assert dciodvfy_errors(path) == []
    ct = write_ct(series, tmp_path / "ct")
    built_before = [path for path in (results.seg, results.sr) if path]
    assert dcentvfy_errors([*ct, *built_before, *results.others["sc"]]) == []


def test_form_and_wording_of_captures(tmp_path: Path):
    """Single colour images, uncompressed; text is burned in, and says what it is not for."""
    series, volume, _, results = built(tmp_path)
    summary, overlay = read(results)
    for capture in (*summary, *overlay):
        assert capture.SOPClassUID == SecondaryCaptureImageStorage
        assert capture.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
        assert (capture.PhotometricInterpretation, capture.BurnedInAnnotation) == ("RGB", "YES")
        assert (capture.Modality, capture.ConversionType) == ("OT", "WSD")
        assert capture.pixel_array.shape == (capture.Rows, capture.Columns, 3)
        assert "Research use only. Not a medical device." in capture.ImageComments
        assert "research use only" in capture.SeriesDescription
        for keyword in ("PatientName", "PatientID", "StudyInstanceUID", "StudyDescription"):
            assert str(capture[keyword].value) == str(series[0][keyword].value)
    assert len({c.SOPInstanceUID for c in (*summary, *overlay)}) == len(summary) + len(overlay)
    assert len({c.SeriesInstanceUID for c in (*summary, *overlay)}) == 2
    assert [float(step) for step in overlay[0].PixelSpacing] == [
        step / 10 for step in volume.source.pixel_spacing_mm
    ]


def test_the_overlay_has_every_slice_from_below_and_the_summary_the_largest_bleeds(tmp_path: Path):
    _, volume, prediction, results = built(tmp_path)
    uids = [header.SOPInstanceUID for header in volume.source.headers]
    summary, overlay = read(results)
    assert [c.SourceImageSequence[0].ReferencedSOPInstanceUID for c in overlay] == uids
    assert [c.InstanceNumber for c in overlay] == list(range(1, len(uids) + 1))
    largest = int(np.count_nonzero(prediction.labels, axis=(1, 2)).argmax())
    assert summary[0].SourceImageSequence[0].ReferencedSOPInstanceUID == uids[largest]


@pytest.mark.parametrize("plane_map", [PlaneMap(), PlaneMap(True, False, True)], ids=str)
def test_the_mask_can_be_read_back_from_the_overlay(tmp_path: Path, plane_map: PlaneMap):
    """Turned as axial CT is read, whatever the rows and columns that were sent."""
    _, _, prediction, results = built(tmp_path, subtypes=SUBTYPES, plane_map=plane_map)
    _, overlay = read(results)
    for capture, labels in zip(overlay, prediction.labels, strict=True):
        pixels = capture.pixel_array[: 10 * SHAPE[1] : 10, ::10]
        for value, name in enumerate(SUBTYPES, start=1):
            seen = (pixels == colour(name)).all(axis=2)
            assert (labels[seen] == value).all()
            assert seen.any() == (labels == value).any()
        coloured = (pixels != pixels[:, :, :1]).any(axis=2)
        assert not (coloured & (labels == 0)).any()


def test_the_summary_tells_the_numbers_of_the_report(tmp_path: Path):
    _, _, prediction, results = built(tmp_path)
    for capture in read(results)[0]:
        told = rows_read(capture.ImageComments)
        assert set(told) == set(CLASSES)
        for name, (percent, ml) in told.items():
            score = prediction.scores[name]
            assert abs(percent - 100 * score.probability) < 0.051
            if score.present:
                assert abs(ml - results.volumes_ml[name]) < 0.051
            else:
                assert ml is None


@pytest.mark.parametrize(("slices", "told"), [(8, True), (20, False)])
def test_a_summary_says_where_only_a_part_of_a_head_was_read(tmp_path: Path, slices: int, told):
    _, volume, prediction = make_case(shape=(slices, *SHAPE[1:]), subtypes=())
    summary, _ = read(build_results(volume, prediction, tmp_path, None, CAPTURES))
    assert ("found in the 40 mm that were read" in summary[0].ImageComments) == told


def test_a_negative_series_has_a_summary_and_an_overlay_without_colour(tmp_path: Path):
    summary, overlay = read(built(tmp_path, NEGATIVE)[3])
    assert (len(summary), len(overlay)) == (1, SHAPE[0])
    region = overlay[3].pixel_array[: 10 * SHAPE[1]]
    assert (region == region[:, :, :1]).all()


def test_a_rebuild_gives_equal_uids(tmp_path: Path):
    uids = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        summary, overlay = read(built(tmp_path / name)[3])
        uids.append([c.SOPInstanceUID for c in (*summary, *overlay)])
    assert uids[0] == uids[1]


def test_an_overlay_of_a_frame_names_the_frame(tmp_path: Path):
    _, volume, prediction = make_case(shape=SHAPE)
    frames = {
        str(header.SOPInstanceUID): FrameName(CTImageStorage, "1.2.3", number)
        for number, header in enumerate(volume.source.headers, start=1)
    }
    volume = with_source(volume, frames=frames)
    _, overlay = read(build_results(volume, prediction, tmp_path, None, CAPTURES))
    named = [c.SourceImageSequence[0] for c in overlay]
    assert {item.ReferencedSOPInstanceUID for item in named} == {"1.2.3"}
    assert [item.ReferencedFrameNumber for item in named] == list(range(1, SHAPE[0] + 1))


def shifted(capture: Dataset) -> None:
    capture.PixelData = np.roll(capture.pixel_array, 10, axis=1).tobytes()


def erased(capture: Dataset) -> None:
    capture.PixelData = np.repeat(capture.pixel_array[:, :, :1], 3, axis=2).tobytes()


def other_slice(capture: Dataset) -> None:
    capture.SourceImageSequence[0].ReferencedSOPInstanceUID = "1.2.3"


def other_volume(capture: Dataset) -> None:
    capture.ImageComments = capture.ImageComments.replace("| 0.", "| 7.")


TAMPERS = {
    "overlay moved by one column": (9705, shifted),
    "overlay without colour": (9705, erased),
    "image of another series": (9705, other_slice),
    "volume": (9704, other_volume),
    "class not told": (9704, lambda c: setattr(c, "ImageComments", c.ImageComments[40:])),
    "patient": (9704, lambda c: setattr(c, "PatientID", "SOMEONE")),
    "study": (9705, lambda c: setattr(c, "StudyInstanceUID", "1.2.3")),
    "said to be without text": (9705, lambda c: setattr(c, "BurnedInAnnotation", "NO")),
    "grey": (9704, lambda c: setattr(c, "PhotometricInterpretation", "MONOCHROME2")),
}


@pytest.mark.parametrize(("number", "tamper"), TAMPERS.values(), ids=TAMPERS.keys())
def test_the_check_fails_on_an_altered_capture(tmp_path: Path, number: int, tamper):
    _, volume, prediction, results = built(tmp_path)
    check_results(volume, prediction, results)
    for path in results.others["sc"][:5]:
        capture = pydicom.dcmread(path)
        if capture.SeriesNumber == number:
            tamper(capture)
            capture.save_as(path)
    with pytest.raises(CheckFailed):
        check_results(volume, prediction, results)


def test_without_a_mask_the_summary_shows_the_key_image_of_the_report(tmp_path: Path):
    _, volume, prediction, results = built(tmp_path, NO_MASK)
    [page], _ = read(results)
    [shown] = page.SourceImageSequence
    assert key_images(pydicom.dcmread(results.sr)) == {shown.ReferencedSOPInstanceUID}
    middle = volume.source.headers[len(prediction.labels) // 2].SOPInstanceUID
    page.SourceImageSequence[0].ReferencedSOPInstanceUID = middle
    page.save_as(results.others["sc"][0])
    with pytest.raises(CheckFailed, match="the most of the probability"):
        check_results(volume, prediction, results)


@pytest.mark.parametrize("missing", [0, -1], ids=["summary", "last slice"])
def test_the_check_fails_where_a_capture_is_missing(tmp_path: Path, missing: int):
    _, volume, prediction, results = built(tmp_path, NEGATIVE)
    paths = list(results.others["sc"])
    del paths[missing]
    with pytest.raises(CheckFailed):
        check_results(
            volume, prediction, Results(None, results.sr, results.volumes_ml, {"sc": paths})
        )


def test_a_larger_matrix_is_drawn_pixel_by_pixel():
    shape = (8, 600, 520)
    _, volume, prediction = make_case(shape=shape)
    assert draw_overlay(volume, prediction, 2).shape[1] == 520


def test_a_refused_series_has_a_page_that_says_why(tmp_path: Path):
    series, *_ = make_case(shape=(8, 24, 24))
    ct = write_ct(series, tmp_path / "ct")
    headers = [copy.deepcopy(dataset) for dataset in series]
    for header in headers:
        del header.PixelData
        header.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2.1"
    results = build_not_analysed(headers, REFUSAL, tmp_path, None, CAPTURES)
    (path,) = results.others["sc"]
    capture = pydicom.dcmread(path)
    assert dciodvfy_errors(path) == []
    assert dcentvfy_errors([*ct, path]) == []
    assert f"Not analysed: {REFUSAL.text}" in capture.ImageComments
    assert len(capture.SourceImageSequence) == len(headers)
    assert {i.ReferencedSOPClassUID for i in capture.SourceImageSequence} == {
        "1.2.840.10008.5.1.4.1.1.2.1"
    }
    capture.ImageComments = RESEARCH_USE
    capture.save_as(path)
    with pytest.raises(CheckFailed, match="the sentence that says why"):
        check_refusal_others(headers, REFUSAL.text, {"sc": [path]})
