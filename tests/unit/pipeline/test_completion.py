"""Series become complete by the evidence at hand, once."""

import gc
import sqlite3
import time
import weakref
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pydicom.uid import CTImageStorage

from ich_node.pipeline.completion import Completion
from ich_node.pipeline.looking import Ends
from ich_node.records import Announcement, Arrival, Placing, Referenced
from ich_node.states import AnnouncementState, SeriesState
from ich_node.store import announcements, instances, overview, revisions, tables
from ich_node.store import jobs as job_port
from ich_node.store.engine import Engine, writing
from ich_node.store.jobs import Jobs
from tests.unit.store.conftest import FIRST

SERIES = FIRST.series_instance_uid


@pytest.fixture
def jobs(engine: Engine) -> Iterator[Jobs]:
    job_port.prepare(str(engine.url))
    opened = job_port.open_jobs(str(engine.url))
    yield opened
    opened.destroy()


@dataclass
class Looker:
    """Stands for the process that looks at end slices."""

    answers: list[bool | None]
    asked: list[list[Ends]] = field(default_factory=list)

    def __call__(self, stacks: Sequence[Ends]) -> list[bool | None]:
        self.asked.append(list(stacks))
        return self.answers[: len(stacks)]


def add(engine: Engine, number: int, quiet_seconds: float = 300.0, series: str = SERIES) -> None:
    placing = Placing("ORIGINAL\\PRIMARY\\AXIAL", f"0\\0\\{5 * number}", "1\\0\\0\\0\\1\\0")
    received = replace(
        FIRST,
        sop_class_uid=CTImageStorage,
        sop_instance_uid=f"{series}.{number}",
        series_instance_uid=series,
        number=number,
        path=Path(f"{number}.dcm"),
        placing=placing,
    )
    instances.add(engine, received, priority=5, quiet_seconds=quiet_seconds)


def state(engine: Engine) -> SeriesState:
    [study] = overview.studies(engine)
    return SeriesState(study["series"][0]["state"])


@pytest.mark.parametrize(
    ("quiet_seconds", "open_associations", "complete"),
    [(1.0, 0, True), (1.0, 1, True), (3600.0, 0, False)],
)
def test_without_evidence_the_sources_quiet_time_decides(
    engine: Engine, jobs: Jobs, quiet_seconds: float, open_associations: int, complete: bool
) -> None:
    add(engine, 1, quiet_seconds)
    completion = Completion(engine, jobs, 0.0)
    assert completion.look({SERIES: open_associations}, time.time() + 10.0) == 1
    [study] = overview.studies(engine)
    assert (study["series"][0]["state"] == SeriesState.COMPLETE) is complete
    assert bool(study["series"][0]["evidence"]) is complete


def test_the_time_that_nobody_listened_is_no_quiet_time(engine: Engine, jobs: Jobs) -> None:
    """A sender that was cut off by our own death must have the time to come back."""
    add(engine, 1, 30.0)
    with writing(engine) as connection:
        connection.execute(sa.update(tables.series).values(last_received_at=time.time() - 600.0))
    Completion(engine, jobs, listening_since=time.time() - 5.0).look({}, time.time())
    assert state(engine) == SeriesState.RECEIVING
    Completion(engine, jobs, listening_since=time.time() - 31.0).look({}, time.time())
    assert state(engine) == SeriesState.COMPLETE


@pytest.mark.parametrize("open_associations", [0, 1])
def test_a_sender_that_begins_anew_is_not_done(
    engine: Engine, jobs: Jobs, open_associations: int
) -> None:
    """Its images are here already, and say all the same that it sends."""
    add(engine, 1, 30.0)
    began, quiet_s = time.time(), 30.0 * (4 if open_associations else 1)
    completion = Completion(engine, jobs, 0.0)
    opened = {SERIES: open_associations}
    completion.look(opened, began)
    for seconds in range(10, 200, 10):
        completion.look(opened, began + seconds, heard={SERIES: 2.0, "1.2.9": 2.0})
        assert state(engine) == SeriesState.RECEIVING
    completion.look(opened, began + 188 + quiet_s - 0.1)
    assert state(engine) == SeriesState.RECEIVING
    completion.look(opened, began + 188 + quiet_s + 0.1)
    assert state(engine) == SeriesState.COMPLETE


def test_a_whole_head_is_complete_when_its_ends_are_seen_outside_the_brain(
    engine: Engine, jobs: Jobs
) -> None:
    for number in range(1, 31):
        add(engine, number)
    looker = Looker([True])
    completion = Completion(engine, jobs, 0.0, look_at_ends=looker)
    completion.look({}, time.time())
    assert looker.asked == []  # a second has not passed
    completion.look({SERIES: 1}, time.time() + 5)
    assert looker.asked == []  # its association is open
    completion.look({}, time.time() + 5)
    completion._background.shutdown()
    completion.look({}, time.time() + 5)
    assert looker.asked == [[Ends((Path("1.dcm"), Path("18.dcm"), Path("30.dcm")), native=True)]]
    assert state(engine) == SeriesState.COMPLETE
    assert completion.look({}, time.time() + 5) == 0


def test_the_ends_of_what_grew_since_are_looked_at_again(engine: Engine, jobs: Jobs) -> None:
    for number in range(1, 31):
        add(engine, number)
    looker = Looker([False])
    completion = Completion(engine, jobs, 0.0, look_at_ends=looker)
    for _ in range(3):
        completion.look({}, time.time() + 5)
        completion._background.submit(lambda: None).result()
    assert len(looker.asked) == 1
    add(engine, 31)
    for seconds in (5, 10):
        completion.look({}, time.time() + seconds)
    completion._background.submit(lambda: None).result()
    assert [stacks[0].paths[2] for stacks in looker.asked] == [Path("30.dcm"), Path("31.dcm")]
    assert revisions.receiving(engine)


def test_series_behind_one_that_ends_the_looking_process_are_asked_for_again(
    engine: Engine, jobs: Jobs
) -> None:
    for series in ("1.2.3", "1.2.4", "1.2.5"):
        for number in range(1, 31):
            add(engine, number, series=series)
    looker = Looker([False, None, None])  # the process says one word and dies
    completion = Completion(engine, jobs, 0.0, look_at_ends=looker)
    for _ in range(5):
        completion.look({}, time.time() + 5)
        completion._background.submit(lambda: None).result()
    assert [len(stacks) for stacks in looker.asked] == [3, 2, 1]


def test_a_series_that_comes_in_now_is_not_read_again_and_again(
    engine: Engine, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would take from the receiver's time what the receiver needs to be fast."""
    read: list[str] = []
    arrivals = instances.arrivals

    def counted(engine: Engine, series: str) -> list[Arrival]:
        read.append(series)
        return arrivals(engine, series)

    monkeypatch.setattr(instances, "arrivals", counted)
    completion = Completion(engine, jobs, 0.0, look_at_ends=Looker([]))
    for number in range(1, 11):
        add(engine, number)
        assert completion.look({SERIES: number % 2}, time.time()) == 1  # or one for each image
    assert read == []
    for _ in range(3):
        completion.look({}, time.time() + 0.5)
    assert read == [SERIES]


def test_of_the_images_of_a_series_no_record_stays_in_memory(
    engine: Engine, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hundreds of series may be coming, of hundreds of images each."""
    for number in range(1, 31):
        add(engine, number)
    made: list[weakref.ref[Arrival]] = []
    arrivals = instances.arrivals

    def watched(engine: Engine, series: str) -> list[Arrival]:
        found = arrivals(engine, series)
        made.extend(map(weakref.ref, found))
        return found

    monkeypatch.setattr(instances, "arrivals", watched)
    completion = Completion(engine, jobs, 0.0, look_at_ends=Looker([False]))
    completion.look({}, time.time() + 5)
    gc.collect()
    assert len(made) == 30
    assert [item for item in made if item() is not None] == []


@pytest.mark.parametrize("at_fault", ["_update", "_decide"])
def test_a_series_that_cannot_be_judged_holds_up_no_other(
    engine: Engine,
    jobs: Jobs,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    at_fault: str,
) -> None:
    for series in ("1.2.3", "1.2.4"):
        add(engine, 1, 30.0, series)
    method, faults = getattr(Completion, at_fault), [ArithmeticError(), KeyError()]

    def failing(self: Completion, series: Any, *given: Any) -> Any:
        uid = getattr(series, "found", series).series_instance_uid
        if uid == "1.2.3" and faults:
            raise faults[0]
        return method(self, series, *given)

    monkeypatch.setattr(Completion, at_fault, failing)
    completion, began = Completion(engine, jobs, 0.0), time.time()
    for seconds in range(10, 70, 10):
        completion.look({}, began + seconds)
    assert [found.series_instance_uid for found in revisions.receiving(engine)] == ["1.2.3"]
    del faults[0]
    completion.look({}, began + 71)
    completion.look({}, began + 76)
    lines = [line for line in capsys.readouterr().out.splitlines() if "cannot be judged" in line]
    assert [cause in line for cause, line in zip(("Arithmetic", "Key"), lines, strict=True)]
    assert all("series=1.2.3" in line for line in lines)
    faults.clear()
    completion.look({}, began + 90)
    assert revisions.receiving(engine) == []


def test_a_fault_of_the_database_is_that_of_every_series(
    engine: Engine, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The look is a regular duty, which says so and tries again."""
    add(engine, 1)

    def locked(*_given: Any) -> Any:
        raise sa.exc.OperationalError("", {}, sqlite3.OperationalError("database is locked"))

    monkeypatch.setattr(instances, "arrivals", locked)
    with pytest.raises(sa.exc.OperationalError):
        Completion(engine, jobs, 0.0).look({}, time.time() + 10)


class Pacs:
    """Answers at once how many instances it has."""

    def __init__(self, *answers: int) -> None:
        self.answers = list(answers)

    def ask(self, _study: str, _series: str) -> "Future[int]":
        answer: Future[int] = Future()
        answer.set_result(self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])
        return answer


def test_two_equal_answers_of_the_sources_pacs_make_a_series_complete(
    engine: Engine, jobs: Jobs
) -> None:
    for number in range(1, 11):
        add(engine, number)
    now, pacs = time.time(), Pacs(9, 10)
    completion = Completion(engine, jobs, 0.0, {FIRST.source: pacs.ask})
    for step in range(5):
        assert state(engine) == SeriesState.RECEIVING
        completion.look({}, now + 0.1 * step)
    for step in range(5, 30):
        completion.look({}, now + 0.1 * step)
    [study] = overview.studies(engine)
    assert study["series"][0]["evidence"] == "C-FIND counts 10 instances in the PACS, all came"


def test_the_pacs_of_another_source_is_not_asked(engine: Engine, jobs: Jobs) -> None:
    for number in range(1, 11):
        add(engine, number)
    completion = Completion(engine, jobs, 0.0, {"other": Pacs(10).ask})
    for step in range(30):
        completion.look({}, time.time() + 0.1 * step)
    assert state(engine) == SeriesState.RECEIVING


def test_a_list_that_comes_after_the_last_image_is_seen(engine: Engine, jobs: Jobs) -> None:
    for number in range(1, 11):
        add(engine, number)
    completion = Completion(engine, jobs, 0.0)
    completion.look({}, time.time() + 2)
    members = tuple(
        Referenced(CTImageStorage, f"{SERIES}.{number}", SERIES) for number in range(1, 11)
    )
    completed = AnnouncementState.COMPLETED
    announcements.keep(engine, Announcement("9.1", "MPPS", completed, "CT", members))
    completion.look({}, time.time() + 2)
    [study] = overview.studies(engine)
    assert study["series"][0]["evidence"] == "MPPS lists 10 instances, all came"
