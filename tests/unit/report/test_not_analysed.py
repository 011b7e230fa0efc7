"""A refused series gets an SR that says so, however poor its headers are."""

import copy
from pathlib import Path

import pydicom
import pytest
from pydicom import Dataset
from pydicom.uid import CTImageStorage

from ich_node.errors import CheckFailed, Reason
from ich_node.records import Refusal, Results
from ich_node.report.build import build_not_analysed
from ich_node.report.check import check_not_analysed
from tests.support.validators import dcentvfy_errors, dciodvfy_errors
from tests.support.volumes import make_case, write_ct
from tests.unit.report.test_sr import groups, named, texts

REFUSAL = Refusal(
    Reason.GANTRY_TILT,
    "gantry tilt of +18.5 degrees: from the first to the last slice the images move 52 mm",
)


@pytest.fixture
def headers() -> list[Dataset]:
    series, *_ = make_case(shape=(8, 24, 24))
    for dataset in series:
        del dataset.PixelData
    return series


def bare(uid: str) -> Dataset:
    """The least that a stored instance has."""
    header = Dataset()
    header.SOPClassUID = CTImageStorage
    header.SOPInstanceUID = uid
    header.StudyInstanceUID = "1.2.840.1"
    header.SeriesInstanceUID = "1.2.840.1.1"
    return header


def test_reason_and_sentence_are_told_and_nothing_is_found(headers, tmp_path: Path):
    results = build_not_analysed(headers, REFUSAL, tmp_path)
    sr = pydicom.dcmread(results.sr)
    assert results == Results(None, tmp_path / "sr.dcm", {})
    assert f"Not analysed: {REFUSAL.text}" in texts(sr)
    assert "Research use only" in texts(sr)
    (reason,) = named(sr, "Reason for not being analysed")
    assert reason.ConceptCodeSequence[0].CodeValue == "gantry_tilt"
    (verdict,) = named(sr, "Intracranial hemorrhage")
    assert verdict.ConceptCodeSequence[0].CodeMeaning == "Indeterminate"
    assert groups(sr) == []
    assert sr.ConceptNameCodeSequence[0].CodeValue != "126000"
    assert sr.PreliminaryFlag == "PRELIMINARY"


@pytest.mark.parametrize("reason", Reason, ids=str)
def test_every_reason_gives_a_valid_object(headers, tmp_path: Path, reason: Reason):
    results = build_not_analysed(headers, Refusal(reason, "because"), tmp_path)
    assert dciodvfy_errors(results.sr) == []


def test_it_agrees_with_its_series(headers, tmp_path: Path):
    series, *_ = make_case(shape=(8, 24, 24))
    ct = write_ct(series, tmp_path / "ct")
    results = build_not_analysed(headers, REFUSAL, tmp_path)
    assert dcentvfy_errors([*ct, results.sr]) == []


def test_bare_headers_are_enough(tmp_path: Path):
    results = build_not_analysed([bare("1.2.3"), bare("1.2.4")], REFUSAL, tmp_path)
    assert dciodvfy_errors(results.sr) == []
    assert pydicom.dcmread(results.sr).StudyInstanceUID == "1.2.840.1"


@pytest.mark.parametrize(
    "keyword",
    ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "FrameOfReferenceUID"],
)
def test_geometry_is_not_needed(headers, tmp_path: Path, keyword: str):
    for header in headers:
        del header[keyword]
    assert dciodvfy_errors(build_not_analysed(headers, REFUSAL, tmp_path).sr) == []


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "PatientID"])
def test_only_the_first_image_s_study_and_patient_are_named(headers, tmp_path: Path, keyword: str):
    headers[3] = copy.deepcopy(headers[3])
    setattr(headers[3], keyword, "1.2.3.999")
    sr = pydicom.dcmread(build_not_analysed(headers, REFUSAL, tmp_path).sr)
    named_uids = {
        element.value for element in sr.iterall() if element.keyword == "ReferencedSOPInstanceUID"
    }
    assert named_uids == {header.SOPInstanceUID for header in headers} - {headers[3].SOPInstanceUID}
    assert sr[keyword].value == headers[0][keyword].value


@pytest.mark.parametrize("sop_class", ["1.2.840.10008.5.1.4.1.1.7", "1.2.3.4.5.6"])
def test_an_image_of_another_class_can_be_refused(headers, tmp_path: Path, sop_class: str):
    for header in headers:
        header.SOPClassUID = sop_class
    assert dciodvfy_errors(build_not_analysed(headers, REFUSAL, tmp_path).sr) == []


def test_text_beyond_ascii_is_kept(headers, tmp_path: Path):
    refusal = Refusal(Reason.UNREADABLE, "file «Schädel 頭.dcm» cannot be read")
    sr = pydicom.dcmread(build_not_analysed(headers, refusal, tmp_path).sr)
    assert refusal.text in texts(sr)


def test_equal_refusals_give_equal_uids_in_any_order(headers, tmp_path: Path):
    uids = []
    for number, order in enumerate((headers, headers[::-1])):
        folder = tmp_path / str(number)
        folder.mkdir()
        uids.append(pydicom.dcmread(build_not_analysed(order, REFUSAL, folder).sr).SOPInstanceUID)
    assert uids[0] == uids[1]


def test_a_copy_of_an_image_is_named_once(headers, tmp_path: Path):
    sr = pydicom.dcmread(build_not_analysed([*headers, headers[0]], REFUSAL, tmp_path).sr)
    (study,) = sr.CurrentRequestedProcedureEvidenceSequence
    assert len(study.ReferencedSeriesSequence[0].ReferencedSOPSequence) == len(headers)


def test_without_any_header_there_is_nothing_to_build(tmp_path: Path):
    with pytest.raises(ValueError, match="no header"):
        build_not_analysed([], REFUSAL, tmp_path)


@pytest.mark.parametrize("tamper", ["study", "sentence", "reference", "finding"])
def test_the_check_fails_on_an_altered_report(headers, tmp_path: Path, tamper: str):
    results = build_not_analysed(headers, REFUSAL, tmp_path)
    check_not_analysed(headers, REFUSAL.text, results)
    sr = pydicom.dcmread(results.sr)
    if tamper == "study":
        sr.StudyInstanceUID = "1.2.3"
    elif tamper == "sentence":
        for item in named(sr, "Conclusion"):
            item.TextValue = "All is well"
    elif tamper == "reference":
        series = sr.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
        series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID = "1.2.3"
    else:
        named(sr, "Intracranial hemorrhage")[0].ConceptCodeSequence[0].CodeValue = "52101004"
    sr.save_as(results.sr)
    with pytest.raises(CheckFailed):
        check_not_analysed(headers, REFUSAL.text, results)
