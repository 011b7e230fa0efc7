"""An object that comes again: the same, corrected, or another one under a known UID."""

import os
import threading
import time
from pathlib import Path
from typing import Any

import pydicom
import pytest
import sqlalchemy as sa
from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian, RLELossless

from ich_node.receive import spool
from ich_node.receive.intake import Answer, Intake, take
from ich_node.receive.room import Room
from ich_node.states import SeriesState
from ich_node.store import events, instances, retention
from ich_node.store.engine import writing
from ich_node.store.tables import event, instance, series, study
from tests.support.modes import open_to_others
from tests.support.peers import incoming, small_object
from tests.support.series import ENCODABLE, pixels, set_pixels
from tests.unit.receive.kept import files, rows

SUCCESS, NO_ROOM, CONFLICT = 0x0000, 0xA700, 0xC001
PATIENT = ("DOE^JANE", "PATIENT-77", "19510203")


def test_equal_bytes_are_a_duplicate_and_nothing_changes(intake: Intake, image: Dataset) -> None:
    take(intake, incoming(image))
    before = (files(intake), rows(intake, instance), rows(intake, series), rows(intake, event))
    assert take(intake, incoming(image)).status == SUCCESS
    after = (files(intake), rows(intake, instance), rows(intake, series), rows(intake, event))
    assert after == before


@pytest.mark.parametrize("syntax", [each for each in ENCODABLE if each != ExplicitVRLittleEndian])
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


def purged(intake: Intake) -> None:
    """Let the images that are kept outlive their time."""
    with writing(intake.engine) as connection:
        connection.execute(sa.update(series).values(state=SeriesState.REFUSED))
    for held in retention.originals(intake.engine, ()):
        assert retention.delete_originals(intake.engine, (), held.study_instance_uid, "old")
    assert files(intake) == []


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless])
def test_a_deleted_object_is_stored_again_in_the_encoding_it_comes_back_in(
    intake: Intake, image: Dataset, syntax: str
) -> None:
    """An archive of long ago has its own encoding, and headers corrected since."""
    take(intake, incoming(image))
    purged(intake)
    image.PatientID = "CORRECTED"
    sent = incoming(image, syntax)
    assert take(intake, sent) == Answer(SUCCESS, series_instance_uid=image.SeriesInstanceUID)
    [path] = files(intake)
    assert pydicom.dcmread(path).PatientID == "CORRECTED"
    [row] = rows(intake, instance)
    assert (row["path"], row["transfer_syntax_uid"]) == (str(path), syntax)
    assert (row["sha256"], row["size"]) == (spool.digest(sent.data), len(sent.data))
    assert row["deleted_at"] is None
    assert take(intake, sent).status == SUCCESS
    assert files(intake) == [path]


def test_a_deleted_object_does_not_come_back_in_another_series(
    intake: Intake, image: Dataset
) -> None:
    take(intake, incoming(image))
    purged(intake)
    image.SeriesInstanceUID = "1.2.9"
    assert take(intake, incoming(image)).status == CONFLICT
    [row] = rows(intake, instance)
    assert row["deleted_at"] is not None


def test_a_deleted_object_that_finds_no_room_stays_deleted(
    intake: Intake, image: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    take(intake, incoming(image))
    purged(intake)
    with monkeypatch.context() as patch:
        patch.setattr(Room, "holds", lambda _room, _size: False)
        assert take(intake, incoming(image)).status == NO_ROOM
    [row] = rows(intake, instance)
    assert row["deleted_at"] is not None
    assert take(intake, incoming(image)).status == SUCCESS


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
