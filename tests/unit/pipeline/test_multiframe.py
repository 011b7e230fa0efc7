"""Enhanced and Legacy Converted CT is read frame by frame, and frames are what results refer to."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom import Dataset
from pydicom.uid import (
    EnhancedCTImageStorage,
    LegacyConvertedEnhancedCTImageStorage,
)

from ich_node.assemble.assemble import assemble
from ich_node.errors import CheckFailed, Reason, SeriesRefused
from ich_node.pipeline import stages
from ich_node.pipeline.folder import analyze_folder
from ich_node.report.build import build_results
from ich_node.report.check import check_results
from tests.support import series
from tests.support.frames import multiframe
from tests.support.validators import dciodvfy_errors
from tests.unit.pipeline.test_folder import predict

CLASSES = [EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage]


def references(dataset: Dataset, keyword: str) -> list[tuple[str, int]]:
    """Instance and frame of every item in sequences of this name, however deep."""
    found = []
    for element in dataset.iterall():
        if element.keyword == keyword:
            found += [
                (item.ReferencedSOPInstanceUID, int(item.get("ReferencedFrameNumber", 0)))
                for item in element.value
                if "ReferencedSOPInstanceUID" in item
            ]
    return found


@pytest.mark.parametrize("sop_class", CLASSES, ids=lambda uid: uid.name)
def test_frames_give_the_volume_that_single_slices_give(tmp_path: Path, sop_class: str) -> None:
    volume = assemble(
        [multiframe(series.head_series()[::-1], tmp_path / "in" / "all.dcm", sop_class)]
    )
    assert np.array_equal(volume.hu, series.head_hu())
    assert volume.spacing_mm == pytest.approx(series.SPACING_MM)
    assert volume.origin_mm == pytest.approx((-83.75, -106.5, -27.5))
    numbers = sorted(name.number for name in volume.source.frames.values())
    assert numbers == list(range(1, 13))


@pytest.mark.parametrize("degrees", [0, 15], ids=["upright", "tilted"])
@pytest.mark.parametrize("sop_class", CLASSES, ids=lambda uid: uid.name)
def test_objects_name_instance_and_frame(tmp_path: Path, sop_class: str, degrees: float) -> None:
    """Each frame of the SEG says the frame it lies on; lists name the one instance once."""
    slices = series.tilted(series.head_series(), degrees)[::-1]
    path = multiframe(slices, tmp_path / "in" / "all.dcm", sop_class)
    told = analyze_folder(tmp_path / "in", tmp_path / "out", predict, lambda _: None)
    assert told["status"] == "analysed", told["reason_text"]
    source = pydicom.dcmread(path)
    seg = pydicom.dcmread(tmp_path / "out" / "seg.dcm")
    sr = pydicom.dcmread(tmp_path / "out" / "sr.dcm")

    for group in seg.PerFrameFunctionalGroupsSequence:
        image = group.DerivationImageSequence[0].SourceImageSequence[0]
        assert image.ReferencedSOPInstanceUID == source.SOPInstanceUID
        assert image.ReferencedSOPClassUID == sop_class
        frame = source.PerFrameFunctionalGroupsSequence[int(image.ReferencedFrameNumber) - 1]
        assert np.allclose(
            np.array(group.PlanePositionSequence[0].ImagePositionPatient, float),
            np.array(frame.PlanePositionSequence[0].ImagePositionPatient, float),
            atol=0.01,
        )
    for keyword in ("ReferencedInstanceSequence", "ReferencedSeriesSequence"):
        assert set(references(seg, keyword)) <= {(source.SOPInstanceUID, 0)}
    assert len(seg.SourceImageSequence) == 1
    assert len(seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence) == 1
    evidence = sr.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    listed = [
        item.ReferencedSOPInstanceUID for each in evidence for item in each.ReferencedSOPSequence
    ]
    assert sorted(listed) == sorted([source.SOPInstanceUID, seg.SOPInstanceUID])
    outlined = {number for _, number in references(sr, "ReferencedSOPSequence")} - {0}
    derived = {number for _, number in references(seg, "SourceImageSequence")} - {0}
    assert outlined
    assert outlined <= derived
    for name in ("seg.dcm", "sr.dcm"):
        found = dciodvfy_errors(tmp_path / "out" / name)
        assert [line for line in found if line.startswith("Error")] == []


@pytest.mark.parametrize("number", [5, 99, None])
def test_a_wrong_frame_number_does_not_leave(tmp_path: Path, number: int | None) -> None:
    volume = assemble(
        [multiframe(series.head_series(), tmp_path / "in" / "all.dcm", EnhancedCTImageStorage)]
    )
    found = stages.predict(predict, volume)
    results = build_results(volume, found, tmp_path)
    seg = pydicom.dcmread(results.seg)
    image = (
        seg.PerFrameFunctionalGroupsSequence[2].DerivationImageSequence[0].SourceImageSequence[0]
    )
    image.ReferencedFrameNumber = number
    seg.save_as(results.seg)
    with pytest.raises(CheckFailed):
        check_results(volume, found, results)


def test_frames_that_are_not_described_are_refused(tmp_path: Path) -> None:
    path = multiframe(series.head_series(), tmp_path / "in" / "all.dcm", EnhancedCTImageStorage)
    broken = pydicom.dcmread(path)
    broken.PerFrameFunctionalGroupsSequence = broken.PerFrameFunctionalGroupsSequence[:-1]
    broken.save_as(path)
    with pytest.raises(SeriesRefused, match="has 12 frames") as raised:
        assemble([path])
    assert raised.value.reason == Reason.MULTIFRAME
