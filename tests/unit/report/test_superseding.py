"""A report that takes another's place says so: to people, and to machines."""

from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pydicom
import pytest

from ich_node.errors import Reason
from ich_node.records import Edition, Refusal, Superseded
from ich_node.report.build import build_not_analysed, build_results
from tests.support.validators import dciodvfy_errors
from tests.support.volumes import make_case
from tests.unit.report.test_sr import texts

NOW = datetime(2026, 1, 2, 3, 4, 5)
FIRST = Superseded(1, "1.2.840.10008.5.1.4.1.1.88.34", "2.25.1", "2.25.2")
SECOND = Edition(NOW, FIRST)


def check(sr: pydicom.Dataset) -> None:
    [study] = sr.PredecessorDocumentsSequence
    [series] = study.ReferencedSeriesSequence
    [document] = series.ReferencedSOPSequence
    assert study.StudyInstanceUID == sr.StudyInstanceUID
    assert series.SeriesInstanceUID == "2.25.2"
    assert document.ReferencedSOPInstanceUID == "2.25.1"
    assert document.ReferencedSOPClassUID == FIRST.sop_class_uid
    assert "supersedes that of revision 1" in texts(sr)
    assert "supersedes revision 1, research use only" in sr.SeriesDescription
    assert len(sr.SeriesDescription) <= 64


def test_seg_and_sr_name_the_report_whose_place_they_take(tmp_path: Path) -> None:
    _series, volume, prediction = make_case()
    results = build_results(volume, prediction, tmp_path, SECOND)
    check(pydicom.dcmread(results.sr))
    assert results.seg is not None
    assert "supersedes revision 1" in pydicom.dcmread(results.seg).SeriesDescription
    assert dciodvfy_errors(results.sr) == []
    assert dciodvfy_errors(results.seg) == []


def test_a_refusal_names_it_too(tmp_path: Path) -> None:
    series, *_ = make_case(shape=(8, 24, 24))
    for dataset in series:
        del dataset.PixelData
    refusal = Refusal(Reason.MISSING_SLICES, "a slice is missing")
    results = build_not_analysed(series, refusal, tmp_path, SECOND)
    check(pydicom.dcmread(results.sr))
    assert dciodvfy_errors(results.sr) == []


@pytest.mark.parametrize(
    ("same", "why", "not_why"),
    [
        (False, "before all of its images had come", "other software"),
        (True, "by other software, model, device or settings", "images had come"),
    ],
)
def test_the_report_says_why_the_other_does_not_stand(tmp_path: Path, same, why, not_why) -> None:
    _series, volume, prediction = make_case()
    edition = Edition(NOW, replace(FIRST, same_images=same))
    said = texts(pydicom.dcmread(build_results(volume, prediction, tmp_path, edition).sr))
    assert why in said
    assert not_why not in said


@pytest.mark.parametrize("number", [12, 123, 1234])
def test_a_long_history_still_fits_the_series_description(tmp_path: Path, number: int) -> None:
    _series, volume, prediction = make_case()
    before = Superseded(number, FIRST.sop_class_uid, "2.25.1", "2.25.2")
    sr = pydicom.dcmread(build_results(volume, prediction, tmp_path, Edition(NOW, before)).sr)
    assert f"supersedes revision {number}" in sr.SeriesDescription
    assert len(sr.SeriesDescription) <= 64


def test_other_predecessors_give_other_uids(tmp_path: Path) -> None:
    """The same images and model, but another object: under one UID there is one object."""
    _series, volume, prediction = make_case()
    uids = set()
    for name, before in (("none", None), ("one", SECOND)):
        folder = tmp_path / name
        folder.mkdir()
        sr = build_results(volume, prediction, folder, before).sr
        uids.add(pydicom.dcmread(sr).SOPInstanceUID)
    assert len(uids) == 2
