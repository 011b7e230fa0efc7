"""What the processes are made of, without the stages."""

import math
import threading
import time
from pathlib import Path

import pytest

from ich_node import lifetime, node, notify
from ich_node.pipeline import duties
from ich_node.pipeline.at_hand import LIMITS_S, AtHand
from ich_node.records import Received
from ich_node.settings import Settings, load_settings
from ich_node.store import begun, instances, overview, revisions
from ich_node.store import jobs as job_port
from ich_node.store.engine import open_engine
from ich_node.supervise import Cause


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "node.toml").write_text("")
    return load_settings(tmp_path / "node.toml")


def test_preparing_twice_changes_nothing(settings: Settings) -> None:
    node.prepare(settings).dispose()
    node.prepare(settings).dispose()
    assert settings.spool_dir.is_dir()


def series(number: int) -> Received:
    return Received(
        sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
        sop_instance_uid=f"1.2.3.{number}",
        study_instance_uid="1.2",
        series_instance_uid="1.2.3",
        modality="CT",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        number=number,
        path=Path(f"{number}.dcm"),
        sha256="0" * 64,
        size=1,
        source="pacs",
        calling_ae="PACS",
        patient_id="P",
        study_date="",
        series_description="",
    )


def test_a_process_ends_with_its_supervisor(monkeypatch: pytest.MonkeyPatch) -> None:
    """An orphan would keep the port and the lock."""
    monkeypatch.setattr(lifetime.signal, "signal", lambda *_: None)
    said: list[str] = []
    monkeypatch.setattr(lifetime, "notify", said.append)
    lifetime.until_stopped(-1, AtHand())
    assert said == [notify.READY, notify.ALIVE]


def test_an_error_in_a_duty_does_not_end_the_duties() -> None:
    """A database that is busy now may be well the next time."""
    tries: list[int] = []
    over = threading.Event()

    def fail() -> None:
        tries.append(1)
        if len(tries) < 3:
            raise OSError
        over.set()
        threading.Event().wait()  # nothing more: the thread ends with the tests

    duties.in_background([duties.Duty(0.01, fail)])
    assert over.wait(10)


def test_a_duty_that_failed_is_due_again_soon_however_seldom_it_is() -> None:
    """A look at the whole spool comes once in a life; a full disk must not cost that one."""
    tries: list[int] = []

    def fail() -> None:
        tries.append(1)
        raise OSError(28, "No space left on device")

    duty = duties.Duty(math.inf, fail)
    for now in (0.0, 1.0, duties.AGAIN_S - 1, duties.AGAIN_S, duties.AGAIN_S + 1):
        duty.look(now)
    assert len(tries) == 2


def test_a_duty_that_fails_on_and_on_is_tried_less_often_until_it_succeeds() -> None:
    well = [False]
    tries: list[float] = []

    def fail() -> None:
        tries.append(now)
        if not well[0]:
            raise OSError(28, "No space left on device")

    duty = duties.Duty(1.0, fail)
    for now in map(float, range(100)):
        duty.look(now)
    assert tries == [0.0, 1.0, 3.0, 7.0, 15.0, 31.0, 61.0, 91.0]
    well[0] = True
    for now in map(float, range(121, 124)):
        duty.look(now)
    assert tries[-3:] == [121.0, 122.0, 123.0]


def test_what_is_waited_for_makes_a_duty_due_at_once() -> None:
    done, wake = threading.Semaphore(0), threading.Event()
    duties.in_background([duties.Duty(3600.0, done.release)], wake=wake)
    assert done.acquire(timeout=10)
    wake.set()
    assert done.acquire(timeout=10)


def test_a_duty_that_waits_is_at_hand_and_the_process_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A database that another program holds is no hanging, unless it lasts."""
    monkeypatch.setattr(lifetime.signal, "signal", lambda *_: None)
    parents = iter([1, 1, 2])
    monkeypatch.setattr(lifetime.os, "getppid", lambda: next(parents))
    monkeypatch.setattr(lifetime, "_BEAT_S", 0.0)
    said: list[str] = []
    monkeypatch.setattr(lifetime, "notify", said.append)
    waits, go_on, at_hand = threading.Event(), threading.Event(), AtHand()

    def wait() -> None:
        waits.set()
        go_on.wait(30)

    duties.in_background([duties.Duty(3600.0, wait)], at_hand)
    assert waits.wait(10)
    lifetime.until_stopped(1, at_hand)
    overdue = at_hand.overdue(time.monotonic() + LIMITS_S["duty"] + 1)
    go_on.set()
    assert said == [notify.READY, *[notify.ALIVE] * 3]
    assert overdue is not None
    assert "'duty'" in overdue


def test_a_duty_is_done_at_once_and_then_every_period() -> None:
    done: list[float] = []
    duty = duties.Duty(30.0, lambda: done.append(0.0))
    for now in (0.0, 10.0, 29.0, 30.0, 31.0, 61.0):
        duty.look(now)
    assert len(done) == 3


@pytest.mark.parametrize(("limit_s", "told"), [(60.0, [notify.ALIVE]), (-1.0, [])])
def test_a_stage_that_takes_too_long_silences_the_process(
    monkeypatch: pytest.MonkeyPatch, limit_s: float, told: list[str]
) -> None:
    """Whoever watches then ends it, and its successor takes the job up."""
    said: list[str] = []
    monkeypatch.setattr(lifetime, "notify", said.append)
    at_hand = AtHand(limits_s={"infer": limit_s})
    with at_hand.stage("infer", "1.2.3:1"):
        lifetime._beat(at_hand)
    assert said == told
    lifetime._beat(at_hand)
    assert said[-1] == notify.ALIVE


@pytest.mark.parametrize(("cause", "died"), [(Cause.KILLED, 0), (Cause.CRASH, 1)])
def test_only_a_kill_from_outside_is_forgiven(settings: Settings, cause: Cause, died: int) -> None:
    engine = node.prepare(settings)
    jobs = job_port.open_jobs(settings.database_url)
    try:
        instances.add(engine, series(1), priority=5, quiet_seconds=0.0)
        [found] = revisions.receiving(engine)
        revisions.open_revision(engine, jobs, found, "quiet")
        begun.begin(engine, "1.2.3:1", "worker-0:77:a")
        node._judge(engine, "work", 77, cause)
        assert begun.begin(engine, "1.2.3:1", "worker-0:78:b") == died
    finally:
        jobs.destroy()
        engine.dispose()


def test_engine_of_the_settings_is_the_one_that_commands_open(settings: Settings) -> None:
    node.prepare(settings).dispose()
    assert overview.studies(open_engine(settings.database_url)) == []
