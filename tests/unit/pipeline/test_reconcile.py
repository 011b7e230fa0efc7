"""What the tables call unfinished always has a job that lives, and never two."""

import pytest
import sqlalchemy as sa

from ich_node.pipeline import pauses, reconcile
from ich_node.states import DeliveryState, SeriesEvent, SeriesState
from ich_node.store import deliveries, overview, revisions
from ich_node.store import jobs as job_port
from ich_node.store.engine import Engine, writing
from ich_node.store.jobs import Jobs
from tests.support.jobs import status_of
from tests.unit.pipeline.conftest import KEY, report


def engine_says(engine: Engine, job: str, **values: object) -> None:
    """Let the engine's own table say something else of a job."""
    table = sa.table("workflow_status", *(sa.column(name) for name in values))
    where = sa.column("workflow_uuid") == job
    with writing(engine) as connection:
        changed = connection.execute(sa.update(table).values(**values).where(where))
    assert changed.rowcount == 1


LOST = ("CANCELLED", "ERROR", "MAX_RECOVERY_ATTEMPTS_EXCEEDED", "SUCCESS")


@pytest.mark.parametrize("status", LOST)
def test_an_unfinished_series_gets_another_job_once(
    engine: Engine, jobs: Jobs, status: str
) -> None:
    """Whatever became of its job: also one that ended well and left the row half-way."""
    assert reconcile.analyses(engine, jobs) == []
    engine_says(engine, f"study:{KEY}:1", status=status)
    with writing(engine) as connection:
        revisions.apply(connection, KEY, SeriesEvent.ASSEMBLED, "done")
    assert reconcile.analyses(engine, jobs) == [KEY]
    assert status_of(jobs, f"study:{KEY}:2") == "DELAYED"
    assert revisions.state_of(engine, KEY) is SeriesState.COMPLETE
    assert reconcile.analyses(engine, jobs) == []
    kinds = [event["kind"] for event in overview.show(engine, "1.2")["events"]]
    assert kinds == ["complete", "assembled", "requeued"]


def test_what_has_ended_is_left_alone(engine: Engine, jobs: Jobs) -> None:
    report(engine, jobs)
    engine_says(engine, f"study:{KEY}:1", status="SUCCESS")
    assert reconcile.analyses(engine, jobs) == []


def test_a_job_that_ends_while_we_look_is_not_started_again(
    engine: Engine, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The row is looked at again in the transaction that would requeue it."""
    engine_says(engine, f"study:{KEY}:1", status="SUCCESS")
    stale = revisions.unfinished(engine)
    monkeypatch.setattr(revisions, "unfinished", lambda _engine: stale)
    report(engine, jobs)
    assert reconcile.analyses(engine, jobs) == []
    assert revisions.state_of(engine, KEY) is SeriesState.REPORTED


@pytest.mark.parametrize("status", LOST)
def test_a_due_delivery_gets_another_job_once(engine: Engine, jobs: Jobs, status: str) -> None:
    report(engine, jobs)
    assert reconcile.due_deliveries(engine, jobs, ["pacs"]) == []
    engine_says(engine, f"deliver:pacs:{KEY}:1", status=status)
    assert reconcile.due_deliveries(engine, jobs, ["pacs"]) == [KEY]
    assert status_of(jobs, f"deliver:pacs:{KEY}:2") == "DELAYED"
    assert reconcile.due_deliveries(engine, jobs, ["pacs"]) == []


def test_a_delivery_to_nowhere_ends_with_the_reason(engine: Engine, jobs: Jobs) -> None:
    """Its queue has no listener: it would wait for ever."""
    report(engine, jobs)
    assert reconcile.due_deliveries(engine, jobs, ["other"]) == [KEY]
    row = deliveries.find(engine, KEY, "pacs")
    assert row is not None
    assert row.state is DeliveryState.FAILED
    [series] = overview.show(engine, "1.2")["series"]
    assert "'pacs' is configured" in series["revisions"][0]["deliveries"][0]["text"]


def takeover(executor: str, at_work: set[str], dead: set[str]) -> reconcile.Takeover:
    return reconcile.Takeover(
        executor=executor,
        queues=lambda name: name == job_port.ANALYSE_QUEUE,
        at_work=lambda: at_work,
        dead=lambda name: name in dead,
    )


@pytest.mark.parametrize(("dead", "given"), [(set(), []), ({"worker-1"}, [f"study:{KEY}:1"])])
def test_only_a_dead_process_loses_its_job(
    engine: Engine, jobs: Jobs, dead: set[str], given: list[str]
) -> None:
    engine_says(engine, f"study:{KEY}:1", status="PENDING", executor_id="worker-1")
    assert takeover("worker-0", set(), dead).look(jobs) == given
    wanted = "ENQUEUED" if given else "PENDING"
    assert status_of(jobs, f"study:{KEY}:1") == wanted


def test_an_own_job_in_limbo_is_given_back_at_the_second_look(engine: Engine, jobs: Jobs) -> None:
    """A disk that was full may have kept the engine from writing that it ended."""
    job = f"study:{KEY}:1"
    engine_says(engine, job, status="PENDING", executor_id="worker-0")
    at_work = {job}
    ours = takeover("worker-0", at_work, set())
    assert [ours.look(jobs), ours.look(jobs)] == [[], []]
    at_work.clear()
    assert [ours.look(jobs), ours.look(jobs)] == [[], [job]]
    assert status_of(jobs, job) == "ENQUEUED"


def test_jobs_of_other_queues_are_not_ours(engine: Engine, jobs: Jobs) -> None:
    report(engine, jobs)
    job = f"deliver:pacs:{KEY}:1"
    engine_says(engine, job, status="PENDING", executor_id="deliverer-0")
    assert takeover("worker-0", set(), {"deliverer-0"}).look(jobs) == []
    assert status_of(jobs, job) == "PENDING"


def test_pauses_grow_to_ten_minutes() -> None:
    grown = [pauses.pause_s(attempt) for attempt in range(1, 40)]
    assert grown == sorted(grown)
    assert (grown[0], grown[-1]) == (5.0, 600.0)
