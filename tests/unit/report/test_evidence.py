"""Nothing leaves that leaves out what it was made from, or goes by another name than planned."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest
from pydicom import DataElement, Dataset, config

from ich_node.errors import CheckFailed, Reason
from ich_node.records import FrameName, Refusal, Results, Wanted
from ich_node.report.build import build_not_analysed, build_results
from ich_node.report.check import check_not_analysed, check_results
from ich_node.report.check_identity import check_identity
from ich_node.report.identity import work_of
from tests.support.volumes import make_case, make_labels, make_prediction, with_source
from tests.unit.report.test_sr import named

Tamper = Callable[[Dataset], None]
KINDS = ("sc", "seg-labelmap", "pr")
REFUSAL = Refusal(Reason.GANTRY_TILT, "gantry tilt of +18.5 degrees")


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory):
    """A volume, its prediction and all objects that can be built of them; the check passes."""
    _, volume, prediction = make_case(shape=(8, 24, 24))
    folder = tmp_path_factory.mktemp("sound")
    results = build_results(volume, prediction, folder, None, Wanted(KINDS))
    check_results(volume, prediction, results)
    return volume, prediction, results


@pytest.fixture
def case(sound, tmp_path: Path):
    """The same, to be damaged."""
    volume, prediction, results = sound
    folder = results.sr.parent
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    others = {
        kind: tuple(tmp_path / path.relative_to(folder) for path in paths)
        for kind, paths in results.others.items()
    }
    seg, sr = tmp_path / "seg.dcm", tmp_path / "sr.dcm"
    return volume, prediction, replace(results, seg=seg, sr=sr, others=others)


@pytest.fixture
def headers() -> list[Dataset]:
    series, *_ = make_case(shape=(8, 24, 24))
    for dataset in series:
        del dataset.PixelData
    return series


def path_of(results: Results, kind: str) -> Path:
    """The first object of a kind; of captures the first page, or the first slice."""
    if kind.startswith("sc-"):
        return next(path for path in results.others["sc"] if kind in path.name)
    found = {"seg": (results.seg,), "sr": (results.sr,), **results.others}[kind][0]
    assert found is not None
    return found


def alter(path: Path, tamper: Tamper) -> None:
    built = pydicom.dcmread(path)
    tamper(built)
    built.save_as(path)


def evidence(sr: Dataset) -> list[Dataset]:
    """The series of the evidence of a report."""
    return list(sr.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence)


def image_unlisted(built: Dataset) -> None:
    """The last image is dropped from the list of instances."""
    (series,) = built.ReferencedSeriesSequence
    listed = "ReferencedInstanceSequence" if built.Modality == "SEG" else "ReferencedImageSequence"
    setattr(series, listed, list(series[listed].value)[:-1])


def all_unlisted(built: Dataset) -> None:
    del built.ReferencedSeriesSequence


def image_left_out(sr: Dataset) -> None:
    series = evidence(sr)[0]
    series.ReferencedSOPSequence = list(series.ReferencedSOPSequence)[1:]


def seg_left_out(sr: Dataset) -> None:
    holder = sr.CurrentRequestedProcedureEvidenceSequence[0]
    holder.ReferencedSeriesSequence = evidence(sr)[:1]


def no_evidence(sr: Dataset) -> None:
    del sr.CurrentRequestedProcedureEvidenceSequence


def other_series(sr: Dataset) -> None:
    evidence(sr)[0].SeriesInstanceUID = "1.2.3"


def other_class(sr: Dataset) -> None:
    evidence(sr)[0].ReferencedSOPSequence[0].ReferencedSOPClassUID = "1.2.3"


def other_study(sr: Dataset) -> None:
    sr.CurrentRequestedProcedureEvidenceSequence[0].StudyInstanceUID = "1.2.3"


def key_image_left_out(sr: Dataset) -> None:
    (group,) = named(sr, "Image Library Group")
    group.ContentSequence = list(group.ContentSequence)[1:]


def source_left_out(built: Dataset) -> None:
    built.SourceImageSequence = list(built.SourceImageSequence)[1:]


DAMAGE = [
    ("seg", image_unlisted, "evidence lists 7 instances and leaves out 1 of 8"),
    ("seg", all_unlisted, "leaves out 8 of 8"),
    ("seg", source_left_out, "Source Image Sequence leaves out 1 of 8"),
    ("sr", image_left_out, "evidence lists 8 instances and leaves out 1 of 9"),
    ("sr", seg_left_out, "leaves out 1 of 9"),
    ("sr", no_evidence, "leaves out 9 of 9"),
    ("sr", other_series, "leaves out 8 of 9"),
    ("sr", other_class, "leaves out 1 of 9"),
    ("sr", other_study, "leaves out 9 of 9"),
    ("sr", key_image_left_out, "key images leave out"),
    ("seg-labelmap", image_unlisted, "leaves out 1 of 8"),
    ("seg-labelmap", source_left_out, "Source Image Sequence leaves out 1 of 8"),
    ("pr", image_unlisted, "leaves out 1 of 8"),
    ("sc-overlay", source_left_out, "cannot be read back"),
    ("sc-summary", source_left_out, "cannot be read back"),
]


@pytest.mark.parametrize(
    ("kind", "tamper", "fault"), DAMAGE, ids=[f"{k}-{t.__name__}" for k, t, _ in DAMAGE]
)
def test_what_an_object_was_made_from_must_all_be_named(
    case, kind: str, tamper: Tamper, fault: str
) -> None:
    volume, prediction, results = case
    alter(path_of(results, kind), tamper)
    with pytest.raises(CheckFailed, match=fault):
        check_results(volume, prediction, results)


def test_a_summary_must_refer_to_the_slices_that_it_is_made_to_show(case) -> None:
    volume, prediction, results = case
    other = str(volume.source.headers[-1].SOPInstanceUID)

    def elsewhere(built: Dataset) -> None:
        built.SourceImageSequence[0].ReferencedSOPInstanceUID = other

    alter(path_of(results, "sc-summary"), elsewhere)
    with pytest.raises(CheckFailed, match="SC: the summary does not show"):
        check_results(volume, prediction, results)


def test_a_negative_report_points_to_the_most_suspicious_slice(tmp_path: Path) -> None:
    _, volume, _ = make_case(shape=(8, 24, 24))
    negative = make_prediction(make_labels(shape=(8, 24, 24), subtypes=()))
    results = build_results(volume, negative, tmp_path)
    alter(results.sr, key_image_left_out)
    with pytest.raises(CheckFailed, match="key images leave out that of the highest probability"):
        check_results(volume, negative, results)


@pytest.mark.parametrize(
    "keyword", ["SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID"]
)
def test_names_with_leading_zeros_are_named_as_they_are(tmp_path: Path, keyword: str) -> None:
    """Against PS3.5 9.1, and yet sent: whatever else were written would refer to nothing."""
    _, volume, prediction = make_case(shape=(8, 24, 24))
    for number, header in enumerate(volume.source.headers, start=1):
        uid = f"1.2.0840.{number if keyword == 'SOPInstanceUID' else 1}"
        header[keyword] = DataElement(header[keyword].tag, "UI", uid, validation_mode=config.IGNORE)
    results = build_results(volume, prediction, tmp_path, None, Wanted(KINDS))
    built = pydicom.dcmread(results.sr)
    names = {str(element.value) for element in built.iterall() if element.VR == "UI"}
    assert keyword == "FrameOfReferenceUID" or "1.2.0840.1" in names
    build_not_analysed(volume.source.headers, REFUSAL, tmp_path)


def test_the_image_that_holds_the_frames_must_be_named(tmp_path: Path) -> None:
    """Its frames are one instance in every list."""
    _, volume, prediction = make_case(shape=(8, 24, 24))
    frames = {
        str(header.SOPInstanceUID): FrameName("1.2.840.10008.5.1.4.1.1.2.1", "1.2.3", number)
        for number, header in enumerate(volume.source.headers, start=1)
    }
    volume = with_source(volume, frames=frames)
    results = build_results(volume, prediction, tmp_path)
    alter(path_of(results, "seg"), all_unlisted)
    with pytest.raises(CheckFailed, match=r"leaves out 1 of 1 .* 1\.2\.3 "):
        check_results(volume, prediction, results)


@pytest.mark.parametrize("kind", ["sr", "sc"])
def test_a_refusal_names_every_image_of_its_series(
    headers: list[Dataset], tmp_path: Path, kind: str
) -> None:
    results = build_not_analysed(headers, REFUSAL, tmp_path, None, Wanted(("sc",)))
    check_not_analysed(headers, REFUSAL.text, results)
    damage: dict[str, Tamper] = {"sr": image_left_out, "sc": source_left_out}
    alter(path_of(results, kind), damage[kind])
    with pytest.raises(CheckFailed, match="leaves out 1 of 8"):
        check_not_analysed(headers, REFUSAL.text, results)


@pytest.mark.parametrize("kind", ["seg", "sr", *KINDS])
def test_the_issuer_of_the_patient_id_is_that_of_the_source(case, kind: str) -> None:
    """The same number given out by two hospitals is two patients."""
    volume, prediction, results = case
    alter(path_of(results, kind), lambda built: setattr(built, "IssuerOfPatientID", "ELSEWHERE"))
    with pytest.raises(CheckFailed, match="IssuerOfPatientID") as failed:
        check_results(volume, prediction, results)
    assert "ELSEWHERE" not in str(failed.value), "an error text never names the patient"


def test_an_issuer_that_got_lost_is_noticed(tmp_path: Path) -> None:
    _, volume, prediction = make_case(shape=(8, 24, 24))
    for header in volume.source.headers:
        header.IssuerOfPatientID = "CLINIC"
    results = build_results(volume, prediction, tmp_path)
    alter(results.sr, lambda built: delattr(built, "IssuerOfPatientID"))
    with pytest.raises(CheckFailed, match="SR: IssuerOfPatientID"):
        check_results(volume, prediction, results)


NAMES = ["SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID"]
META = ["MediaStorageSOPClassUID", "MediaStorageSOPInstanceUID"]


@pytest.mark.parametrize("keyword", [*NAMES, *META])
@pytest.mark.parametrize("kind", ["seg", "sr", "sc-summary", "sc-overlay", "seg-labelmap", "pr"])
def test_an_object_goes_by_the_names_that_its_work_planned(case, kind: str, keyword: str) -> None:
    volume, prediction, results = case
    work = work_of((h.SOPInstanceUID for h in volume.source.headers), prediction.model)
    check_identity(results, work)
    path = path_of(results, kind)
    built = pydicom.dcmread(path)
    setattr(built.file_meta if keyword in META else built, keyword, "1.2.3")
    pydicom.dcmwrite(path, built, enforce_file_format=False)
    with pytest.raises(CheckFailed, match=rf"{path.name}: {keyword} is 1\.2\.3, planned was"):
        check_identity(results, work)


def test_a_report_of_another_form_is_not_what_was_planned(headers, tmp_path: Path) -> None:
    results = build_not_analysed(headers, REFUSAL, tmp_path, None, Wanted(enhanced_sr=True))
    uids = [str(header.SOPInstanceUID) for header in headers]
    check_identity(results, work_of(uids, REFUSAL, None, Wanted(enhanced_sr=True)))
    with pytest.raises(CheckFailed, match=r"sr\.dcm: SOPClassUID"):
        check_identity(results, work_of(uids, REFUSAL))
