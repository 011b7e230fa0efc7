"""The SEG shows the mask where it is, in words that other readers understand."""

from itertools import product
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian, SegmentationStorage

from ich_node.codes import OF_CLASS, SUBTYPES
from ich_node.geometry import PlaneMap
from ich_node.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from tests.support.validators import (
    dcentvfy_errors,
    dciodvfy_errors,
    dcmqi_masks,
    labels_from_masks,
)
from tests.support.volumes import make_hu, make_labels, make_prediction
from tests.unit.report.conftest import SUBTYPE_OF_LABEL, Built

PLANE_MAPS = [PlaneMap(*flags) for flags in product((False, True), repeat=3)]


def assert_valid(built: Built) -> None:
    for path in built.files:
        assert dciodvfy_errors(path) == []
    assert dcentvfy_errors([*built.ct, *built.files]) == []


def seen_by_dcmqi(built: Built) -> np.ndarray:
    return labels_from_masks(dcmqi_masks(built.results.seg), SUBTYPE_OF_LABEL, built.volume)


def seen_by_highdicom(built: Built) -> np.ndarray:
    """By the images that the frames name, in the rows and columns of the source."""
    seg = hd.seg.segread(built.results.seg)
    uids = [header.SOPInstanceUID for header in built.volume.source.headers]
    pixels = seg.get_pixels_by_source_instance(
        uids,
        combine_segments=True,
        ignore_spatial_locations=True,
        assert_missing_frames_are_empty=True,
    )
    subtypes = [SUBTYPE_OF_LABEL[item.SegmentLabel] for item in seg.SegmentSequence]
    numbers = np.array([0, *(1 + SUBTYPES.index(name) for name in subtypes)], dtype=np.uint8)
    return built.volume.source.plane_map.to_canonical(numbers[pixels])


@pytest.mark.parametrize("plane_map", PLANE_MAPS, ids=str)
def test_other_readers_find_every_voxel_in_its_place(build, plane_map: PlaneMap):
    """However the scanner laid rows and columns: the eight symmetries of the square."""
    built = build(plane_map=plane_map)
    assert np.array_equal(seen_by_dcmqi(built), built.prediction.labels)
    assert np.array_equal(seen_by_highdicom(built), built.prediction.labels)
    assert_valid(built)


@pytest.mark.parametrize("subtypes", [SUBTYPES, SUBTYPES[-1:], SUBTYPES[::2]], ids=str)
def test_each_subtype_with_a_voxel_is_one_segment(build, subtypes):
    built = build(subtypes=subtypes)
    found = [SUBTYPE_OF_LABEL[item.SegmentLabel] for item in built.seg.SegmentSequence]
    assert found == [name for name in SUBTYPES if name in subtypes]
    assert [item.SegmentNumber for item in built.seg.SegmentSequence] == [
        number + 1 for number in range(len(subtypes))
    ]
    assert np.array_equal(seen_by_dcmqi(built), built.prediction.labels)
    assert_valid(built)


def test_a_single_voxel_is_enough_for_a_segment(build):
    labels = np.zeros((10, 48, 40), dtype=np.uint8)
    labels[7, 40, 3] = 5
    built = build(prediction=make_prediction(labels))
    assert built.seg.NumberOfFrames == 1
    assert np.array_equal(seen_by_highdicom(built), labels)
    assert_valid(built)


def test_frames_need_not_end_at_a_byte(build):
    """PS3.5 8.2: frames of bits follow one another without padding."""
    shape = (8, 17, 19)
    built = build(shape=shape, subtypes=("subdural", "subarachnoid"))
    assert np.array_equal(seen_by_highdicom(built), built.prediction.labels)


def test_frames_without_a_voxel_are_left_out(build):
    built = build()
    labels = built.prediction.labels
    filled = sum(int((labels == value).any(axis=(1, 2)).sum()) for value in (2, 4))
    assert built.seg.NumberOfFrames == filled < len(SUBTYPES) * len(labels)


def test_what_is_encoded_at_once_is_what_the_library_would_write(build, tmp_path: Path):
    """Decoded to the last element and encoded again, the file is the same, byte for byte."""
    built = build(subtypes=SUBTYPES, plane_map=PlaneMap(transpose=True))
    seg = built.seg
    assert len(list(seg.iterall())) > 500
    again = tmp_path / "again.dcm"
    pydicom.dcmwrite(again, seg, enforce_file_format=True)
    assert again.read_bytes() == built.results.seg.read_bytes()


def test_a_negative_series_has_no_seg(build):
    built = build(prediction=make_prediction(make_labels(subtypes=())))
    assert built.results.seg is None
    assert [path.name for path in built.results.sr.parent.glob("*.dcm")] == ["sr.dcm"]


def test_a_segment_says_what_it_is_and_who_drew_it(build):
    built = build(subtypes=SUBTYPES)
    for item, name in zip(built.seg.SegmentSequence, SUBTYPES, strict=True):
        entry = OF_CLASS[name]
        assert item.SegmentedPropertyTypeCodeSequence[0].CodeValue == entry.finding.value
        assert item.SegmentedPropertyCategoryCodeSequence[0].CodeValue == "49755003"
        assert item.AnatomicRegionSequence[0].CodeValue == entry.site.value
        assert item.SegmentAlgorithmType == "AUTOMATIC"
        assert tuple(item.RecommendedDisplayCIELabValue) == entry.cielab
        algorithm = item.SegmentationAlgorithmIdentificationSequence[0]
        assert algorithm.AlgorithmName == item.SegmentAlgorithmName == "smartnet-ich"
        assert item.TrackingID.startswith(entry.name)


def test_type_version_and_purpose_are_stated(build):
    seg = build().seg
    assert seg.SOPClassUID == SegmentationStorage
    assert (seg.SegmentationType, seg.SegmentsOverlap) == ("BINARY", "NO")
    assert seg.BodyPartExamined == "HEAD"
    assert "research use only" in seg.SeriesDescription
    assert seg.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert seg.file_meta.ImplementationClassUID == IMPLEMENTATION_CLASS_UID
    assert seg.file_meta.ImplementationVersionName == IMPLEMENTATION_VERSION_NAME


@pytest.mark.parametrize("kind", ["seg", "sr"])
def test_the_algorithm_is_contributing_equipment(build, kind: str):
    """IHE AIR 6.5.3.1, unconditional."""
    dataset = getattr(build(), kind)
    (item,) = (
        item for item in dataset.ContributingEquipmentSequence if item.Manufacturer == "ich-node"
    )
    assert item.PurposeOfReferenceCodeSequence[0].CodeValue == "109102"
    assert item.ManufacturerModelName == "smartnet-ich"
    assert item.DeviceUID.startswith("2.25.")
    assert item.SoftwareVersions


def test_patient_and_study_are_the_source_s(build):
    built = build()
    source = built.volume.source.headers[0]
    for dataset in (built.seg, built.sr):
        for keyword in (
            "PatientName",
            "PatientID",
            "PatientBirthDate",
            "PatientSex",
            "StudyInstanceUID",
            "StudyID",
            "StudyDate",
            "StudyTime",
            "AccessionNumber",
            "StudyDescription",
        ):
            assert str(dataset[keyword].value) == str(source[keyword].value), keyword
        assert dataset.SeriesInstanceUID != source.SeriesInstanceUID
    assert built.seg.FrameOfReferenceUID == source.FrameOfReferenceUID


def test_loss_in_any_slice_is_carried_over(build):
    """PS3.3 C.7.6.1.1.5: once lossy, always said."""

    def one_lossy(dataset: Dataset) -> None:
        if dataset.InstanceNumber == 4:
            dataset.LossyImageCompression = "01"
            dataset.LossyImageCompressionRatio = "7.5"
            dataset.LossyImageCompressionMethod = "ISO_10918_1"

    built = build(change=one_lossy)
    assert built.seg.LossyImageCompression == "01"
    assert built.seg.LossyImageCompressionRatio == 7.5
    assert_valid(built)
    assert build().seg.LossyImageCompression == "00"


def test_a_missing_frame_of_reference_is_made_from_the_series(build):
    def without(dataset: Dataset) -> None:
        del dataset.FrameOfReferenceUID

    built = build(change=without)
    assert built.seg.FrameOfReferenceUID == build(change=without).seg.FrameOfReferenceUID
    assert dciodvfy_errors(built.results.seg) == []


@pytest.mark.parametrize("thickness", ["", None, "0"])
def test_a_missing_thickness_is_the_distance_of_the_slices(build, thickness):
    def change(dataset: Dataset) -> None:
        dataset.SliceThickness = thickness

    built = build(change=change)
    measures = built.seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert (measures.SliceThickness, measures.SpacingBetweenSlices) == (5.0, 5.0)
    assert dciodvfy_errors(built.results.seg) == []


def test_overlapping_slices_keep_their_thickness_beside_their_distance(build):
    def thick(dataset: Dataset) -> None:
        dataset.SliceThickness = "10"

    built = build(change=thick)
    measures = built.seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert (measures.SliceThickness, measures.SpacingBetweenSlices) == (10.0, 5.0)
    assert np.array_equal(seen_by_highdicom(built), built.prediction.labels)


def test_cosines_that_differ_in_their_last_decimals_are_one_orientation(build):
    def rounded(dataset: Dataset) -> None:
        if dataset.InstanceNumber % 2:
            dataset.ImageOrientationPatient = ["1", "0.00001", "0", "-0.00001", "1", "0"]

    built = build(change=rounded)
    assert np.array_equal(seen_by_highdicom(built), built.prediction.labels)
    assert_valid(built)


def test_slices_with_the_jitter_that_is_accepted_stay_where_they_are(build):
    def jitter(dataset: Dataset) -> None:
        x, y, z = (float(part) for part in dataset.ImagePositionPatient)
        way = 0.1 if dataset.InstanceNumber in (3, 5) else 0.0
        dataset.ImagePositionPatient = [f"{x + way:g}", f"{y:g}", f"{z + way / 2:g}"]

    built = build(change=jitter)
    positions = {
        tuple(float(part) for part in item.PlanePositionSequence[0].ImagePositionPatient)
        for item in built.seg.PerFrameFunctionalGroupsSequence
    }
    sources = {
        tuple(float(part) for part in header.ImagePositionPatient)
        for header in built.volume.source.headers
    }
    assert positions < sources
    assert np.array_equal(seen_by_highdicom(built), built.prediction.labels)


def test_long_decimal_strings_are_cut_to_what_the_standard_allows(build):
    """PS3.5 6.2: 16 characters; scanners send more."""

    def long(dataset: Dataset) -> None:
        x, y, z = (float(part) for part in dataset.ImagePositionPatient)
        dataset.ImagePositionPatient = [x + 1e-9, y - 1e-9, z + 1.23456789e-7]
        dataset.SliceThickness = 4.99999999999999911

    built = build(change=long)
    assert dciodvfy_errors(built.results.seg) == []


def test_a_turned_rectangle_keeps_its_rows_and_columns(build):
    built = build(shape=(9, 30, 50), plane_map=PlaneMap(transpose=True, flip_cols=True))
    assert (built.seg.Rows, built.seg.Columns) == (50, 30)
    assert make_hu((9, 30, 50)).shape == built.volume.hu.shape
    assert np.array_equal(seen_by_dcmqi(built), built.prediction.labels)
