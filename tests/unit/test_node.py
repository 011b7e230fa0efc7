"""The supervisor and what it wires, without the stages."""

import sys
from itertools import pairwise
from pathlib import Path

import pytest

from ich_node import node
from ich_node.errors import CANNOT_START, ConfigError
from ich_node.node import _lock, _Watched
from ich_node.records import Received
from ich_node.settings import Settings, load_settings
from ich_node.states import SeriesState
from ich_node.store import instances, overview, revisions
from ich_node.store import jobs as job_port
from ich_node.store.engine import open_engine


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "node.toml").write_text("")
    return load_settings(tmp_path / "node.toml")


def test_two_of_a_kind_never_run_on_one_data_folder(settings: Settings) -> None:
    """Two processes of one name would take up each other's running jobs."""
    with (
        _lock(settings, "work"),
        pytest.raises(ConfigError, match="another `ich-node work` runs"),
        _lock(settings, "work"),
    ):
        pass
    with _lock(settings, "work"):
        pass


def test_preparing_twice_changes_nothing(settings: Settings) -> None:
    node.prepare(settings).dispose()
    node.prepare(settings).dispose()
    assert settings.spool_dir.is_dir()


def ended(code: int) -> list[str]:
    return [sys.executable, "-c", f"raise SystemExit({code})"]


def test_what_dies_is_started_again_after_growing_pauses() -> None:
    child = _Watched("work", ended(1))
    now, starts = 0.0, []
    while len(starts) < 4:
        before = child.process
        child.look(now)
        if child.process is not None and child.process is not before:
            starts.append(now)
            child.process.wait(30)
        now += 0.5
    pauses = [later - earlier for earlier, later in pairwise(starts)]
    assert pauses == sorted(pauses)
    assert pauses[-1] > pauses[0]


def test_what_cannot_start_is_not_started_again() -> None:
    child = _Watched("work", ended(CANNOT_START))
    child.look(0.0)
    assert child.process is not None
    child.process.wait(30)
    with pytest.raises(ConfigError, match="ich-node work"):
        child.look(1.0)


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


@pytest.mark.parametrize(
    ("quiet_seconds", "open_associations", "complete"),
    [(0.0, 0, True), (0.0, 1, True), (3600.0, 0, False)],
)
def test_series_become_complete_by_their_sources_quiet_time(
    settings: Settings, quiet_seconds: float, open_associations: int, complete: bool
) -> None:
    engine = node.prepare(settings)
    jobs = job_port.open_jobs(settings.database_url)
    try:
        instances.add(engine, series(1), priority=5, quiet_seconds=quiet_seconds)
        node.complete_series(engine, jobs, {"1.2.3": open_associations})
        [study] = overview.studies(engine)
        wanted = SeriesState.COMPLETE if complete else SeriesState.RECEIVING
        assert study["series"][0]["state"] == wanted
        assert bool(study["series"][0]["evidence"]) is complete
        assert bool(revisions.receiving(engine)) is not complete
    finally:
        jobs.destroy()
        engine.dispose()


def test_a_process_ends_with_its_supervisor(monkeypatch: pytest.MonkeyPatch) -> None:
    """An orphan would keep the port and the lock."""
    monkeypatch.setattr(node.signal, "signal", lambda *_: None)
    looked: list[int] = []
    node._until_stopped(parent=-1, every=lambda: looked.append(1))
    assert looked == []


def test_an_error_while_looking_does_not_end_the_receiver(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A database that is busy now may be well the next time."""
    monkeypatch.setattr(node.signal, "signal", lambda *_: None)
    parents = iter([1, 1, 2])
    monkeypatch.setattr(node.os, "getppid", lambda: next(parents))
    tries: list[int] = []

    def fail() -> None:
        tries.append(1)
        raise OSError

    node._until_stopped(parent=1, every=fail)
    assert len(tries) == 2


def test_engine_of_the_settings_is_the_one_that_commands_open(settings: Settings) -> None:
    node.prepare(settings).dispose()
    assert overview.studies(open_engine(settings.database_url)) == []
