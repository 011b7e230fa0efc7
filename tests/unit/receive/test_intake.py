"""What is answered to one object, and what is then on disk and in the database."""

import os
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import pydicom
import pytest
import sqlalchemy as sa
from pydicom import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
    SecondaryCaptureImageStorage,
)
from pynetdicom.dsutils import encode

from ich_node.receive.intake import Incoming, Intake, take
from ich_node.settings import Storage
from ich_node.store import events, instances
from ich_node.store.tables import event, instance, series, study
from tests.support.modes import open_to_others
from tests.support.peers import encoded, incoming, small_object
from tests.support.series import pixels, set_pixels

SUCCESS, OUT_OF_RESOURCES = 0x0000, 0xA700
WRONG_CLASS, CANNOT_UNDERSTAND, CONFLICT = 0xA900, 0xC000, 0xC001
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom's, of odd values

PATIENT = ("DOE^JANE", "PATIENT-77", "19510203")


def rows(intake: Intake, table: sa.Table) -> list[dict[str, Any]]:
    with intake.engine.connect() as connection:
        return [dict(row) for row in connection.execute(sa.select(table)).mappings()]


def files(intake: Intake) -> list[Path]:
    """Every object file of the data folder."""
    root = intake.settings.storage.data_dir
    return sorted(path for path in root.rglob("*") if path.suffix in (".dcm", ".part"))


def plain(dataset: Dataset) -> bytes:
    """Encode what could not be saved as a file: its UIDs may be none."""
    return encode(dataset, False, True) or b""


def nothing_kept(intake: Intake) -> bool:
    return not files(intake) and not rows(intake, instance)


def test_a_new_object_is_kept_undecoded_and_has_its_rows(intake: Intake, image: Dataset) -> None:
    sent = incoming(image)
    assert take(intake, sent).status == SUCCESS
    (path,) = files(intake)
    assert path.parent == intake.settings.spool_dir / image.StudyInstanceUID / (
        image.SeriesInstanceUID
    )
    assert path.read_bytes().endswith(sent.data)
    (row,) = rows(intake, instance)
    assert (row["path"], row["size"], row["number"]) == (str(path), len(sent.data), 1)
    assert [row["quiet_seconds"] for row in rows(intake, series)] == [2]
    assert [row["patient_id"] for row in rows(intake, study)] == ["SIMULATED-0"]


def test_the_file_meta_information_names_what_was_negotiated(
    intake: Intake, image: Dataset
) -> None:
    take(intake, incoming(image, RLELossless))
    meta = pydicom.dcmread(files(intake)[0]).file_meta
    assert meta.TransferSyntaxUID == RLELossless
    assert meta.MediaStorageSOPInstanceUID == image.SOPInstanceUID
    assert meta.SourceApplicationEntityTitle == "SENDER"


def test_equal_bytes_are_a_duplicate_and_nothing_changes(intake: Intake, image: Dataset) -> None:
    take(intake, incoming(image))
    before = (files(intake), rows(intake, instance), rows(intake, series), rows(intake, event))
    assert take(intake, incoming(image)).status == SUCCESS
    after = (files(intake), rows(intake, instance), rows(intake, series), rows(intake, event))
    assert after == before


@pytest.mark.parametrize(
    "syntax",
    [
        ImplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
        RLELossless,
        JPEG2000Lossless,
        JPEGLSLossless,
    ],
)
def test_the_same_object_in_another_lossless_encoding_is_a_duplicate(
    intake: Intake, image: Dataset, syntax: str
) -> None:
    image.add_new(0x00091001, "US", 7)
    image.add_new(0x00090010, "LO", "SIMULATED PRIVATE")
    image.add_new(0x00091002, "LO", "kept beside")
    take(intake, incoming(image))
    assert take(intake, incoming(image, syntax)).status == SUCCESS
    assert len(files(intake)) == 1
    assert rows(intake, event) == []


def test_what_is_kept_beside_is_its_owners_alone(intake: Intake, image: Dataset) -> None:
    """Whatever the process lets others do by default."""
    take(intake, incoming(image))
    before = os.umask(0)
    try:
        image.PatientID = "PATIENT-77"
        assert take(intake, incoming(image)).status == SUCCESS
        image.PixelSpacing = [0.1, 0.1]
        assert take(intake, incoming(image)).status == CONFLICT
    finally:
        os.umask(before)
    beside = [intake.settings.storage.data_dir / name for name in ("header_changed", "conflict")]
    assert [len(list(folder.iterdir())) for folder in beside] == [1, 1]
    assert [line for folder in beside for line in open_to_others(folder)] == []


def test_a_header_correction_is_kept_beside_and_its_event_names_no_value(
    intake: Intake, image: Dataset
) -> None:
    take(intake, incoming(image))
    image.PatientName, image.PatientID, image.PatientBirthDate = PATIENT
    assert take(intake, incoming(image)).status == SUCCESS
    beside = [path for path in files(intake) if "header_changed" in path.parts]
    assert [pydicom.dcmread(path).PatientID for path in beside] == ["PATIENT-77"]
    (told,) = rows(intake, event)
    assert told["kind"] == "header_changed"
    assert told["data"] == {"keywords": ["PatientBirthDate", "PatientID", "PatientName"]}
    assert not any(value in str(told) for value in PATIENT)
    assert [row["patient_id"] for row in rows(intake, study)] == ["SIMULATED-0"]


def test_other_pixels_under_a_known_uid_are_refused_and_kept_apart(
    intake: Intake, image: Dataset
) -> None:
    take(intake, incoming(image))
    first = files(intake)[0].read_bytes()
    set_pixels(image, pixels(image) + 1)
    answer = take(intake, incoming(image))
    assert (answer.status, answer.comment) == (CONFLICT, "UID known with other PixelData")
    apart = [path for path in files(intake) if "conflict" in path.parts]
    assert len(apart) == 1
    assert pydicom.dcmread(apart[0]).PixelData == image.PixelData
    assert Path(rows(intake, instance)[0]["path"]).read_bytes() == first
    assert [row["kind"] for row in rows(intake, event)] == ["conflict"]


def test_what_is_kept_apart_and_comes_again_is_kept_as_long_as_if_it_were_new(
    intake: Intake, image: Dataset
) -> None:
    take(intake, incoming(image))
    image.PatientID = "CORRECTED"
    take(intake, incoming(image))
    [beside] = [path for path in files(intake) if "header_changed" in path.parts]
    os.utime(beside, (0.0, 0.0))
    take(intake, incoming(image))
    assert time.time() - beside.stat().st_mtime < 3600


def test_what_is_kept_apart_and_was_deleted_as_it_came_again_is_there_when_it_is_answered(
    intake: Intake, image: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    take(intake, incoming(image))
    image.PatientID = "CORRECTED"
    take(intake, incoming(image))
    [beside] = [path for path in files(intake) if "header_changed" in path.parts]
    add = events.add

    def delete_and_add(*args: Any, **values: Any) -> None:
        beside.unlink()
        add(*args, **values)

    monkeypatch.setattr(events, "add", delete_and_add)
    assert take(intake, incoming(image)).status == SUCCESS
    assert beside.exists()


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("ImagePositionPatient", [0, 0, 17.5]),
        ("ImageOrientationPatient", [0, 1, 0, 1, 0, 0]),
        ("PixelSpacing", [1, 1]),
        ("RescaleIntercept", 0),
        ("PhotometricInterpretation", "MONOCHROME1"),
        ("FrameOfReferenceUID", "1.2.9"),
        ("SeriesInstanceUID", "1.2.9"),
        ("StudyInstanceUID", "1.2.9"),
    ],
)
def test_other_geometry_under_a_known_uid_is_refused(
    intake: Intake, image: Dataset, keyword: str, value: object
) -> None:
    take(intake, incoming(image))
    setattr(image, keyword, value)
    answer = take(intake, incoming(image))
    assert answer.status == CONFLICT
    assert keyword in answer.comment
    assert len(rows(intake, instance)) == len(rows(intake, series)) == 1


def test_a_lossy_copy_is_another_object(intake: Intake, image: Dataset) -> None:
    take(intake, incoming(image))
    set_pixels(image, pixels(image) // 4 * 4)
    image.LossyImageCompression = "01"
    assert take(intake, incoming(image, RLELossless)).status == CONFLICT


def test_an_error_comment_fits_its_64_characters(intake: Intake, image: Dataset) -> None:
    take(intake, incoming(image))
    image.ImagePositionPatient = [0, 0, 17.5]
    image.ImageOrientationPatient = [0, 1, 0, 1, 0, 0]
    image.PixelSpacing, image.RescaleIntercept = [1, 1], 0
    comment = take(intake, incoming(image)).comment
    assert comment.endswith("...")
    assert len(comment) == 64


def test_our_own_result_that_comes_back_is_dropped(intake: Intake) -> None:
    result = small_object(Modality="SR", ManufacturerModelName="ich-node")
    assert take(intake, incoming(result)).status == SUCCESS
    assert nothing_kept(intake)
    (told,) = rows(intake, event)
    assert (told["kind"], told["study_instance_uid"]) == ("own_result", "1.2")


def test_an_image_that_names_our_product_is_still_taken(intake: Intake) -> None:
    image = small_object(Modality="CT", ManufacturerModelName="ich-node")
    take(intake, incoming(image))
    assert len(rows(intake, instance)) == 1


def test_below_the_limit_of_free_space_nothing_is_taken(intake: Intake) -> None:
    full = intake.settings.model_copy(
        update={
            "storage": Storage(data_dir=intake.settings.storage.data_dir, min_free_gb=10**6),
        }
    )
    tight = Intake(intake.engine, full)
    assert take(tight, incoming(small_object())).status == OUT_OF_RESOURCES
    assert nothing_kept(intake)


def test_below_the_limit_a_duplicate_is_still_a_success(
    intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = incoming(small_object())
    take(intake, sent)
    usage = shutil.disk_usage(intake.settings.storage.data_dir)._replace(free=-1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)
    assert take(intake, sent).status == SUCCESS
    assert take(intake, incoming(small_object(2))).status == OUT_OF_RESOURCES


def test_a_failing_disk_is_not_a_success(intake: Intake, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_space(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", no_space)
    with pytest.raises(OSError, match="No space left"):
        take(intake, incoming(small_object()))
    assert nothing_kept(intake)


def test_a_crash_between_the_file_and_its_row_heals_when_the_object_is_sent_again(
    intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = incoming(small_object())
    with monkeypatch.context() as patch:
        patch.setattr(instances, "_insert", lambda *_a, **_k: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            take(intake, sent)
    assert rows(intake, instance) == []
    assert take(intake, sent).status == SUCCESS
    assert len(files(intake)) == len(rows(intake, instance)) == 1


def test_a_lost_file_is_written_again_when_its_object_comes_again(intake: Intake) -> None:
    sent = incoming(small_object())
    take(intake, sent)
    (path,) = files(intake)
    whole = path.read_bytes()
    path.unlink()
    assert take(intake, sent).status == SUCCESS
    assert path.read_bytes() == whole


def test_an_object_whose_kept_file_is_lost_cannot_be_replaced_by_another(intake: Intake) -> None:
    take(intake, incoming(small_object()))
    files(intake)[0].unlink()
    assert take(intake, incoming(small_object(Rows=7))).status == CONFLICT


@pytest.mark.parametrize(
    "data", [b"", b"GET / HTTP/1.1\r\n\r\n", b"\x00" * 999, b"\xff" * 999, bytes(range(256)) * 9]
)
def test_what_is_not_dicom_is_refused(intake: Intake, data: bytes) -> None:
    request = Incoming(
        sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
        sop_instance_uid="1.2.3.1",
        transfer_syntax_uid=ExplicitVRLittleEndian,
        data=data,
        source=incoming(small_object()).source,
        calling_ae="SENDER",
    )
    assert take(intake, request).status == CANNOT_UNDERSTAND
    assert nothing_kept(intake)


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"])
@pytest.mark.parametrize("value", [None, "", "../../etc", "1.2/3", "1..2", "1.2.3\\1.2.4", "a.b"])
def test_a_missing_or_impossible_uid_is_refused(
    intake: Intake, keyword: str, value: str | None
) -> None:
    sent = small_object()
    setattr(sent, keyword, value)
    answer = take(intake, incoming(sent, sop_instance_uid="1.2.3.1", data=plain(sent)))
    assert answer.status == CANNOT_UNDERSTAND
    assert keyword in answer.comment
    assert nothing_kept(intake)


@pytest.mark.parametrize("uid", ["None", "", "../1.2", "1.2\\3"])
def test_a_request_without_a_uid_is_refused(intake: Intake, uid: str) -> None:
    answer = take(intake, incoming(small_object(), sop_instance_uid=uid))
    assert (answer.status, answer.comment) == (CANNOT_UNDERSTAND, "the request names no UID")
    assert nothing_kept(intake)


@pytest.mark.parametrize(
    "other", [{"sop_class_uid": SecondaryCaptureImageStorage}, {"sop_instance_uid": "1.2.3.99"}]
)
def test_a_data_set_that_is_not_what_the_request_names_is_refused(
    intake: Intake, other: dict[str, str]
) -> None:
    assert take(intake, incoming(small_object(), **other)).status == WRONG_CLASS
    assert nothing_kept(intake)


def test_an_image_without_pixels_is_kept_for_the_analysis_to_refuse(
    intake: Intake, image: Dataset
) -> None:
    del image.PixelData
    assert take(intake, incoming(image)).status == SUCCESS
    assert len(rows(intake, instance)) == 1


@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless]
)
@pytest.mark.parametrize("missing", [1, 9, 500])
def test_an_image_that_is_cut_short_is_refused(
    intake: Intake, image: Dataset, syntax: str, missing: int
) -> None:
    data = encoded(image, syntax)[:-missing]
    answer = take(intake, incoming(image, syntax, data=data))
    assert (answer.status, answer.comment) == (
        CANNOT_UNDERSTAND,
        "the data set is cut short; send it again",
    )
    assert nothing_kept(intake)


def test_a_deflated_image_that_is_cut_short_is_refused(intake: Intake, image: Dataset) -> None:
    data = encoded(image, DeflatedExplicitVRLittleEndian)[:-9]
    sent = incoming(image, DeflatedExplicitVRLittleEndian, data=data)
    assert take(intake, sent).status == CANNOT_UNDERSTAND
    assert nothing_kept(intake)


@pytest.mark.parametrize(
    ("keyword", "raw"),
    [
        ("SpecificCharacterSet", b"NO SUCH SET "),
        ("PatientName", b"\xff\xfe\xfd^\x80 "),
        ("PatientID", b"A\0B\0"),
        ("InstanceNumber", b"9999999999"),
        ("InstanceNumber", b"first "),
        ("StudyDate", b"yesterday!"),
        ("Modality", b"CT\\MR "),
        ("SeriesDescription", b"\x1b$B;3ED"),
    ],
)
def test_odd_header_values_do_not_keep_an_image_out(
    intake: Intake, keyword: str, raw: bytes
) -> None:
    image = small_object()
    tag = pydicom.datadict.tag_for_keyword(keyword)
    assert tag is not None
    if keyword in image:
        del image[keyword]
    element = (
        (tag >> 16).to_bytes(2, "little")
        + (tag & 0xFFFF).to_bytes(2, "little")
        + pydicom.datadict.dictionary_VR(tag).encode()
        + len(raw).to_bytes(2, "little")
        + raw
    )
    before = Dataset()
    before.update({item.tag: item for item in image if item.tag < tag})
    data = plain(image).removeprefix(plain(before))
    assert take(intake, incoming(image, data=plain(before) + element + data)).status == SUCCESS
    (row,) = rows(intake, study)
    assert "\0" not in row["patient_id"]


@pytest.mark.parametrize(
    ("raw", "number"), [("7", 7), ("-3 ", -3), ("2147483648", None), ("one", None), ("", None)]
)
def test_an_instance_number_beyond_its_vr_is_none(
    intake: Intake, raw: str, number: int | None
) -> None:
    image = small_object()
    del image.InstanceNumber
    data = plain(image) + b"\x20\x00\x13\x00IS" + len(raw).to_bytes(2, "little") + raw.encode()
    assert take(intake, incoming(image, data=data)).status == SUCCESS
    assert [row["number"] for row in rows(intake, instance)] == [number]


def test_the_same_object_on_many_threads_gets_in_once(intake: Intake) -> None:
    sent = incoming(small_object())
    statuses: list[int] = []
    threads = [
        threading.Thread(target=lambda: statuses.append(take(intake, sent).status))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert statuses == [SUCCESS] * 8
    assert len(rows(intake, instance)) == len(files(intake)) == 1
    assert rows(intake, event) == []


def test_an_image_whose_series_is_of_another_study_is_known_when_it_comes_again(
    intake: Intake,
) -> None:
    """Careless anonymising makes such: one Series Instance UID in two studies."""
    assert take(intake, incoming(small_object(1))).status == SUCCESS
    other = small_object(2, StudyInstanceUID="1.2.99")
    assert take(intake, incoming(other)).status == SUCCESS
    assert take(intake, incoming(other)).status == SUCCESS
    assert {row["study_instance_uid"] for row in rows(intake, study)} == {"1.2", "1.2.99"}
