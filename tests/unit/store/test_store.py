"""The database is the truth: what is entered is found, and jobs enter with what makes them due."""

import threading
from collections.abc import Callable
from dataclasses import replace

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from ich_node.errors import StoreError
from ich_node.records import Placing, Received, Verdict
from ich_node.states import (
    DeliveryEvent,
    DeliveryState,
    IllegalTransition,
    SeriesEvent,
    SeriesState,
)
from ich_node.store import begun, deliveries, instances, overview, results, revisions
from ich_node.store.deliveries import Ended
from ich_node.store.engine import Engine, migrate, open_engine, writing
from ich_node.store.instances import Standing
from ich_node.store.jobs import Jobs
from ich_node.store.tables import metadata
from tests.support.jobs import status_of

Make = Callable[[int], Received]


def add(engine: Engine, received: Received) -> None:
    instances.add(engine, received, priority=5, quiet_seconds=30.0)


def complete(engine: Engine, jobs: Jobs) -> str:
    [found] = revisions.receiving(engine)
    key = revisions.open_revision(engine, jobs, found, "quiet for 30 s")
    assert key is not None
    return key


def test_migrations_make_exactly_the_tables(engine: Engine) -> None:
    """The schema that migrations build is the one that the code uses."""
    with engine.connect() as connection:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, metadata) == []


def test_migrating_twice_changes_nothing(engine: Engine) -> None:
    migrate(engine)


def test_an_unknown_database_is_a_clear_error() -> None:
    with pytest.raises(StoreError, match=r"database\.url"):
        open_engine("nonsense")


def test_what_is_added_is_found(engine: Engine, received: Make) -> None:
    add(engine, received(1))
    assert instances.find(engine, "1.2.3.1") == received(1)
    assert instances.find(engine, "9.9") is None


def test_a_series_is_receiving_with_all_that_came(engine: Engine, received: Make) -> None:
    for number in (1, 2, 3):
        add(engine, received(number))
    [found] = revisions.receiving(engine)
    assert (found.series_instance_uid, found.source) == ("1.2.3", "pacs")
    arrived = instances.arrivals(engine, "1.2.3")
    assert [item.number for item in arrived] == [1, 2, 3]
    assert max(item.received_at for item in arrived) == found.last_received_at


def test_what_the_header_says_of_an_images_place_is_kept(engine: Engine, received: Make) -> None:
    placing = Placing("ORIGINAL\\PRIMARY\\AXIAL", "0\\0\\5.5", "1\\0\\0\\0\\1\\0", 2, 32)
    add(engine, replace(received(1), placing=placing))
    add(engine, received(2))
    assert [item.placing for item in instances.arrivals(engine, "1.2.3")] == [placing, Placing()]
    found = instances.find(engine, "1.2.3.1")
    assert found is not None
    assert found.placing == placing


def test_a_revision_holds_what_was_there_and_its_job(
    engine: Engine, jobs: Jobs, received: Make
) -> None:
    add(engine, received(1))
    add(engine, received(2))
    key = complete(engine, jobs)
    assert key == "1.2.3:1"
    assert revisions.load(engine, key).sop_instance_uids == ("1.2.3.1", "1.2.3.2")
    assert status_of(jobs, "study:1.2.3:1:1") == "ENQUEUED"
    assert revisions.receiving(engine) == []


def test_an_image_in_between_stops_the_revision(engine: Engine, jobs: Jobs, received: Make) -> None:
    """What was seen quiet and is quiet no more is not complete."""
    add(engine, received(1))
    [found] = revisions.receiving(engine)
    add(engine, received(2))
    assert revisions.open_revision(engine, jobs, found, "quiet") is None
    assert status_of(jobs, "study:1.2.3:1:1") is None


def test_a_late_image_reopens_the_series(engine: Engine, jobs: Jobs, received: Make) -> None:
    add(engine, received(1))
    complete(engine, jobs)
    add(engine, received(2))
    assert complete(engine, jobs) == "1.2.3:2"
    assert len(revisions.load(engine, "1.2.3:1").paths) == 1
    assert len(revisions.load(engine, "1.2.3:2").paths) == 2
    kinds = [event["kind"] for event in overview.show(engine, "1.2")["events"]]
    assert kinds == ["complete", "reopened", "complete"]


def test_a_rollback_leaves_neither_state_nor_job(
    engine: Engine, jobs: Jobs, received: Make
) -> None:
    """A job exists exactly if the transaction that made it due committed."""
    add(engine, received(1))
    key = complete(engine, jobs)
    with pytest.raises(RuntimeError), writing(engine) as connection:
        deliveries.open_deliveries(connection, jobs, key, ["pacs"])
        raise RuntimeError
    assert deliveries.find(engine, key, "pacs") is None
    assert status_of(jobs, f"deliver:pacs:{key}:1") is None


def report(engine: Engine, jobs: Jobs, key: str, destinations: list[str]) -> None:
    with writing(engine) as connection:
        for event in (SeriesEvent.ASSEMBLED, SeriesEvent.INFERRED, SeriesEvent.REPORTED):
            revisions.apply(connection, key, event, "done", reported_at=1.0)
        deliveries.open_deliveries(connection, jobs, key, destinations)


STORED = Verdict("sr", "2.25.1", 0, True, False, "stored")
LATER = Verdict("sr", "2.25.1", 0xA700, False, True, "out of resources")
ALL_STORED = Ended(DeliveryEvent.STORED, "1 stored", [STORED], next_in_s=0.0)
CONFIRMED = Ended(DeliveryEvent.CONFIRMED, "1 found", proof="C-FIND")


def record(engine: Engine, jobs: Jobs, key: str, name: str, ended: Ended) -> None:
    """Let the attempt that is due end."""
    row = deliveries.find(engine, key, name)
    assert row is not None
    assert deliveries.record(engine, jobs, key, name, row.attempt, ended) is not None


def test_delivered_when_every_destination_holds_it(
    engine: Engine, jobs: Jobs, received: Make
) -> None:
    add(engine, received(1))
    key = complete(engine, jobs)
    report(engine, jobs, key, ["a", "b"])
    record(engine, jobs, key, "a", ALL_STORED)
    assert revisions.state_of(engine, key) is SeriesState.REPORTED
    record(engine, jobs, key, "b", ALL_STORED)
    assert revisions.state_of(engine, key) is SeriesState.DELIVERED


def test_confirmed_when_every_destination_has_proven_it(
    engine: Engine, jobs: Jobs, received: Make
) -> None:
    add(engine, received(1))
    key = complete(engine, jobs)
    report(engine, jobs, key, ["a", "b"])
    for name in ("a", "b"):
        record(engine, jobs, key, name, ALL_STORED)
    record(engine, jobs, key, "a", CONFIRMED)
    assert revisions.state_of(engine, key) is SeriesState.DELIVERED
    record(engine, jobs, key, "b", CONFIRMED)
    assert revisions.state_of(engine, key) is SeriesState.CONFIRMED


def test_where_one_destination_proves_nothing_it_stays_delivered(
    engine: Engine, jobs: Jobs, received: Make
) -> None:
    add(engine, received(1))
    key = complete(engine, jobs)
    report(engine, jobs, key, ["a", "b"])
    for name in ("a", "b"):
        record(engine, jobs, key, name, ALL_STORED)
    record(engine, jobs, key, "a", CONFIRMED)
    record(engine, jobs, key, "b", Ended(DeliveryEvent.UNPROVABLE, "nothing offered"))
    assert revisions.state_of(engine, key) is SeriesState.DELIVERED


def test_what_is_lost_is_to_be_sent_again_and_the_series_is_not_delivered(
    engine: Engine, jobs: Jobs, received: Make
) -> None:
    add(engine, received(1))
    key = complete(engine, jobs)
    report(engine, jobs, key, ["a"])
    record(engine, jobs, key, "a", ALL_STORED)
    lost = Ended(DeliveryEvent.LOST, "gone", next_in_s=0.0, lost=["2.25.1"])
    record(engine, jobs, key, "a", lost)
    row = deliveries.find(engine, key, "a")
    assert row is not None
    assert (row.state, row.stored, row.lost) == (DeliveryState.RETRYING, frozenset(), 1)
    assert revisions.state_of(engine, key) is SeriesState.REPORTED
    record(engine, jobs, key, "a", ALL_STORED)
    assert revisions.state_of(engine, key) is SeriesState.DELIVERED


def test_the_end_of_an_attempt_that_is_no_more_due_changes_nothing(
    engine: Engine, jobs: Jobs, received: Make
) -> None:
    add(engine, received(1))
    key = complete(engine, jobs)
    report(engine, jobs, key, ["a"])
    assert deliveries.record(engine, jobs, key, "a", 2, ALL_STORED) is None
    row = deliveries.find(engine, key, "a")
    assert row is not None
    assert (row.state, row.attempt) == (DeliveryState.PENDING, 1)


def test_a_retry_is_the_next_attempt_with_its_own_job(
    engine: Engine, jobs: Jobs, received: Make
) -> None:
    add(engine, received(1))
    key = complete(engine, jobs)
    report(engine, jobs, key, ["a"])
    later = Ended(DeliveryEvent.POSTPONED, "full", [LATER], next_in_s=10.0)
    record(engine, jobs, key, "a", later)
    row = deliveries.find(engine, key, "a")
    assert row is not None
    assert (row.attempt, row.state, row.stored) == (2, DeliveryState.RETRYING, frozenset())
    assert status_of(jobs, f"deliver:a:{key}:2") == "DELAYED"
    record(engine, jobs, key, "a", ALL_STORED)
    row = deliveries.find(engine, key, "a")
    assert row is not None
    assert row.stored == {"2.25.1"}


def test_a_refused_series_stays_refused_when_its_report_is_delivered(
    engine: Engine, jobs: Jobs, received: Make
) -> None:
    add(engine, received(1))
    key = complete(engine, jobs)
    with writing(engine) as connection:
        revisions.apply(connection, key, SeriesEvent.REFUSED, "tilted", reason="gantry_tilt")
        deliveries.open_deliveries(connection, jobs, key, ["a"])
    record(engine, jobs, key, "a", ALL_STORED)
    [study] = overview.studies(engine)
    assert study["series"][0]["state"] == "refused"
    assert study["series"][0]["reason"] == "gantry_tilt"


def test_only_deaths_at_one_stage_are_counted(engine: Engine, jobs: Jobs, received: Make) -> None:
    """Another try in the same process is no death, and the end of a stage wipes the slate."""
    add(engine, received(1))
    key = complete(engine, jobs)
    assert [begun.begin(engine, key, "worker-0:1:a") for _ in range(3)] == [0, 0, 0]
    assert begun.begin(engine, key, "worker-0:2:b") == 1
    assert begun.begin(engine, key, "worker-0:3:c") == 2
    with writing(engine) as connection:
        revisions.apply(connection, key, SeriesEvent.REQUEUED, "its job was lost", attempt=2)
    assert begun.begin(engine, key, "worker-0:4:d") == 3
    with writing(engine) as connection:
        revisions.apply(connection, key, SeriesEvent.ASSEMBLED, "done")
    assert begun.begin(engine, key, "worker-0:5:e") == 0


def test_a_death_from_outside_is_forgiven_some_times(
    engine: Engine, jobs: Jobs, received: Make
) -> None:
    add(engine, received(1))
    key = complete(engine, jobs)
    begun.begin(engine, key, "worker-0:1:a")
    assert begun.forgive(engine, "worker-0:11:", limit=2) == []
    assert begun.forgive(engine, "worker-0:1:", limit=2) == [key]
    assert begun.begin(engine, key, "worker-0:2:b") == 0
    assert begun.forgive(engine, "worker-0:2:", limit=2) == [key]
    assert begun.begin(engine, key, "worker-0:3:c") == 0
    assert begun.forgive(engine, "worker-0:3:", limit=2) == []
    assert begun.begin(engine, key, "worker-0:4:d") == 1


def test_a_transition_that_the_table_does_not_know_changes_nothing(
    engine: Engine, jobs: Jobs, received: Make
) -> None:
    add(engine, received(1))
    key = complete(engine, jobs)
    with pytest.raises(IllegalTransition), writing(engine) as connection:
        revisions.apply(connection, key, SeriesEvent.REPORTED, "out of turn")
    assert revisions.state_of(engine, key) is SeriesState.COMPLETE
    assert [event["kind"] for event in overview.show(engine, "1.2")["events"]] == ["complete"]


def test_a_step_run_again_leaves_no_second_line(engine: Engine, jobs: Jobs, received: Make) -> None:
    add(engine, received(1))
    key = complete(engine, jobs)
    for _ in range(2):
        with writing(engine) as connection:
            revisions.apply(connection, key, SeriesEvent.ASSEMBLED, "32 slices")
    kinds = [event["kind"] for event in overview.show(engine, "1.2")["events"]]
    assert kinds == ["complete", "assembled"]


def test_own_results_are_known(engine: Engine, jobs: Jobs, received: Make, tmp_path) -> None:
    add(engine, received(1))
    key = complete(engine, jobs)
    kept = results.KeptResult("sr", "2.25.1", tmp_path / "sr.dcm", "0" * 64)
    with writing(engine) as connection:
        results.keep(connection, key, [kept])
        results.keep(connection, key, [kept])
    assert instances.standing(engine, "2.25.1") is Standing.OWN_RESULT
    assert instances.standing(engine, "1.2.3.1") is Standing.STORED
    assert instances.standing(engine, "9.9") is Standing.NEW
    assert results.kept_of(engine, key) == [kept]


def test_two_objects_never_share_a_uid(
    engine: Engine, jobs: Jobs, received: Make, tmp_path
) -> None:
    """A later revision may have the same object again, but never another under its UID."""
    add(engine, received(1))
    first = complete(engine, jobs)
    add(engine, received(2))
    second = complete(engine, jobs)
    kept = results.KeptResult("sr", "2.25.1", tmp_path / "sr.dcm", "0" * 64)
    with writing(engine) as connection:
        results.keep(connection, first, [kept])
        results.keep(connection, second, [kept])
    assert results.kept_of(engine, second) == [kept]
    with pytest.raises(StoreError, match="other bytes"), writing(engine) as connection:
        results.keep(connection, second, [replace(kept, sha256="1" * 64)])


def test_no_patient_in_what_studies_and_show_say(
    engine: Engine, jobs: Jobs, received: Make
) -> None:
    add(engine, replace(received(1), patient_id="SECRET-77"))
    complete(engine, jobs)
    assert "SECRET-77" not in str(overview.studies(engine))
    assert "SECRET-77" not in str(overview.show(engine, "1.2"))


def test_unknown_study_says_what_to_do(engine: Engine) -> None:
    with pytest.raises(StoreError, match="ich-node studies"):
        overview.show(engine, "1.2")


def test_writers_queue_instead_of_failing(engine: Engine, received: Make) -> None:
    """Eight writers at once: every row is there, none met a locked database."""
    faults: list[BaseException] = []

    def work(start: int) -> None:
        try:
            for number in range(start, start + 10):
                add(engine, received(number))
        except sa.exc.OperationalError as error:
            faults.append(error)

    threads = [threading.Thread(target=work, args=(10 * n + 1,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert len(instances.arrivals(engine, "1.2.3")) == 80
