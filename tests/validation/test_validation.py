"""Other people's validators find nothing wrong with our objects, and are heard when they do."""

from pathlib import Path

import pydicom
import pytest

from ich_node import logs
from tests.support import validators
from tests.support.validators import pixelmed
from tests.validation.__main__ import faults, main, report
from tests.validation.checking import Built, Tally, build, judge, plain, why
from tests.validation.studies import STUDIES

# One of each outcome, and of each kind of geometry and header that has made trouble.
_FEW = (
    "all five subtypes",
    "a slice missing at a tilt",
    "Enhanced CT",
    "malformed values",
    "clean, tilted, a Chinese name",
    "present without a mask",
    "two patients",
)
_BY_NAME = {study.name: study for study in STUDIES}


def built(name: str, folder: Path) -> Built:
    return build(_BY_NAME[name], folder)


def test_there_are_thirty_different_studies() -> None:
    assert len(_BY_NAME) == len(STUDIES) >= 30


def test_a_few_studies_are_valid_and_every_warning_has_its_reason(tmp_path: Path) -> None:
    tally, every = Tally(), []
    for name in _FEW:
        one = built(name, tmp_path / name)
        judge(one, tally, tmp_path / name / "utf-8", with_pixelmed=False)
        every.append(one)
    assert faults(every, tally) == []
    warnings = {text for _, _, text in tally.said if text.startswith("Warning")}
    assert [text for text in warnings if not why(text)] == []
    forms = {form for one in every for form, _ in one.objects}
    assert {"seg", "seg-labelmap", "sc-summary", "sc-overlay", "pr", "sr, positive"} <= forms
    assert f"studies: {len(_FEW)}; objects: " in report(every, tally)


@pytest.mark.pixelmed
def test_a_positive_report_follows_its_template(tmp_path: Path) -> None:
    """TID 1500 with a group for each subtype: PixelMed has no error about it."""
    objects = dict(built("all five subtypes", tmp_path).objects)
    said = pixelmed(objects["sr, positive"])
    assert [line for line in said if not line.startswith("Warning")] == []


def test_what_is_broken_is_a_fault(tmp_path: Path) -> None:
    """An attribute that is missing, a patient who is another, an outcome that was not expected."""
    one = built("one bleed", tmp_path)
    for form, path in one.objects:
        dataset = pydicom.dcmread(path)
        if form == "seg":
            del dataset.SegmentSequence[0].SegmentLabel
        elif form.startswith("sr"):
            dataset.PatientName = "ANOTHER^ONE"
        dataset.save_as(path)
    other = Built(one.study, "negative", one.source, one.objects)
    tally = Tally()
    judge(other, tally, tmp_path / "utf-8", with_pixelmed=False)
    found = faults([other], tally)
    assert found[0] == "one bleed: expected positive, came negative"
    assert any("SegmentLabel" in text and "seg: Error" in text for text in found)
    assert any("PatientName" in text and "study: Error" in text for text in found)


def test_a_missing_validator_ends_it_at_once_with_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    monkeypatch.setattr(validators, "_PIXELMED", tmp_path / "pixelmed.jar")
    assert main(["--out", str(out)]) == 2
    assert "PixelMed is missing" in capsys.readouterr().err
    monkeypatch.setattr(validators, "_DICOM3TOOLS", tmp_path)
    assert main(["--out", str(out), "--without-pixelmed"]) == 2
    said = capsys.readouterr().err
    assert "dciodvfy is missing" in said
    assert "dcentvfy is missing" in said
    assert not out.exists()


def test_pixelmed_is_left_out_where_that_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(validators, "_PIXELMED", tmp_path / "pixelmed.jar")
    monkeypatch.setattr(logs, "configure", lambda *_: None)  # it is for the whole process
    assert main(["--out", str(tmp_path / "out"), "--without-pixelmed", "two patients"]) == 0
    assert "PixelMed: left out, as asked" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (
            "Warning - </ContributingEquipmentSequence(0018,a001)[2]/DeviceUID(0018,1002)> - None",
            "Warning: DeviceUID - None",
        ),
        (
            "Error: Template 1500 MeasurementReport/[Row 1] CONTAINER CID 7021/[Row 14] TEXT *: "
            '1.11.1: /CONTAINER (126000,DCM,"Report")/TEXT (111001,DCM,"Algorithm Name"): '
            "Incorrect relationship - expected CONTAINS - found HAS CONCEPT MOD",
            'Error: TEXT "Algorithm Name": Incorrect relationship - expected CONTAINS - found HAS '
            "CONCEPT MOD",
        ),
        (
            "Error - Different PatientID for same StudyInstanceUID - StudyInstanceUID=<2.25.2.5> "
            "for file </a/in/3.dcm>",
            "Error: Different PatientID for same StudyInstanceUID - StudyInstanceUID=<<uid>> "
            "for file <file>",
        ),
    ],
)
def test_the_same_complaint_about_another_object_has_the_same_text(line: str, text: str) -> None:
    assert plain(line) == text
