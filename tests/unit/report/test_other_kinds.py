"""A label map and a presentation state show what the SEG shows, where they are asked for."""

import subprocess
from dataclasses import replace
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom import Dataset
from pydicom.uid import CTImageStorage

from ich_node.codes import OF_CLASS, SUBTYPES
from ich_node.errors import CheckFailed
from ich_node.geometry import PlaneMap
from ich_node.records import FrameName, Results, Wanted
from ich_node.report import decode
from ich_node.report.build import build_results
from ich_node.report.check import check_others, check_results
from tests.support.validators import (
    dcentvfy_errors,
    dciodvfy_errors,
    dcmqi_masks,
    labels_from_masks,
)
from tests.support.volumes import (
    MODEL,
    make_case,
    make_labels,
    make_prediction,
    make_series,
    make_volume,
    with_source,
    write_ct,
)
from tests.unit.report.conftest import SUBTYPE_OF_LABEL

KINDS = ("seg-labelmap", "pr")
DCMPSCHK = Path("/usr/bin/dcmpschk")


def built(folder: Path, **case):
    series, volume, prediction = make_case(**case)
    return (
        series,
        volume,
        prediction,
        build_results(volume, prediction, folder, None, Wanted(KINDS)),
    )


def read(results: Results, kind: str) -> Dataset:
    (path,) = results.others[kind]
    return pydicom.dcmread(path)


@pytest.mark.parametrize("subtypes", [SUBTYPES, SUBTYPES[1:2]], ids=["five", "one"])
@pytest.mark.parametrize("plane_map", [PlaneMap(), PlaneMap(True, False, True)], ids=str)
def test_they_are_valid_and_agree_with_their_study(tmp_path: Path, subtypes, plane_map):
    series, _, _, results = built(tmp_path, subtypes=subtypes, plane_map=plane_map)
    paths = [path for kind in KINDS for path in results.others[kind]]
    assert [dciodvfy_errors(path) for path in paths] == [[], []]
    ct = write_ct(series, tmp_path / "ct")
    assert dcentvfy_errors([*ct, results.seg, results.sr, *paths]) == []


@pytest.mark.dcmtk
def test_dcmtk_can_apply_the_presentation_state(tmp_path: Path):
    *_, results = built(tmp_path)
    done = subprocess.run([DCMPSCHK, *results.others["pr"]], capture_output=True, text=True)
    assert "Error" not in done.stdout + done.stderr
    assert done.returncode == 0


@pytest.mark.parametrize("plane_map", [PlaneMap(), PlaneMap(True, True, False)], ids=str)
def test_dcmqi_finds_every_voxel_of_the_label_map(tmp_path: Path, plane_map: PlaneMap):
    _, volume, prediction, results = built(
        tmp_path, subtypes=("subdural", "intraventricular"), plane_map=plane_map
    )
    masks = dcmqi_masks(results.others["seg-labelmap"][0])
    masks.pop("Background", None)
    assert np.array_equal(labels_from_masks(masks, SUBTYPE_OF_LABEL, volume), prediction.labels)


def test_the_background_of_a_label_map_is_described_last(tmp_path: Path):
    """A widespread viewer colours segments by their place, and would paint the bleed black."""
    *_, results = built(tmp_path, subtypes=("subdural", "intraventricular"))
    label_map = read(results, "seg-labelmap")
    numbers = [item.SegmentNumber for item in label_map.SegmentSequence]
    assert numbers == [1, 2, 0]
    assert label_map.SegmentSequence[0].TrackingUID == (
        pydicom.dcmread(results.seg).SegmentSequence[0].TrackingUID
    )


def test_a_presentation_state_has_the_outlines_of_the_report(tmp_path: Path):
    *_, results = built(tmp_path, subtypes=SUBTYPES)
    found = decode.outlines_of(read(results, "pr"))
    groups = {group.subtype: group for group in decode.report(pydicom.dcmread(results.sr)).groups}
    assert set(found) == set(groups) == set(SUBTYPES)
    for name, of_image in found.items():
        assert set(of_image) == set(groups[name].outlines)
        for uid, outlines in of_image.items():
            for one, other in zip(outlines, groups[name].outlines[uid], strict=True):
                assert np.array_equal(one, other)


@pytest.mark.parametrize(("slices", "told"), [(10, " in the 50 mm read"), (20, "")])
def test_a_presentation_state_says_where_only_a_part_of_a_head_was_read(tmp_path, slices, told):
    *_, results = built(tmp_path, shape=(slices, 48, 40))
    said = read(results, "pr").ContentDescription
    assert said == f"Intracranial haemorrhage{told}, research use only"
    assert len(said) <= 64


def test_a_presentation_state_shows_the_brain_window_and_the_colours_of_the_segments(tmp_path):
    *_, results = built(tmp_path, subtypes=SUBTYPES)
    state = read(results, "pr")
    (window,) = state.SoftcopyVOILUTSequence
    assert (window.WindowCenter, window.WindowWidth) == (40, 80)
    colours = {
        layer.GraphicLayer: tuple(layer.GraphicLayerRecommendedDisplayCIELabValue)
        for layer in state.GraphicLayerSequence
    }
    assert colours == {name.upper(): OF_CLASS[name].cielab for name in SUBTYPES}
    texts = {
        text.UnformattedTextValue
        for annotation in state.GraphicAnnotationSequence
        for text in annotation.TextObjectSequence
    }
    assert texts == {name.capitalize() for name in SUBTYPES}


@pytest.mark.parametrize("kind", KINDS)
def test_patient_study_and_wording(tmp_path: Path, kind: str):
    series, _, _, results = built(tmp_path)
    made = read(results, kind)
    for keyword in ("PatientName", "PatientID", "StudyInstanceUID", "AccessionNumber"):
        assert str(made[keyword].value) == str(series[0][keyword].value)
    assert "research use only" in made.SeriesDescription
    assert made.BodyPartExamined == "HEAD"


def test_a_negative_series_has_neither(tmp_path: Path):
    _, volume, _ = make_case()
    negative = make_prediction(make_labels(subtypes=()))
    assert build_results(volume, negative, tmp_path, None, Wanted(KINDS)).others == {}


def test_a_rescale_that_changes_between_slices_gives_no_presentation_state(tmp_path: Path):
    """One state has one modality transformation; the label map is there all the same."""
    series, volume, prediction = make_case()
    series[3].RescaleIntercept = "-1000"
    changed = make_volume(make_series(volume.hu), volume.hu)
    for dataset, header in zip(series, changed.source.headers, strict=True):
        header.RescaleIntercept = dataset.RescaleIntercept
    assert set(build_results(changed, prediction, tmp_path, None, Wanted(KINDS)).others) == {
        "seg-labelmap"
    }


def test_frames_of_a_multi_frame_image_are_named_by_their_number(tmp_path: Path):
    _, volume, prediction = make_case()
    frames = {
        str(header.SOPInstanceUID): FrameName(CTImageStorage, "1.2.3", number)
        for number, header in enumerate(volume.source.headers, start=1)
    }
    volume = with_source(volume, frames=frames)
    results = build_results(volume, prediction, tmp_path, None, Wanted(KINDS))
    state, label_map = (read(results, kind) for kind in ("pr", "seg-labelmap"))
    assert len(state.ReferencedSeriesSequence[0].ReferencedImageSequence) == 1
    (image,) = state.GraphicAnnotationSequence[0].ReferencedImageSequence
    assert (image.ReferencedSOPInstanceUID, image.ReferencedFrameNumber) == ("1.2.3", 3)
    first = label_map.PerFrameFunctionalGroupsSequence[0]
    assert "ReferencedFrameNumber" in first.DerivationImageSequence[0].SourceImageSequence[0]


def pixels_moved(seg: Dataset) -> None:
    planes = np.frombuffer(seg.PixelData, np.uint8).reshape(-1, seg.Rows, seg.Columns)
    seg.PixelData = np.roll(planes, 1, axis=2).tobytes()


def background_first(seg: Dataset) -> None:
    seg.SegmentSequence = list(seg.SegmentSequence)[::-1]


def outline_moved(state: Dataset) -> None:
    graphic = state.GraphicAnnotationSequence[0].GraphicObjectSequence[0]
    graphic.GraphicData = [value + 1 for value in graphic.GraphicData]


def layer_dropped(state: Dataset) -> None:
    first = state.GraphicAnnotationSequence[0].GraphicLayer
    state.GraphicAnnotationSequence = [
        item for item in state.GraphicAnnotationSequence if item.GraphicLayer != first
    ]


def other_image(state: Dataset) -> None:
    images = state.ReferencedSeriesSequence[0].ReferencedImageSequence
    images[0].ReferencedSOPInstanceUID = "1.2.3"


@pytest.mark.parametrize(
    ("kind", "tamper"),
    [
        ("seg-labelmap", pixels_moved),
        ("seg-labelmap", background_first),
        ("seg-labelmap", lambda seg: setattr(seg, "PatientID", "SOMEONE")),
        ("seg-labelmap", lambda seg: setattr(seg, "FrameOfReferenceUID", "1.2.3")),
        ("pr", outline_moved),
        ("pr", layer_dropped),
        ("pr", other_image),
        ("pr", lambda state: setattr(state, "StudyInstanceUID", "1.2.3")),
    ],
)
def test_the_check_fails_on_an_altered_object(tmp_path: Path, kind: str, tamper):
    _, volume, prediction, results = built(tmp_path)
    check_results(volume, prediction, results)
    altered = read(results, kind)
    tamper(altered)
    altered.save_as(results.others[kind][0])
    with pytest.raises(CheckFailed):
        check_others(volume, prediction, results.volumes_ml, results.others)


def test_highdicom_reads_the_label_map(tmp_path: Path):
    *_, results = built(tmp_path)
    seg = hd.seg.segread(results.others["seg-labelmap"][0])
    assert seg.segmentation_type.value == "LABELMAP"
    assert sorted(seg.segment_numbers) == [1, 2]


def uids(dataset: Dataset) -> list[tuple[int, str]]:
    return [
        (element.tag, str(element.value)) for element in dataset.iterall() if element.VR == "UI"
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_a_rebuild_gives_equal_uids_and_another_model_other_ones(tmp_path: Path, kind: str):
    made = []
    for name, model in (("a", MODEL), ("b", MODEL), ("c", replace(MODEL, sha256="cd" * 32))):
        (tmp_path / name).mkdir()
        _, volume, prediction = make_case()
        prediction = replace(prediction, model=model)
        results = build_results(volume, prediction, tmp_path / name, None, Wanted(KINDS))
        made.append(read(results, kind))
    assert uids(made[0]) == uids(made[1])
    assert made[2].SOPInstanceUID != made[0].SOPInstanceUID
    assert made[2].SeriesInstanceUID != made[0].SeriesInstanceUID
    (equipment,) = (
        item for item in made[0].ContributingEquipmentSequence if item.Manufacturer == "ich-node"
    )
    assert equipment.PurposeOfReferenceCodeSequence[0].CodeValue == "109102"
