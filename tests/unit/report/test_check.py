"""Nothing leaves that contradicts its mask or its source: every alteration is found."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from pydicom import Dataset

from ich_node.errors import CheckFailed
from ich_node.geometry import PlaneMap
from ich_node.records import ClassScore
from ich_node.report.check import check_results
from ich_node.report.decode import frames
from tests.support.volumes import make_labels, make_prediction, with_source
from tests.unit.report.conftest import Built
from tests.unit.report.test_sr import groups, named

PLANE_MAP = PlaneMap(transpose=True, flip_rows=False, flip_cols=True)


@pytest.fixture
def built(build) -> Built:
    found: Built = build(plane_map=PLANE_MAP)
    check_results(found.volume, found.prediction, found.results)
    return found


def masks(seg: Dataset) -> np.ndarray:
    return np.stack([frame.mask for frame in frames(seg)])


def with_masks(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Dataset], None]:
    def alter(seg: Dataset) -> None:
        bits = np.packbits(change(masks(seg)).ravel(), bitorder="little").tobytes()
        seg.PixelData = bits + b"\0" * (len(bits) % 2)

    return alter


def frame_groups(seg: Dataset) -> list[Dataset]:
    return list(seg.PerFrameFunctionalGroupsSequence)


def moved_frame(seg: Dataset) -> None:
    position = frame_groups(seg)[0].PlanePositionSequence[0]
    x, y, z = position.ImagePositionPatient
    position.ImagePositionPatient = [x, y, z + 5]


def moved_sideways(seg: Dataset) -> None:
    for item in frame_groups(seg):
        x, y, z = item.PlanePositionSequence[0].ImagePositionPatient
        item.PlanePositionSequence[0].ImagePositionPatient = [f"{float(x) + 0.8:g}", y, z]


def one_slice_off(seg: Dataset) -> None:
    """Position and reference together: each frame consistent in itself."""
    uids = [
        item.ReferencedSOPInstanceUID
        for item in seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    ]
    for item in frame_groups(seg):
        source = item.DerivationImageSequence[0].SourceImageSequence[0]
        step = uids.index(source.ReferencedSOPInstanceUID) + 1
        source.ReferencedSOPInstanceUID = uids[step]
        x, y, z = item.PlanePositionSequence[0].ImagePositionPatient
        item.PlanePositionSequence[0].ImagePositionPatient = [x, y, f"{float(z) + 5:g}"]


def turned(seg: Dataset) -> None:
    plane = seg.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0]
    plane.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]


def stretched(seg: Dataset) -> None:
    measures = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    measures.PixelSpacing = [0.8, 0.8]


def thicker(seg: Dataset) -> None:
    seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SpacingBetweenSlices = 6


def swapped_segments(seg: Dataset) -> None:
    first, second = seg.SegmentSequence
    first.SegmentedPropertyTypeCodeSequence, second.SegmentedPropertyTypeCodeSequence = (
        second.SegmentedPropertyTypeCodeSequence,
        first.SegmentedPropertyTypeCodeSequence,
    )


def foreign_type(seg: Dataset) -> None:
    seg.SegmentSequence[0].SegmentedPropertyTypeCodeSequence[0].CodeValue = "95455008"


def foreign_image(seg: Dataset) -> None:
    instances = seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    instances[0].ReferencedSOPInstanceUID = "1.2.3"


def other_frame_of_reference(seg: Dataset) -> None:
    seg.FrameOfReferenceUID = "1.2.3"


def other_tracking(seg: Dataset) -> None:
    seg.SegmentSequence[0].TrackingUID = "1.2.3"


def no_positions(seg: Dataset) -> None:
    del frame_groups(seg)[1].PlanePositionSequence


SEG_TAMPERS = {
    "shifted one column": with_masks(lambda m: np.roll(m, 1, axis=2)),
    "shifted one row": with_masks(lambda m: np.roll(m, 1, axis=1)),
    "mirrored": with_masks(lambda m: m[:, :, ::-1]),
    "one voxel more": with_masks(lambda m: np.where(np.arange(m.size).reshape(m.shape) == 7, 1, m)),
    "empty": with_masks(np.zeros_like),
    "frames reversed": with_masks(lambda m: m[::-1]),
    "frame moved": moved_frame,
    "all moved sideways by one pixel": moved_sideways,
    "one slice off": one_slice_off,
    "orientation of another series": turned,
    "pixel spacing": stretched,
    "slice spacing": thicker,
    "types swapped": swapped_segments,
    "type unknown": foreign_type,
    "image of another series": foreign_image,
    "frame of reference": other_frame_of_reference,
    "tracking": other_tracking,
    "positions missing": no_positions,
}


@pytest.mark.parametrize("tamper", SEG_TAMPERS.values(), ids=SEG_TAMPERS.keys())
def test_the_check_fails_on_an_altered_seg(built: Built, tamper):
    seg = built.seg
    tamper(seg)
    seg.save_as(built.results.seg)
    with pytest.raises(CheckFailed):
        check_results(built.volume, built.prediction, built.results)


def number(group: Dataset, meaning: str, value: str) -> None:
    for item in group.ContentSequence:
        if item.ConceptNameCodeSequence[0].CodeMeaning == meaning:
            item.MeasuredValueSequence[0].NumericValue = value


def outline_moved(sr: Dataset) -> None:
    region = named(sr, "Image Region")[0]
    region.GraphicData = [coordinate + 1 for coordinate in region.GraphicData]


def outline_elsewhere(sr: Dataset) -> None:
    first, second = named(sr, "Image Region")[:2]
    first.ContentSequence, second.ContentSequence = second.ContentSequence, first.ContentSequence


def outline_dropped(sr: Dataset) -> None:
    group = groups(sr)[0]
    group.ContentSequence = [
        item for item in group.ContentSequence if item is not named(group, "Image Region")[0]
    ]


def unsaid_rest(sr: Dataset) -> None:
    """Nothing tells that some regions have no outline."""
    (container,) = named(sr, "Qualitative Evaluations")
    container.ContentSequence = [
        item
        for item in container.ContentSequence
        if "outlines are given" not in str(item.get("TextValue"))
    ]


def group_dropped(sr: Dataset) -> None:
    (container,) = named(sr, "Imaging Measurements")
    container.ContentSequence = container.ContentSequence[:1]


def said_absent(sr: Dataset) -> None:
    named(sr, "Intracranial hemorrhage")[0].ConceptCodeSequence[0].CodeValue = "272519000"


def wrong_union(sr: Dataset) -> None:
    number(named(sr, "Intracranial hemorrhage")[0], "Volume", "9")


def unsaid(sr: Dataset) -> None:
    (container,) = named(sr, "Qualitative Evaluations")
    container.ContentSequence = [
        item
        for item in container.ContentSequence
        if item.ConceptNameCodeSequence[0].CodeMeaning != "Epidural intracranial hemorrhage"
    ]


def other_uid(sr: Dataset) -> None:
    named(sr, "Tracking Unique Identifier")[0].UID = "1.2.3"


def other_finding(sr: Dataset) -> None:
    first, second = named(groups(sr)[0], "Finding")[0], named(groups(sr)[1], "Finding")[0]
    first.ConceptCodeSequence, second.ConceptCodeSequence = (
        second.ConceptCodeSequence,
        first.ConceptCodeSequence,
    )


def other_evidence(sr: Dataset) -> None:
    series = sr.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
    series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID = "1.2.3"


SR_TAMPERS = {
    "volume": lambda sr: number(groups(sr)[0], "Volume", "0.264"),
    "certainty": lambda sr: number(groups(sr)[1], "Certainty of Finding", "12"),
    "volume of the union": wrong_union,
    "outline moved": outline_moved,
    "outline on another image": outline_elsewhere,
    "outline dropped": outline_dropped,
    "regions without outline not told": unsaid_rest,
    "group dropped": group_dropped,
    "finding swapped": other_finding,
    "present told as absent": said_absent,
    "class not told": unsaid,
    "tracking": other_uid,
    "evidence of another series": other_evidence,
    "study": lambda sr: setattr(sr, "StudyInstanceUID", "1.2.3"),
    "patient": lambda sr: setattr(sr, "PatientID", "SOMEONE"),
}


@pytest.mark.parametrize("tamper", SR_TAMPERS.values(), ids=SR_TAMPERS.keys())
def test_the_check_fails_on_an_altered_sr(built: Built, tamper):
    sr = built.sr
    tamper(sr)
    sr.save_as(built.results.sr)
    with pytest.raises(CheckFailed):
        check_results(built.volume, built.prediction, built.results)


@pytest.mark.parametrize(
    ("keyword", "other"),
    [
        ("StudyInstanceUID", "1.2.3"),
        ("PatientID", "1.2.3"),
        ("AccessionNumber", "1.2.3"),
        ("PatientName", "SOMEONE^ELSE"),
        ("PatientBirthDate", "19010101"),
        ("PatientSex", "F"),
    ],
)
def test_the_seg_belongs_to_the_patient_and_study_of_the_source(
    built: Built, keyword: str, other: str
):
    seg = built.seg
    setattr(seg, keyword, other)
    seg.save_as(built.results.seg)
    with pytest.raises(CheckFailed, match=keyword) as failed:
        check_results(built.volume, built.prediction, built.results)
    assert "SIMULATED" not in str(failed.value), "an error text never names the patient"


def test_wrong_volumes_do_not_pass(built: Built):
    volumes = {**built.results.volumes_ml, "subdural": 1.0}
    with pytest.raises(CheckFailed, match="volumes"):
        check_results(built.volume, built.prediction, replace(built.results, volumes_ml=volumes))


def test_a_volume_that_lies_elsewhere_than_its_images_does_not_pass(built: Built):
    """The places of the slices, not the SEG, are wrong: by 1.2 mm, and by one slice."""
    for way in ((1.2, 0, 0), (0, 0, 5.0)):
        volume = with_source(built.volume, origins_mm=built.volume.source.origins_mm + way)
        with pytest.raises(CheckFailed, match="source image"):
            check_results(volume, built.prediction, built.results)


def test_headers_in_another_order_than_the_slices_do_not_pass(built: Built):
    volume = with_source(built.volume, headers=built.volume.source.headers[::-1])
    with pytest.raises(CheckFailed):
        check_results(volume, built.prediction, built.results)


def test_a_mask_of_a_class_that_is_not_present_is_refused(build):
    labels = make_labels()
    prediction = make_prediction(labels)
    scores = {**prediction.scores, "subdural": ClassScore(0.1, 0.5, False)}
    with pytest.raises(CheckFailed, match="subdural is not present"):
        build(prediction=replace(prediction, scores=scores))


def test_a_plane_map_that_turns_the_wrong_way_is_found(build):
    """The one error that SEG, SR and their references cannot show by themselves."""
    built = build(plane_map=PlaneMap(flip_cols=True))
    wrong = with_source(built.volume, plane_map=PlaneMap())
    from ich_node.report.build import build_results

    with pytest.raises(CheckFailed, match="patient space"):
        build_results(wrong, built.prediction, built.results.sr.parent)
