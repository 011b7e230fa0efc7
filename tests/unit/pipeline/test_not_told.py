"""A study of which nothing is read, where the report that says so cannot be built."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ich_node import views
from ich_node.errors import CheckFailed, Reason
from ich_node.pipeline import outcome, settle, stages
from ich_node.pipeline.outcome import Context
from ich_node.pipeline.worker import Worker
from ich_node.records import Refusal, Wanted
from ich_node.states import SeriesEvent
from ich_node.store import overview, revisions
from ich_node.store.engine import Engine, migrate, open_engine, writing
from tests.support.series import head_series, write
from tests.unit.pipeline.conftest import opened_jobs
from tests.unit.pipeline.test_analysis import StandIn, add

REFUSAL = Refusal(Reason.MISSING_SLICES, "two slices are missing")


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    """Its one series is complete, and its destination wants captures too."""
    engine = open_engine(f"sqlite:///{tmp_path / 'ich-node.sqlite'}")
    migrate(engine)
    for path in write(head_series(), tmp_path / "spool"):
        add(engine, path)
    [found] = revisions.receiving(engine)
    results, wanted = tmp_path / "results", Wanted(("sc",))
    with opened_jobs(engine) as jobs:
        assert revisions.open_revision(engine, jobs, found, "test") is not None
        yield Worker("test:1:0", engine, jobs, StandIn(), results, ("pacs",), wanted=wanted)
    engine.dispose()


def refuse(worker: Worker) -> None:
    """End the newest revision of the series as refused."""
    with worker.engine.connect() as connection:
        [newest] = revisions.newest(connection, study_uid(worker.engine))
    told = outcome.refused(Context(newest.series_instance_uid, "test"), REFUSAL)
    revision = revisions.load(worker.engine, newest.key)
    settle.end(worker, revision, SeriesEvent.REFUSED, told)


def study_uid(engine: Engine) -> str:
    [study] = overview.studies(engine)
    return str(study["study_instance_uid"])


def series(engine: Engine) -> dict:
    [found] = overview.show(engine, study_uid(engine))["series"]
    return dict(found)


def kinds(engine: Engine) -> list[str]:
    return [event["kind"] for event in overview.show(engine, study_uid(engine))["events"]]


def fails(*_: object) -> None:
    raise CheckFailed("SR: its evidence leaves out 1 of 12")


@pytest.mark.parametrize("what", ["check_not_analysed", "check_refusal_capture"])
def test_it_is_shown_and_nothing_leaves(
    worker: Worker, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    """Neither a folder without its SR, nor the capture alone, nor the SR without its capture."""
    where = "build" if what == "check_not_analysed" else "check"
    monkeypatch.setattr(f"ich_node.report.{where}.{what}", fails)
    refuse(worker)
    told = series(worker.engine)
    assert (told["state"], told["reason"]) == ("refused", "missing_slices")
    assert "evidence leaves out 1 of 12" in told["not_told"]
    assert "`ich-node reprocess`" in told["not_told"]
    assert (told["revisions"][0]["results"], told["deliveries"]) == ([], {})
    assert list(worker.results_dir.iterdir()) == []
    assert kinds(worker.engine).count("not_told") == 1, "once, however often it is tried"
    views.print_studies(overview.studies(worker.engine), 0)
    views.print_story(overview.show(worker.engine, study_uid(worker.engine)))
    said = capsys.readouterr().out
    assert "(NOT TOLD: its report could not be built)" in said
    assert "NOT TOLD: no destination is told: what says that it was not analysed" in said


def test_once_it_can_be_built_reprocess_tells_of_it(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(stages, "build_not_analysed", fails)
        refuse(worker)
    assert series(worker.engine)["not_told"]
    with writing(worker.engine) as connection:
        revisions.reopen(
            connection, worker.jobs, series(worker.engine)["series_instance_uid"], "test"
        )
    refuse(worker)
    told = series(worker.engine)
    assert told["not_told"] is None
    assert {built["kind"] for built in told["revisions"][1]["results"]} == {"sc", "sr"}
    assert told["deliveries"] == {"pacs": "pending"}


def test_a_capture_that_is_wanted_later_and_fails_leaves_the_report_as_it_was(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(replace(worker, wanted=Wanted()))
    [before] = series(worker.engine)["revisions"][0]["results"]
    with writing(worker.engine) as connection:
        revisions.reopen(
            connection, worker.jobs, series(worker.engine)["series_instance_uid"], "test"
        )
    monkeypatch.setattr("ich_node.report.check.check_refusal_capture", fails)
    refuse(worker)
    assert series(worker.engine)["not_told"]
    assert Path(before["path"]).is_file()
    assert not list(worker.results_dir.glob("*/sc/*.dcm"))
