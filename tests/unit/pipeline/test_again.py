"""What `retry`, `reprocess` and `resend` set going, and what they leave alone."""

from collections.abc import Sequence

import pytest

from ich_node.errors import StoreError
from ich_node.pipeline import again, reconcile
from ich_node.records import Verdict
from ich_node.states import DeliveryEvent, DeliveryState, SeriesEvent, SeriesState
from ich_node.store import begun, deliveries, overview, results, revisions
from ich_node.store.deliveries import Ended
from ich_node.store.engine import Engine, writing
from ich_node.store.jobs import Jobs
from tests.support.jobs import status_of
from tests.unit.pipeline.conftest import KEY, report

STUDY, SERIES, SECOND = "1.2", "1.2.3", "1.2.3:2"
STORED = Verdict("sr", "2.25.1", 0, True, False, "stored")


def fail(engine: Engine) -> None:
    with writing(engine) as connection:
        revisions.apply(
            connection, KEY, SeriesEvent.FAILED, "broken", reason="error", reason_text="broken"
        )


def keep(engine: Engine, tmp_path) -> None:
    kept = results.KeptResult("sr", "2.25.1", tmp_path / "sr.dcm", "0" * 64)
    with writing(engine) as connection:
        results.keep(connection, KEY, [kept])


def test_retry_runs_a_failed_analysis_from_the_start(engine: Engine, jobs: Jobs) -> None:
    begun.begin(engine, KEY, "worker-0:1:a")
    fail(engine)
    assert again.retry(engine, jobs, STUDY) == [f"series {SERIES}: analysed again"]
    assert revisions.state_of(engine, KEY) is SeriesState.COMPLETE
    assert status_of(jobs, f"study:{KEY}:2") == "ENQUEUED"
    assert begun.begin(engine, KEY, "worker-0:2:b") == 0
    [series] = overview.show(engine, STUDY)["series"]
    assert series["reason"] is None


def test_retry_leaves_alone_what_has_not_failed(engine: Engine, jobs: Jobs) -> None:
    assert again.retry(engine, jobs, STUDY) == []
    report(engine, jobs)
    assert again.retry(engine, jobs, STUDY) == []
    assert status_of(jobs, f"study:{KEY}:2") is None


@pytest.mark.parametrize("event", [DeliveryEvent.REFUSED, DeliveryEvent.POSTPONED])
def test_retry_sends_now_what_failed_or_waits(
    engine: Engine, jobs: Jobs, event: DeliveryEvent
) -> None:
    """And counts its attempts anew, so that it is not given up at once."""
    report(engine, jobs)
    pause = 1800.0 if event is DeliveryEvent.POSTPONED else None
    deliveries.record(engine, jobs, KEY, "pacs", 1, Ended(event, "away", next_in_s=pause))
    assert again.retry(engine, jobs, STUDY) == [f"series {SERIES}: sent again to pacs"]
    row = deliveries.find(engine, KEY, "pacs")
    assert row is not None
    assert (row.state, row.tries) == (DeliveryState.PENDING, 0)
    assert status_of(jobs, f"deliver:pacs:{KEY}:{row.attempt}") == "ENQUEUED"


def unproven(engine: Engine, jobs: Jobs, verdicts: Sequence[Verdict]) -> None:
    """Everything was stored that was due, and no proof of it could be had."""
    report(engine, jobs)
    stored = Ended(DeliveryEvent.STORED, "stored", verdicts, next_in_s=0.0)
    unprovable = Ended(DeliveryEvent.UNPROVABLE, "nothing offered")
    for attempt, ended in enumerate((stored, unprovable), start=1):
        deliveries.record(engine, jobs, KEY, "pacs", attempt, ended)


def state_at_pacs(engine: Engine) -> DeliveryState:
    row = deliveries.find(engine, KEY, "pacs")
    assert row is not None
    return row.state


def test_retry_asks_again_for_a_proof_that_could_not_be_had(
    engine: Engine, jobs: Jobs, tmp_path
) -> None:
    unproven(engine, jobs, [STORED])
    keep(engine, tmp_path)
    said = [f"series {SERIES}: proof asked for again from pacs"]
    assert again.retry(engine, jobs, STUDY) == said
    assert state_at_pacs(engine) is DeliveryState.AWAITING


@pytest.mark.parametrize(
    ("kept", "verdicts", "unasked"),
    [(False, [STORED], []), (True, [], []), (True, [STORED], ["pacs"])],
    ids=["objects-deleted", "nothing-was-due", "commitment-off"],
)
def test_retry_never_says_that_proof_is_asked_for_which_will_not_be(
    engine: Engine,
    jobs: Jobs,
    tmp_path,
    kept: bool,
    verdicts: list[Verdict],
    unasked: list[str],
) -> None:
    unproven(engine, jobs, verdicts)
    if kept:
        keep(engine, tmp_path)
    assert again.retry(engine, jobs, STUDY, unasked) == []
    assert state_at_pacs(engine) is DeliveryState.DELIVERED
    assert revisions.state_of(engine, KEY) is SeriesState.DELIVERED


def test_reprocess_is_a_new_revision_of_the_same_images(engine: Engine, jobs: Jobs) -> None:
    report(engine, jobs)
    assert again.reprocess(engine, jobs, STUDY) == [
        f"series {SERIES}: analysed again as a new revision"
    ]
    assert revisions.load(engine, SECOND).paths == revisions.load(engine, KEY).paths
    assert revisions.state_of(engine, KEY) is SeriesState.REPORTED
    assert status_of(jobs, f"study:{SECOND}:1") == "ENQUEUED"
    [listed] = overview.studies(engine)
    assert (listed["series"][0]["state"], listed["series"][0]["revision"]) == ("complete", 2)


def test_reprocess_waits_for_nobody(engine: Engine, jobs: Jobs) -> None:
    """What is being analysed is left to end."""
    assert again.reprocess(engine, jobs, STUDY) == [f"series {SERIES}: left alone, it is complete"]
    assert status_of(jobs, f"study:{SECOND}:1") is None


def test_resend_makes_everything_due_again(engine: Engine, jobs: Jobs, tmp_path) -> None:
    """Also to a destination that is new, and whatever the others hold."""
    report(engine, jobs)
    keep(engine, tmp_path)
    stored = Ended(DeliveryEvent.STORED, "1 stored", [STORED], next_in_s=0.0)
    deliveries.record(engine, jobs, KEY, "pacs", 1, stored)
    assert revisions.state_of(engine, KEY) is SeriesState.DELIVERED
    assert again.resend(engine, jobs, STUDY, ["pacs", "new"]) == [
        f"series {SERIES}: sent to pacs",
        f"series {SERIES}: sent to new",
    ]
    row = deliveries.find(engine, KEY, "pacs")
    assert row is not None
    assert (row.state, row.attempt, row.stored) == (DeliveryState.PENDING, 3, frozenset())
    assert status_of(jobs, f"deliver:pacs:{KEY}:3") == "ENQUEUED"
    assert status_of(jobs, f"deliver:new:{KEY}:1") == "ENQUEUED"
    assert revisions.state_of(engine, KEY) is SeriesState.REPORTED


def test_resend_sends_what_is_kept_while_a_newer_revision_has_nothing_yet(
    engine: Engine, jobs: Jobs, tmp_path
) -> None:
    report(engine, jobs)
    keep(engine, tmp_path)
    again.reprocess(engine, jobs, STUDY)
    assert again.resend(engine, jobs, STUDY, ["new"]) == [f"series {SERIES}: sent to new"]
    assert status_of(jobs, f"deliver:new:{KEY}:1") == "ENQUEUED"
    assert revisions.state_of(engine, SECOND) is SeriesState.COMPLETE


def test_resend_of_nothing_does_nothing(engine: Engine, jobs: Jobs) -> None:
    assert again.resend(engine, jobs, STUDY, ["pacs"]) == []


def test_a_held_destination_waits_without_a_job_until_it_is_released(
    engine: Engine, jobs: Jobs
) -> None:
    """The reconciler leaves it alone; released, its deliveries have their next attempt at once."""
    report(engine, jobs)
    with writing(engine) as connection:
        deliveries.open_deliveries(connection, jobs, KEY, ["other"])
    assert again.hold(engine, ["pacs"]) == ["pacs: held; 1 deliveries wait"]
    assert again.hold(engine, ["pacs"]) == ["pacs: is held already"]
    for name in ("pacs", "other"):
        jobs.cancel_workflow(f"deliver:{name}:{KEY}:1")
    assert reconcile.due_deliveries(engine, jobs, ["pacs", "other"]) == [KEY]
    assert status_of(jobs, f"deliver:pacs:{KEY}:2") is None
    assert status_of(jobs, f"deliver:other:{KEY}:2") == "DELAYED"
    [series] = overview.studies(engine)[0]["series"]
    assert series["deliveries"] == {"other": "pending", "pacs": "held"}
    assert again.release(engine, jobs, ["pacs"]) == ["pacs: released; 1 deliveries go on"]
    assert again.release(engine, jobs, ["pacs"]) == ["pacs: is not held"]
    assert status_of(jobs, f"deliver:pacs:{KEY}:2") == "ENQUEUED"
    kinds = [event["kind"] for event in overview.show(engine, STUDY)["events"]]
    assert kinds[-3:] == ["delivery_held", "delivery_requeued", "delivery_released"]
    [series] = overview.studies(engine)[0]["series"]
    assert series["deliveries"]["pacs"] == "pending"


def test_a_study_is_resent_to_a_held_destination_when_that_is_released(
    engine: Engine, jobs: Jobs, tmp_path
) -> None:
    report(engine, jobs)
    keep(engine, tmp_path)
    again.hold(engine, ["pacs"])
    said = again.resend(engine, jobs, STUDY, ["pacs"])
    assert said == [f"series {SERIES}: sent to pacs, which is held"]
    assert again.release(engine, jobs, ["pacs"]) == ["pacs: released; 1 deliveries go on"]


def test_an_unknown_study_is_named(engine: Engine, jobs: Jobs) -> None:
    for command in (again.retry, again.reprocess):
        with pytest.raises(StoreError, match=r"no study 9\.9 has come"):
            command(engine, jobs, "9.9")
    with pytest.raises(StoreError, match=r"no study 9\.9 has come"):
        again.resend(engine, jobs, "9.9", ["pacs"])
