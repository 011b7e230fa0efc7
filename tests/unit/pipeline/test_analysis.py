"""The durable workflow: what may pass is tried again, what does not ends in a state."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest
from dbos import DBOS

from deploy.demo.running import wait_for
from ich_node import node
from ich_node.errors import DeviceLost
from ich_node.pipeline import analysis, kept, pauses, reconcile
from ich_node.pipeline import engine as durable
from ich_node.pipeline.worker import Worker, end_process
from ich_node.records import CtVolume, ModelIdentity, Prediction, Received, Wanted
from ich_node.settings import Settings, load_settings
from ich_node.states import SeriesState
from ich_node.store import begun, instances, overview, results, revisions, trail
from ich_node.store import jobs as job_port
from ich_node.store.engine import DatabaseError, Engine, writing
from tests.support.series import head_series, localizer_of, write
from tests.unit.pipeline.test_folder import predict

_DEADLINE_S = 60.0


class StandIn:
    """A predictor that meets its errors first."""

    identity = ModelIdentity("stand-in", "1", "0" * 64, "cpu", "fp32")

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls = 0

    def predict(self, volume: CtVolume) -> Prediction:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return predict(volume)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setitem(analysis._AGAIN, "interval_seconds", 0.01)
    monkeypatch.setattr(durable, "MESSAGES_S", 0.1)  # the engine's whole end waits for this
    (tmp_path / "node.toml").write_text("")
    return load_settings(tmp_path / "node.toml")


@contextmanager
def working(
    settings: Settings,
    predictor: StandIn,
    wanted: Wanted | None = None,
    end_process: Callable[[str], None] = end_process,
) -> Iterator[tuple[Engine, str]]:
    """Run a worker on one stored series; give the database and the revision's key."""
    engine = node.prepare(settings)
    jobs = job_port.open_jobs(settings.database_url)
    for path in write(head_series(), settings.spool_dir):
        add(engine, path)
    [found] = revisions.receiving(engine)
    key = revisions.open_revision(engine, jobs, found, "test")
    assert key is not None
    durable.configure(settings.database_url, executor_id="test")
    analysis.register(
        Worker(
            "test:1:0",
            engine,
            jobs,
            predictor,
            settings.results_dir,
            (),
            wanted=wanted or Wanted(),
            end_process=end_process,
        )
    )
    durable.launch({job_port.ANALYSE_QUEUE: 1})
    try:
        yield engine, key
    finally:
        DBOS.destroy()
        jobs.destroy()
        engine.dispose()


def add(engine: Engine, path: Path) -> None:
    header = pydicom.dcmread(path, stop_before_pixels=True)
    received = Received(
        sop_class_uid=header.SOPClassUID,
        sop_instance_uid=header.SOPInstanceUID,
        study_instance_uid=header.StudyInstanceUID,
        series_instance_uid=header.SeriesInstanceUID,
        modality="CT",
        transfer_syntax_uid=header.file_meta.TransferSyntaxUID,
        number=int(header.InstanceNumber),
        path=path,
        sha256=path.name,
        size=1,
        source="test",
        calling_ae="TEST",
        patient_id=header.PatientID,
        study_date="",
        series_description="",
    )
    instances.add(engine, received, priority=5, quiet_seconds=1.0)


def ends_as(engine: Engine, key: str, *wanted: SeriesState) -> SeriesState:
    def look() -> SeriesState | None:
        state = revisions.state_of(engine, key)
        return state if state in wanted else None

    return wait_for(look, _DEADLINE_S, f"state of {wanted}")


ENDED = (SeriesState.REPORTED, SeriesState.REFUSED, SeriesState.FAILED)


def story(engine: Engine) -> dict:
    [study] = overview.studies(engine)
    return overview.show(engine, study["study_instance_uid"])


def test_a_disturbance_that_passes_is_not_a_failure(settings: Settings) -> None:
    """A full disk or a busy database for a moment costs a moment."""
    predictor = StandIn(OSError(28, "No space left on device"), OSError(28, "No space left"))
    with working(settings, predictor) as (engine, key):
        assert ends_as(engine, key, *ENDED) is SeriesState.REPORTED
    assert predictor.calls == 3


def test_a_disturbance_that_stays_puts_the_series_off_and_never_aside(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is full for an hour is no fault of the series: it begins anew, and is read."""
    monkeypatch.setattr(pauses, "_FIRST_PAUSE_S", 0.01)
    predictor = StandIn(*[OSError(28, "No space left on device")] * 12)
    with working(settings, predictor) as (engine, key):
        assert ends_as(engine, key, *ENDED) is SeriesState.REPORTED
        put_off = [item for item in story(engine)["events"] if item["kind"] == "disturbed"]
    assert predictor.calls == 13
    assert len(put_off) == 2
    assert all("No space left on device" in item["text"] for item in put_off)


def test_what_cannot_be_written_down_either_is_left_to_the_reconciler(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Full for the database too: the job ends, and the next look gives the series another."""
    monkeypatch.setattr(pauses, "_FIRST_PAUSE_S", 0.01)
    full = DatabaseError("", None, sqlite3.OperationalError("database or disk is full"))
    with monkeypatch.context() as patch:
        patch.setattr(analysis, "_postpone", lambda *_arguments: (_ for _ in ()).throw(full))
        with working(settings, StandIn(*[full] * 5)) as (engine, key):
            jobs = job_port.open_jobs(settings.database_url)
            wait_for(lambda: reconcile.analyses(engine, jobs), _DEADLINE_S, "series found again")
            assert ends_as(engine, key, *ENDED) is SeriesState.REPORTED
            jobs.destroy()


def test_an_error_of_a_file_that_stays_ends_in_a_state_with_its_text(settings: Settings) -> None:
    predictor = StandIn(*[FileNotFoundError(2, "No such file or directory")] * 50)
    with working(settings, predictor) as (engine, key):
        assert ends_as(engine, key, *ENDED) is SeriesState.FAILED
        [revision] = story(engine)["series"][0]["revisions"]
    assert "No such file or directory" in revision["reason_text"]
    assert predictor.calls == 5


def test_an_os_error_that_a_library_makes_up_is_not_the_disks(settings: Settings) -> None:
    """The parser's say what it read: tried once, and its text, which may quote it, is not kept."""
    predictor = StandIn(*[OSError("for data_element:\n(0010,0010) SOME^BODY")] * 50)
    with working(settings, predictor) as (engine, key):
        assert ends_as(engine, key, *ENDED) is SeriesState.FAILED
        [revision] = story(engine)["series"][0]["revisions"]
    assert revision["reason_text"] == "OSError"
    assert predictor.calls == 1


def test_a_lost_device_ends_the_process_and_is_no_failure_of_the_series(
    settings: Settings,
) -> None:
    """Only a new process has the device anew; the series is at hand still, and counted."""
    lost = DeviceLost("cuda has failed: CUDA error: unknown error")
    ended, over = list[str](), threading.Event()

    def end(text: str) -> None:
        ended.append(text)
        over.wait(_DEADLINE_S)  # a process that ends goes no further

    with working(settings, StandIn(lost), end_process=end) as (engine, key):
        wait_for(lambda: ended, _DEADLINE_S, "end of the process")
        assert revisions.state_of(engine, key) is SeriesState.ASSEMBLED
        assert begun.begin(engine, key, "test:2:0") == 1
        over.set()
        assert ends_as(engine, key, *ENDED) is SeriesState.REPORTED
    assert ended == [str(lost)]


def test_what_was_read_another_way_says_so_and_is_kept_under_its_own_name(
    settings: Settings,
) -> None:
    """Its UIDs tell it from what the configured device would have given."""
    note = "read on the CPU: the memory of cuda was not enough"
    with working(settings, OnCpu(note)) as (engine, key):
        assert ends_as(engine, key, *ENDED) is SeriesState.REPORTED
        told = story(engine)
    [revision] = told["series"][0]["revisions"]
    assert revision["notes"][-1] == note
    assert revision["model"]["device"] == "cpu"
    assert [note in item["text"] for item in told["events"] if item["kind"] == "inferred"] == [True]
    [kept_in] = [path for path in settings.results_dir.iterdir() if path.is_dir()]
    used = replace(OnCpu.identity, device="cpu")
    assert kept_in.name == kept.result_key(uids_of(settings), used)
    assert kept_in.name != kept.result_key(uids_of(settings), OnCpu.identity)


class OnCpu(StandIn):
    """A predictor that is to read on CUDA, and reads on the CPU."""

    identity = replace(StandIn.identity, device="cuda")

    def __init__(self, note: str) -> None:
        super().__init__()
        self.note = note

    def predict(self, volume: CtVolume) -> Prediction:
        by = replace(self.identity, device="cpu")
        return replace(super().predict(volume), model=by, notes=(self.note,))


def uids_of(settings: Settings) -> list[str]:
    paths = settings.spool_dir.rglob("*.dcm")
    return [str(pydicom.dcmread(path).SOPInstanceUID) for path in paths]


def test_an_error_of_ours_ends_at_once_and_quotes_nobody(settings: Settings) -> None:
    """The text of a foreign error may hold the patient's name; it goes nowhere."""
    predictor = StandIn(ValueError("DOE^JANE"))
    with working(settings, predictor) as (engine, key):
        assert ends_as(engine, key, *ENDED) is SeriesState.FAILED
        told = str(story(engine))
    assert "ValueError" in told
    assert "DOE^JANE" not in told


def test_a_localizer_more_gives_the_very_same_objects(settings: Settings, tmp_path: Path) -> None:
    """What is not read changes nothing: one UID stands for one object, byte for byte."""
    with working(settings, StandIn()) as (engine, first):
        ends_as(engine, first, *ENDED)
        [late] = write([localizer_of(head_series()[0])], tmp_path / "late")
        add(engine, late)
        [found] = revisions.receiving(engine)
        jobs = job_port.open_jobs(settings.database_url)
        second = revisions.open_revision(engine, jobs, found, "late")
        jobs.destroy()
        assert second is not None
        assert ends_as(engine, second, *ENDED) is SeriesState.REPORTED
        assert results.kept_of(engine, second) == results.kept_of(engine, first)


def test_kinds_that_destinations_ask_for_are_built_and_kept(settings: Settings) -> None:
    """Summary first, then a picture of every slice; the trail has the model, and every object."""
    with working(settings, StandIn(), Wanted(("sc",))) as (engine, key):
        assert ends_as(engine, key, *ENDED) is SeriesState.REPORTED
        kept = results.kept_of(engine, key)
    captures = [item.path.name for item in kept if item.kind == "sc"]
    assert captures[0] == "9704-sc-summary-0001.dcm"
    assert len([name for name in captures if "overlay" in name]) == len(head_series())
    assert {item.kind for item in kept} >= {"sc", "sr"}
    told = {entry.kind: entry.data for entry in trail.entries(engine)}
    assert told["inferred"]["model"] == vars(StandIn.identity)
    assert {item["sha256"] for item in told["reported"]["objects"]} == {
        item.sha256 for item in kept
    }


def test_a_late_image_makes_a_report_that_supersedes_the_first(
    settings: Settings, tmp_path: Path
) -> None:
    """Radiologist and PACS see which report holds; the same work again changes nothing."""
    with working(settings, StandIn()) as (engine, first):
        ends_as(engine, first, *ENDED)
        above = head_series()[-1]
        x, y, z = above.ImagePositionPatient
        above.ImagePositionPatient, above.InstanceNumber = [x, y, float(z) + 5.0], 13
        above.SOPInstanceUID += ".1"
        [late] = write([above], tmp_path / "late")
        add(engine, late)
        [found] = revisions.receiving(engine)
        jobs = job_port.open_jobs(settings.database_url)
        second = revisions.open_revision(engine, jobs, found, "late")
        assert second is not None
        assert ends_as(engine, second, *ENDED) is SeriesState.REPORTED
        with writing(engine) as connection:
            third = revisions.reopen(connection, jobs, found.series_instance_uid, "asked for")
        jobs.destroy()
        assert ends_as(engine, third, *ENDED) is SeriesState.REPORTED
        before, after, again = (
            {item.kind: item for item in results.kept_of(engine, key)}
            for key in (first, second, third)
        )
    assert again == after
    sr = pydicom.dcmread(after["sr"].path)
    [study] = sr.PredecessorDocumentsSequence
    [series] = study.ReferencedSeriesSequence
    [document] = series.ReferencedSOPSequence
    assert study.StudyInstanceUID == sr.StudyInstanceUID
    assert document.ReferencedSOPInstanceUID == before["sr"].sop_instance_uid
    assert "PredecessorDocumentsSequence" not in pydicom.dcmread(before["sr"].path)
    for item in after.values():
        assert "supersedes revision 1" in pydicom.dcmread(item.path).SeriesDescription
