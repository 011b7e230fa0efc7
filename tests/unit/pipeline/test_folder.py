"""`analyze`: every folder ends with a stated outcome, its objects, and nothing else."""

import json
import struct
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.datadict import tag_for_keyword
from pydicom.uid import Comprehensive3DSRStorage, EnhancedSRStorage

from ich_node import bounds
from ich_node.codes import CLASSES, SUBTYPES
from ich_node.errors import CheckFailed, Reason
from ich_node.pipeline import stages
from ich_node.pipeline.folder import analyze_folder
from ich_node.records import ClassScore, CtVolume, ModelIdentity, Prediction, Wanted
from tests.support import bombs
from tests.support.mutations import BROKEN, PLACED, SOUND
from tests.support.series import head_series, set_each, write
from tests.support.validators import dciodvfy_errors

BLOOD_HU = (60, 70)
FOUND = ("any", "intraparenchymal")


def predict(volume: CtVolume) -> Prediction:
    """Stand in for the network: blood is where the test's head has it."""
    low, high = BLOOD_HU
    labels = np.zeros(volume.hu.shape, np.uint8)
    labels[(volume.hu > low) & (volume.hu < high)] = 1 + SUBTYPES.index("intraparenchymal")
    scores = {name: ClassScore(0.1, 0.5, False) for name in CLASSES}
    scores.update({name: ClassScore(0.9, 0.5, True) for name in FOUND})
    model = ModelIdentity("stand-in", "1", "0" * 64, "cpu", "fp32")
    return Prediction(scores, (0.5,) * len(labels), labels, model)


def predict_nothing(volume: CtVolume) -> Prediction:
    scores = {name: ClassScore(0.1, 0.5, False) for name in CLASSES}
    model = ModelIdentity("stand-in", "1", "0" * 64, "cpu", "fp32")
    labels = np.zeros(volume.hu.shape, np.uint8)
    return Prediction(scores, (0.1,) * len(labels), labels, model)


def analyze(tmp_path: Path, how=predict, *, enhanced_sr: bool = False) -> dict:
    form = Wanted(enhanced_sr=enhanced_sr)
    told = analyze_folder(tmp_path / "in", tmp_path / "out", how, lambda _stage: None, wanted=form)
    assert json.loads((tmp_path / "out" / "result.json").read_text()) == told
    return told


def names(tmp_path: Path) -> set[str]:
    return {path.name for path in (tmp_path / "out").iterdir()}


def test_a_bleed_gives_every_object_and_the_documented_keys(tmp_path: Path) -> None:
    write(head_series(), tmp_path / "in")
    told = analyze(tmp_path)
    assert told["status"] == "analysed"
    assert names(tmp_path) == {"seg.dcm", "sr.dcm", "summary.png", "result.json"}
    assert told["reason"] is None
    assert set(told["findings"]) == set(CLASSES)
    assert told["findings"]["any"]["volume_ml"] > 0
    assert len(told["slice_probabilities"]) == 12
    assert {"name", "version", "sha256"} <= set(told["model"])
    assert {"assemble", "infer", "report"} <= set(told["timings_s"])
    for name in ("seg.dcm", "sr.dcm"):
        assert dciodvfy_errors(tmp_path / "out" / name) == []


def test_a_clean_head_gives_a_report_and_no_segmentation(tmp_path: Path) -> None:
    write(head_series(), tmp_path / "in")
    told = analyze(tmp_path, predict_nothing)
    assert told["status"] == "analysed"
    assert names(tmp_path) == {"sr.dcm", "summary.png", "result.json"}


@pytest.mark.parametrize("slices", [12, 3], ids=["analysed", "refused"])
def test_the_report_has_the_form_that_is_asked_for(tmp_path: Path, slices: int) -> None:
    write(head_series(1, slices), tmp_path / "in")
    forms = []
    for enhanced in (False, True):
        analyze(tmp_path, enhanced_sr=enhanced)
        forms.append(pydicom.dcmread(tmp_path / "out" / "sr.dcm").SOPClassUID)
    assert forms == [Comprehensive3DSRStorage, EnhancedSRStorage]


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_a_series_that_must_not_be_read_says_why(tmp_path: Path, name: str) -> None:
    """Refused with its reason; the network is not asked; the SR is valid and repeats the reason."""
    reason, mutate = BROKEN[name]
    write(mutate(head_series()), tmp_path / "in")

    def never(_volume: CtVolume) -> Prediction:
        raise AssertionError

    told = analyze(tmp_path, never)
    if told["other_series"]:
        return  # the mutation split the folder into two series; each is judged by itself
    assert (told["status"], told["reason"]) == ("refused", str(reason))
    assert told["findings"] is None
    assert "SIMULATED" not in told["reason_text"]
    if reason in (Reason.NOT_CT, Reason.LOCALIZER):
        assert names(tmp_path) == {"result.json"}
        return
    assert names(tmp_path) == {"sr.dcm", "result.json"}
    report = tmp_path / "out" / "sr.dcm"
    assert [line for line in dciodvfy_errors(report) if line.startswith("Error")] == []
    assert str(reason).encode() in report.read_bytes()


def test_no_slice_is_made_up_where_the_site_does_not_want_it(tmp_path: Path) -> None:
    write(PLACED["a slice missing"][1](head_series()), tmp_path / "in")
    told = analyze_folder(tmp_path / "in", tmp_path / "out", predict, lambda _: None, max_missing=0)
    assert (told["status"], told["reason"]) == ("refused", "missing_slices")


@pytest.mark.parametrize("name", sorted(PLACED))
def test_a_series_that_is_no_grid_is_analysed_on_its_own_slices(tmp_path: Path, name: str) -> None:
    """One probability a source slice, the same blood as in the regular series, valid objects."""
    sent = PLACED[name][1](head_series())
    write(sent, tmp_path / "in")
    told = analyze(tmp_path)
    assert (told["status"], told["geometry"]["resampled"]) == ("analysed", True)
    assert len(told["slice_probabilities"]) == len(sent)
    assert told["findings"]["intraparenchymal"]["volume_ml"] > 10
    report = (tmp_path / "out" / "sr.dcm").read_bytes()
    assert all(sentence.encode() in report for sentence in told["geometry"]["done"])
    for name in ("seg.dcm", "sr.dcm"):
        found = dciodvfy_errors(tmp_path / "out" / name)
        assert [line for line in found if line.startswith("Error")] == []


@pytest.mark.parametrize("name", sorted(SOUND))
def test_a_series_that_is_only_unusual_is_analysed(tmp_path: Path, name: str) -> None:
    write(SOUND[name](head_series()), tmp_path / "in")
    assert analyze(tmp_path)["status"] == "analysed"


def test_files_that_are_no_dicom_are_passed_over(tmp_path: Path) -> None:
    write(head_series(), tmp_path / "in")
    (tmp_path / "in" / "notes.txt").write_text("not DICOM")
    (tmp_path / "in" / "empty.dcm").write_bytes(b"")
    told = analyze(tmp_path)
    assert told["status"] == "analysed"
    assert "2 others" in told["evidence"]


def test_a_folder_without_dicom_fails_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "notes.txt").write_text("not DICOM")
    told = analyze(tmp_path)
    assert told["status"] == "failed"
    assert "no DICOM file" in told["reason_text"]


def test_the_other_series_are_listed_with_their_reasons(tmp_path: Path) -> None:
    write(head_series(seed=1), tmp_path / "in" / "head")
    write(BROKEN["localizers only"][1](head_series(seed=2)), tmp_path / "in" / "scout")
    told = analyze(tmp_path)
    assert told["status"] == "analysed"
    assert [other["reason"] for other in told["other_series"]] == ["localizer"]


def test_the_next_best_series_is_read_where_the_best_cannot_be(tmp_path: Path) -> None:
    """The 5 mm series lacks slices: the thinner one is analysed, and the other says why not."""
    broken = BROKEN["two slices missing"][1](head_series(seed=1))
    write(broken, tmp_path / "in" / "best")
    thin = set_each(SliceThickness="2.5", StudyInstanceUID=broken[0].StudyInstanceUID)
    write(thin(head_series(seed=2)), tmp_path / "in" / "thin")
    told = analyze(tmp_path)
    assert (told["status"], told["notes"][0][:17]) == ("analysed", "the patient's age")
    [other] = told["other_series"]
    assert other["series_instance_uid"] == broken[0].SeriesInstanceUID
    assert other["reason"] == "missing_slices"


def test_a_passed_over_series_says_for_which(tmp_path: Path) -> None:
    write(head_series(seed=1), tmp_path / "in" / "best")
    write(set_each(SliceThickness="2.5")(head_series(seed=2)), tmp_path / "in" / "thin")
    told = analyze(tmp_path)
    assert told["series_instance_uid"] == head_series(seed=1)[0].SeriesInstanceUID
    [other] = told["other_series"]
    assert other["reason"] == "not_chosen"
    assert told["series_instance_uid"] in other["reason_text"]


def test_an_object_that_fails_its_check_does_not_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What contradicts its mask must not be found by anybody."""
    write(head_series(), tmp_path / "in")

    def contradict(_volume: CtVolume, _prediction: Prediction, folder: Path) -> None:
        (folder / "seg.dcm").write_bytes(b"wrong")
        raise CheckFailed("the mask differs")

    monkeypatch.setattr(stages, "build_results", contradict)
    told = analyze(tmp_path)
    assert told["status"] == "failed"
    assert names(tmp_path) == {"result.json"}


def test_a_refusal_stands_whose_report_cannot_be_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And says that there is none; no half of it is found beside it."""
    write(BROKEN["two slices missing"][1](head_series()), tmp_path / "in")

    def contradict(_headers, _refusal, folder: Path, *_: object) -> None:
        (folder / "sr.dcm").write_bytes(b"wrong")
        raise CheckFailed("the sentence is missing")

    monkeypatch.setattr(stages, "build_not_analysed", contradict)
    told = analyze(tmp_path)
    assert (told["status"], told["reason"]) == ("refused", "missing_slices")
    assert told["notes"] == [
        "what says that it was not analysed could not be built (CheckFailed: the sentence is "
        "missing)"
    ]
    assert names(tmp_path) == {"result.json"}


def test_the_same_folder_again_gives_the_same_objects(tmp_path: Path) -> None:
    write(head_series(), tmp_path / "in")
    analyze(tmp_path)
    first = pydicom.dcmread(tmp_path / "out" / "seg.dcm")
    analyze(tmp_path)
    second = pydicom.dcmread(tmp_path / "out" / "seg.dcm")
    assert first.SOPInstanceUID == second.SOPInstanceUID
    assert first.PixelData == second.PixelData


@pytest.mark.parametrize("undefined_length", [False, True])
@pytest.mark.parametrize("keyword", ["RequestAttributesSequence", "OtherPatientIDsSequence"])
def test_sequences_deeper_than_can_be_read_are_refused(
    tmp_path: Path, keyword: str, undefined_length: bool
) -> None:
    """Results would be built from such headers: 2000 levels end a parser, or what copies them."""
    paths = write(head_series(), tmp_path / "in")
    for path in paths:
        deepened(path, keyword, 2000, undefined_length)
    told = analyze(tmp_path)
    assert told["status"] == "refused"
    assert told["reason"] == Reason.UNREADABLE
    assert "file 000.dcm cannot be read: it has sequences in more than 32" in told["reason_text"]


def test_sequences_as_deep_as_are_read_end_in_checked_results(tmp_path: Path) -> None:
    for path in write(head_series(), tmp_path / "in"):
        deepened(path, "RequestAttributesSequence", bounds.DEEPEST, False)
        deepened(path, "OtherPatientIDsSequence", bounds.DEEPEST, True)
    assert analyze(tmp_path)["status"] == "analysed"


def deepened(path: Path, keyword: str, levels: int, undefined_length: bool) -> None:
    """Put a sequence of so many levels into a file, without a writer that calls itself."""
    dataset = pydicom.dcmread(path)
    setattr(dataset, keyword, [])
    dataset.save_as(path)
    tag = int(tag_for_keyword(keyword) or 0)
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + b"SQ\0\0"
    whole = path.read_bytes()
    at = whole.index(head)
    sequence = bombs.levels(head, levels, undefined_length)
    path.write_bytes(whole[:at] + sequence + whole[at + 12 :])
