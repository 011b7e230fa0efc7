"""A clock that is set makes nothing wait for hours, nothing hurry, and nothing be deleted."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from ich_node.pipeline import purge, settle
from ich_node.pipeline.clock import SetBack, Steady
from ich_node.pipeline.completion import Completion
from ich_node.settings import Retention, Settings, Storage
from ich_node.states import DeliveryEvent, SeriesState
from ich_node.store import deliveries, events, instances
from ich_node.store import jobs as job_port
from ich_node.store.engine import Engine
from ich_node.store.jobs import Jobs
from tests.unit.pipeline.conftest import KEY, report
from tests.unit.pipeline.test_completion import SERIES, add, state
from tests.unit.pipeline.test_purge import DAY_S, end, store

HOUR_S = 3600.0
QUEUE = job_port.delivery_queue("pacs")


@dataclass
class Clock:
    """The system's clock and the one that nobody sets, s; `set` moves the first."""

    passed: float = 0.0
    at: float = 1.7e9

    def set(self, by_s: float) -> None:
        self.at += by_s

    def steady(self) -> Steady:
        return Steady(lambda: self.at + self.passed, lambda: self.passed)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Images are stamped by the system's clock."""
    made = Clock()
    monkeypatch.setattr(instances.time, "time", lambda: made.at + made.passed)
    return made


@pytest.fixture
def idle(engine: Engine) -> "Callable[[], Jobs]":
    def opened() -> Jobs:
        job_port.prepare(str(engine.url))
        return job_port.open_jobs(str(engine.url))

    return opened


@pytest.mark.parametrize("set_by_s", [-HOUR_S, -10.0, 10.0, DAY_S])
def test_the_quiet_time_is_that_which_passed_whatever_the_clock_says(
    engine: Engine, idle: "Callable[[], Jobs]", clock: Clock, set_by_s: float
) -> None:
    """Set between two images, and again after the last: complete after 30 s, not before."""
    steady, jobs = clock.steady(), idle()
    completion = Completion(engine, jobs, steady.now())

    def after(seconds: float) -> SeriesState:
        clock.passed += seconds
        completion.look({}, steady.now(), steady.ahead_s())
        return state(engine)

    add(engine, 1, quiet_seconds=30.0)
    assert after(0.1) is SeriesState.RECEIVING
    clock.set(set_by_s)
    assert after(10.0) is SeriesState.RECEIVING
    add(engine, 2, quiet_seconds=30.0)
    assert after(0.1) is SeriesState.RECEIVING
    clock.set(set_by_s)
    assert after(20.0) is SeriesState.RECEIVING
    assert after(8.0) is SeriesState.RECEIVING
    assert after(2.5) is SeriesState.COMPLETE
    jobs.destroy()


@pytest.mark.parametrize("open_associations", [0, 1])
def test_an_image_of_the_future_is_waited_for_no_longer_than_any_other(
    engine: Engine, idle: "Callable[[], Jobs]", clock: Clock, open_associations: int
) -> None:
    """The clock was set back while nobody listened: from the start on the time is quiet time."""
    add(engine, 1, quiet_seconds=30.0)
    clock.set(-HOUR_S)
    steady, jobs = clock.steady(), idle()
    completion = Completion(engine, jobs, steady.now())
    for passed in (0.1, 25.0):
        clock.passed = passed
        completion.look({SERIES: open_associations}, steady.now(), steady.ahead_s())
        assert state(engine) is SeriesState.RECEIVING
    clock.passed = 31.0 if open_associations == 0 else 121.0  # four times as long while it is open
    completion.look({SERIES: open_associations}, steady.now(), steady.ahead_s())
    assert state(engine) is SeriesState.COMPLETE
    jobs.destroy()


def delayed_s(engine: Engine, now: float) -> float:
    """Seconds until the job that waits begins."""
    query = "SELECT delay_until_epoch_ms FROM workflow_status WHERE status = 'DELAYED'"
    with engine.connect() as connection:
        [(until,)] = connection.exec_driver_sql(query).all()
    return until / 1000 - now


def postponed(engine: Engine, jobs: Jobs) -> None:
    """A delivery that is tried again after five minutes."""
    report(engine, jobs)
    ended = deliveries.Ended(DeliveryEvent.POSTPONED, "away", next_in_s=300.0)
    deliveries.record(engine, jobs, KEY, "pacs", 1, ended)


def test_a_pause_does_not_grow_when_the_clock_is_set_back(engine: Engine, jobs: Jobs) -> None:
    postponed(engine, jobs)
    clock = Clock(at=time.time())
    watching = SetBack(engine, jobs, [QUEUE], clock.steady())
    assert watching.look() == 0.0
    clock.set(-HOUR_S)
    clock.passed = 2.0
    assert watching.look() == -HOUR_S
    assert delayed_s(engine, clock.at + clock.passed) == pytest.approx(298.0, abs=3.0)
    assert watching.look() == 0.0
    clock.set(DAY_S)  # what waited begins early: an attempt more
    assert watching.look() == DAY_S
    assert watching.look() == 0.0


def test_a_clock_set_back_while_nothing_ran_is_noticed_at_the_start(
    engine: Engine, jobs: Jobs
) -> None:
    postponed(engine, jobs)
    clock = Clock(at=time.time() - HOUR_S)
    assert SetBack(engine, jobs, [QUEUE], clock.steady()).look() == pytest.approx(-HOUR_S, abs=5)
    assert 0 < delayed_s(engine, clock.at) < 310.0


def test_queues_of_others_are_theirs(engine: Engine, jobs: Jobs) -> None:
    postponed(engine, jobs)
    clock = Clock(at=time.time() - HOUR_S)
    SetBack(engine, jobs, [job_port.ANALYSE_QUEUE], clock.steady()).look()
    assert delayed_s(engine, clock.at) > HOUR_S


def test_nothing_waits_for_a_better_series_since_the_future(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(settle.time, "time", lambda: 1000.0)
    assert settle._since(990.0) == 10.0
    assert settle._since(1000.0 + HOUR_S) == float("inf")


def test_a_clock_that_leaps_deletes_nothing_by_age_for_a_day(tmp_path: Path) -> None:
    watching = purge.Watch(tmp_path / "locks" / "purged")
    assert watching.believes(1000.0, 0.0)
    assert watching.believes(1000.0 + HOUR_S, HOUR_S)
    years = 1000.0 + 3650 * DAY_S
    assert not watching.believes(years, 2 * HOUR_S)
    assert not watching.believes(years + 23 * HOUR_S, 25 * HOUR_S)
    again = purge.Watch(watching.stamp)  # a restart: it is doubted still
    assert not again.believes(years, 0.0)
    assert watching.believes(
        years + 24 * HOUR_S, 26 * HOUR_S
    )  # nobody has set it right: it is right
    assert watching.believes(years + 25 * HOUR_S, 27 * HOUR_S)
    assert not watching.believes(1000.0, 28 * HOUR_S)  # set back by years


def test_a_doubted_clock_deletes_only_what_takes_too_much_room(
    engine: Engine, jobs: Jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Settings(storage=Storage(data_dir=tmp_path), retention=Retention(originals_days=30))
    path = store(engine, tmp_path, "5.5", 10**6)
    end(engine, jobs, "5.5")
    watching = purge.watch(made)
    purge.purge(engine, made, watching)
    assert path.exists()
    now = time.time()
    monkeypatch.setattr(purge.time, "time", lambda: now + 3650 * DAY_S)
    purge.purge(engine, made, watching)
    assert path.exists()
    tight = made.model_copy(update={"retention": Retention(originals_days=30, max_gb=0.0001)})
    purge.purge(engine, tight, watching)
    assert not path.exists()


def test_by_a_clock_that_is_believed_the_same_is_deleted(
    engine: Engine, jobs: Jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Settings(storage=Storage(data_dir=tmp_path), retention=Retention(originals_days=30))
    path = store(engine, tmp_path, "5.5", 10**6)
    end(engine, jobs, "5.5")
    now = time.time() + 3650 * DAY_S
    watching = purge.watch(made)
    watching.stamp.parent.mkdir()
    watching.stamp.touch()
    os.utime(watching.stamp, (now - HOUR_S, now - HOUR_S))
    monkeypatch.setattr(purge.time, "time", lambda: now)
    purge.purge(engine, made, watching)
    assert not path.exists()


def test_the_latest_event_is_none_in_a_new_database(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert events.latest(engine) == 0.0
    monkeypatch.setattr(events.time, "time", lambda: 12.0)
    events.add(engine, "test", "first")
    assert events.latest(engine) == 12.0
