"""What `[retention]` deletes, in which order, and what it never does."""

import time
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from ich_node.errors import Reason, SeriesRefused
from ich_node.pipeline import again, analysis, purge
from ich_node.records import Verdict
from ich_node.settings import Retention, Settings, Storage
from ich_node.states import DeliveryEvent, SeriesEvent
from ich_node.store import deliveries, files, instances, overview, results, retention, revisions
from ich_node.store.deliveries import Ended
from ich_node.store.engine import Engine, writing
from ich_node.store.jobs import Jobs
from ich_node.store.tables import instance
from tests.support.peers import destination
from tests.unit.pipeline.conftest import KEY, report
from tests.unit.store.conftest import FIRST

STUDY, SERIES = "1.2", "1.2.3"
DAY_S = 86400.0
ENDS = {
    "retrying": DeliveryEvent.POSTPONED,
    "refused there": DeliveryEvent.REFUSED,
    "not proven": DeliveryEvent.STORED,
}
STORED = Verdict("sr", "2.25.1", 0, True, False, "stored")


def settings(tmp_path: Path, **rules: float) -> Settings:
    return Settings(
        storage=Storage(data_dir=tmp_path),
        retention=Retention.model_validate({"originals_days": 30} | rules),
        destinations=(destination(104),),
    )


def store(engine: Engine, tmp_path: Path, study: str, size: int) -> Path:
    """Enter a study of one image and of one refused series."""
    path = tmp_path / "spool" / study / f"{study}.1" / f"{study}.1.1.dcm"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x")
    one = replace(
        FIRST,
        study_instance_uid=study,
        series_instance_uid=f"{study}.1",
        sop_instance_uid=f"{study}.1.1",
        path=path,
        size=size,
    )
    instances.add(engine, one, priority=5, quiet_seconds=1.0)
    return path


def end(engine: Engine, jobs: Jobs, study: str) -> None:
    [found] = [one for one in revisions.receiving(engine) if one.study_instance_uid == study]
    key = revisions.open_revision(engine, jobs, found, "quiet")
    assert key is not None
    with writing(engine) as connection:
        revisions.apply(connection, key, SeriesEvent.REFUSED, "no head", reason="not_a_head")


def end_attempt(engine: Engine, jobs: Jobs, *events: DeliveryEvent) -> None:
    for event in events:
        verdicts = [STORED] if event is DeliveryEvent.STORED else []
        deliveries.record(engine, jobs, KEY, "pacs", 1, Ended(event, "said", verdicts))


def deliver(engine: Engine, jobs: Jobs) -> None:
    end_attempt(engine, jobs, DeliveryEvent.STORED, DeliveryEvent.CONFIRMED)


def run(engine: Engine, given: Settings, days: float) -> purge.Plan:
    at = max((item.at for item in retention.originals(engine, ())), default=0.0)
    at = at or max(item.at for item in retention.results(engine, ()))
    return purge.carry_out(engine, given, purge.plan(engine, given, at + days * DAY_S))


def test_originals_go_by_age_and_their_story_stays(
    engine: Engine, jobs: Jobs, tmp_path: Path
) -> None:
    path = store(engine, tmp_path, "1.9", 10)
    end(engine, jobs, "1.9")
    assert run(engine, settings(tmp_path), 29.9).deletions == ()
    assert path.exists()
    [gone] = run(engine, settings(tmp_path), 30.1).deletions
    assert (gone.kind, gone.study_instance_uid, gone.files) == ("originals", "1.9", 1)
    assert not (tmp_path / "spool" / "1.9").exists()
    story = overview.show(engine, "1.9")
    assert story["series"][0]["reason"] == "not_a_head"
    assert "1 images: older than 30 days" in [event["text"] for event in story["events"]]
    assert run(engine, settings(tmp_path), 31).deletions == ()


def come_to(engine: Engine, jobs: Jobs, waits: str) -> None:
    """Bring the series to where it waits: for its analysis, as failed, or else reported."""
    if waits == "failed":
        with writing(engine) as connection:
            revisions.apply(connection, KEY, SeriesEvent.FAILED, "broken", reason="error")
    elif waits != "analysis":
        report(engine, jobs)


@pytest.mark.parametrize("waits", ["analysis", "failed", "pending", *ENDS])
def test_what_is_unread_or_unsent_stays_whatever_its_age(
    engine: Engine, jobs: Jobs, tmp_path: Path, waits: str
) -> None:
    """And a full disk makes no difference."""
    come_to(engine, jobs, waits)
    if waits in ENDS:
        end_attempt(engine, jobs, ENDS[waits])
    planned = run(engine, settings(tmp_path, max_gb=1e-9), 400)
    assert planned.deletions == ()
    [held] = planned.bound
    assert held.study_instance_uid == STUDY
    assert held.bound
    assert retention.deleted_of(engine, KEY) == (0, 1)


@pytest.mark.parametrize(
    ("proof", "goes"),
    [
        ([], False),  # awaited
        ([DeliveryEvent.UNPROVABLE], True),  # none is offered, or none is asked for
        ([DeliveryEvent.REFUSED], False),  # none is offered, and `commitment = "require"`
        ([DeliveryEvent.LOST], False),
        ([DeliveryEvent.CONFIRMED], True),
    ],
)
def test_what_a_destination_took_goes_when_its_proof_is_there_or_none_will_come(
    engine: Engine, jobs: Jobs, tmp_path: Path, proof: list[DeliveryEvent], goes: bool
) -> None:
    report(engine, jobs)
    end_attempt(engine, jobs, DeliveryEvent.STORED, *proof)
    assert bool(run(engine, settings(tmp_path), 31).deletions) is goes


def test_what_a_destination_has_not_got_that_is_configured_no_more_keeps_nothing(
    engine: Engine, jobs: Jobs, tmp_path: Path
) -> None:
    report(engine, jobs)
    end_attempt(engine, jobs, DeliveryEvent.REFUSED)
    none = settings(tmp_path).model_copy(update={"destinations": ()})
    assert run(engine, settings(tmp_path), 31).deletions == ()
    assert len(run(engine, none, 31).deletions) == 1


def test_what_has_arrived_goes_first_its_originals_then_its_results(
    engine: Engine, jobs: Jobs, tmp_path: Path
) -> None:
    report(engine, jobs)
    sr = tmp_path / "results" / "2.25.9" / "sr.dcm"
    sr.parent.mkdir(parents=True)
    sr.write_bytes(b"sr")
    with writing(engine) as connection:
        results.keep(connection, KEY, [results.KeptResult("sr", "2.25.1", sr, "0" * 64)])
    deliver(engine, jobs)
    given = settings(tmp_path, results_days=10)
    assert [item.kind for item in run(engine, given, 31).deletions] == ["originals"]
    assert sr.exists()
    assert [item.kind for item in run(engine, given, 31).deletions] == ["results"]
    assert not sr.parent.exists()
    assert results.kept_of(engine, KEY) == []
    assert again.resend(engine, jobs, STUDY, ["pacs"]) == []


def test_too_much_is_held_the_oldest_goes_until_it_fits(
    engine: Engine, jobs: Jobs, tmp_path: Path
) -> None:
    for number in range(4):
        store(engine, tmp_path, f"1.{5 + number}", 1000)
        end(engine, jobs, f"1.{5 + number}")
    done = run(engine, settings(tmp_path, max_gb=2.1e-6), 0)  # 4 x 1000 and one of 100 bytes
    assert [item.study_instance_uid for item in done.deletions] == ["1.5", "1.6"]
    assert "max_gb" in done.deletions[0].why


def test_a_study_that_gets_an_image_meanwhile_is_left_alone(
    engine: Engine, jobs: Jobs, tmp_path: Path
) -> None:
    path = store(engine, tmp_path, "1.9", 10)
    end(engine, jobs, "1.9")
    [held] = [one for one in retention.originals(engine, ()) if one.study_instance_uid == "1.9"]
    planned = purge.plan(engine, settings(tmp_path), held.at + 31 * DAY_S)
    late = replace(
        FIRST,
        study_instance_uid="1.9",
        series_instance_uid="1.9.1",
        sop_instance_uid="1.9.1.2",
        path=path.with_name("1.9.1.2.dcm"),
    )
    instances.add(engine, late, priority=5, quiet_seconds=1.0)
    assert purge.carry_out(engine, settings(tmp_path), planned).deletions == ()
    assert path.exists()


def test_a_study_whose_image_is_of_a_series_of_another_stays_while_that_is_unread(
    engine: Engine, jobs: Jobs, tmp_path: Path
) -> None:
    """Careless anonymising makes such: one Series Instance UID in two studies."""
    path = store(engine, tmp_path, "1.9", 10)
    [begun] = [one for one in revisions.receiving(engine) if one.study_instance_uid == "1.9"]
    other = replace(
        FIRST,
        study_instance_uid="1.8",
        series_instance_uid=begun.series_instance_uid,
        sop_instance_uid="1.8.1.1",
        path=path.with_name("1.8.1.1.dcm"),
    )
    other.path.write_bytes(b"x")
    instances.add(engine, other, priority=5, quiet_seconds=1.0)
    assert run(engine, settings(tmp_path, max_gb=1e-9), 31).deletions == ()
    for study in ("1.8", "1.9"):
        assert retention.delete_originals(engine, (), study, "old") == 0
    assert other.path.exists()
    end(engine, jobs, "1.9")
    gone = run(engine, settings(tmp_path), 31).deletions
    assert [item.study_instance_uid for item in gone] == ["1.9", "1.8"]
    assert not other.path.exists()


def test_an_image_that_comes_after_the_others_were_deleted_is_refused_with_the_reason(
    engine: Engine, jobs: Jobs, tmp_path: Path
) -> None:
    report(engine, jobs)
    deliver(engine, jobs)
    assert run(engine, settings(tmp_path), 31).deletions
    assert again.reprocess(engine, jobs, STUDY) == [
        f"series {SERIES}: left alone, 1 of its images were deleted"
    ]
    late = replace(FIRST, sop_instance_uid="1.2.3.2", path=tmp_path / "2.dcm")
    instances.add(engine, late, priority=5, quiet_seconds=1.0)
    [found] = revisions.receiving(engine)
    key = revisions.open_revision(engine, jobs, found, "quiet")
    assert key is not None
    with pytest.raises(SeriesRefused, match="1 of its 2 images") as refused:
        analysis.check_kept(engine, key)
    assert refused.value.reason is Reason.ORIGINALS_DELETED


def test_a_deleted_image_that_is_sent_again_counts_as_here(
    engine: Engine, jobs: Jobs, tmp_path: Path
) -> None:
    report(engine, jobs)
    deliver(engine, jobs)
    run(engine, settings(tmp_path), 31)
    [stored] = files.files_of(engine, SERIES)
    assert (stored.deleted, stored.missing) == (True, False)
    known = instances.find(engine, stored.sop_instance_uid)
    assert known is not None
    instances.restore(engine, known)
    [stored] = files.files_of(engine, SERIES)
    assert not stored.deleted
    assert again.reprocess(engine, jobs, STUDY) == [
        f"series {SERIES}: analysed again as a new revision"
    ]


def test_a_deleted_image_that_is_sent_again_is_kept_as_long_as_a_new_one(
    engine: Engine, jobs: Jobs, tmp_path: Path
) -> None:
    report(engine, jobs)
    deliver(engine, jobs)
    with writing(engine) as connection:
        connection.execute(sa.update(instance).values(received_at=1.0))
    run(engine, settings(tmp_path), 31)
    known = instances.find(engine, FIRST.sop_instance_uid)
    assert known is not None
    instances.restore(engine, known)
    assert purge.plan(engine, settings(tmp_path), time.time()).deletions == ()


def test_zero_days_are_for_ever(engine: Engine, jobs: Jobs, tmp_path: Path) -> None:
    store(engine, tmp_path, "1.9", 10)
    end(engine, jobs, "1.9")
    planned = run(engine, settings(tmp_path, originals_days=0), 10_000)
    assert (planned.deletions, planned.bound) == ((), ())
