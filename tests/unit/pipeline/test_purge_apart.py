"""What `[retention]` does with what is kept apart: objects that came again, unreadable files."""

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ich_node.pipeline import purge
from ich_node.settings import Audit, Retention
from ich_node.states import DeliveryEvent
from ich_node.store import deliveries, events, instances, overview, retention
from ich_node.store.apart import Apart
from ich_node.store.engine import Engine, writing
from ich_node.store.jobs import Jobs
from ich_node.store.retention import Holding
from tests.unit.pipeline.conftest import KEY, report
from tests.unit.pipeline.test_purge import DAY_S, SERIES, STUDY, come_to, deliver, settings
from tests.unit.store.conftest import FIRST

SHA = "0123456789abcdef"
FOLDERS = ("header_changed", "conflict", "unreadable")


def put(tmp_path: Path, folder: str, uid: str = "1.2.3.1", days: float = 0.0) -> Path:
    """Keep a file of 1000 bytes apart that came so many days ago."""
    name = f"{STUDY}/{SERIES}/{uid}.dcm" if folder == "unreadable" else f"{uid}.{SHA}.dcm"
    path = tmp_path / folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * 1000)
    came = time.time() - days * DAY_S
    os.utime(path, (came, came))
    return path


def run(engine: Engine, tmp_path: Path, **rules: float) -> purge.Plan:
    given = settings(tmp_path, **rules)
    return purge.carry_out(engine, given, purge.plan(engine, given, time.time()))


def kinds(plan: purge.Plan) -> list[str]:
    return [item.kind for item in plan.deletions]


@pytest.mark.parametrize("folder", FOLDERS)
def test_it_goes_by_age_and_an_event_names_what_went(
    engine: Engine, jobs: Jobs, tmp_path: Path, folder: str
) -> None:
    report(engine, jobs)
    deliver(engine, jobs)
    old = [put(tmp_path, folder, days=31), put(tmp_path, folder, "1.2.3.1.2", days=30.1)]
    young = put(tmp_path, folder, "1.2.3.1.3", days=29.9)
    instances.add(engine, replace(FIRST, sop_instance_uid="1.2.3.1.2"), priority=5, quiet_seconds=1)
    with writing(engine) as connection:
        connection.exec_driver_sql("UPDATE series SET state = 'refused'")
    [gone] = run(engine, tmp_path).deletions
    assert (gone.kind, gone.study_instance_uid, gone.files, gone.size) == (folder, STUDY, 2, 2000)
    assert ([path.exists() for path in old], young.exists()) == ([False, False], True)
    told = overview.show(engine, STUDY)["events"][-1]
    assert told["kind"] == "apart_deleted"
    assert told["text"] == f"2 files kept apart ({folder}): older than 30 days"
    assert told["data"] == {"kind": folder, "files": [path.name for path in old]}
    assert kinds(run(engine, tmp_path)) == []


@pytest.mark.parametrize("waits", ["analysis", "failed", "pending", "not proven"])
def test_it_stays_while_its_study_is_unread_unsent_or_not_confirmed(
    engine: Engine, jobs: Jobs, tmp_path: Path, waits: str
) -> None:
    """Whatever its age, and however little room there is."""
    come_to(engine, jobs, waits)
    if waits == "not proven":
        deliveries.record(
            engine, jobs, KEY, "pacs", 1, deliveries.Ended(DeliveryEvent.STORED, "said", [])
        )
    paths = [put(tmp_path, folder, days=400) for folder in FOLDERS]
    planned = run(engine, tmp_path, max_gb=1e-9)
    assert planned.deletions == ()
    assert {item.kind for item in planned.bound} == set(FOLDERS)
    assert all(item.bound for item in planned.bound)
    assert all(path.exists() for path in paths)


def test_too_much_is_held_it_goes_before_its_time_but_a_correction_never_does(
    engine: Engine, jobs: Jobs, tmp_path: Path
) -> None:
    """The sender was told that a correction is stored, and nobody may have looked at it."""
    report(engine, jobs)
    deliver(engine, jobs)
    for number, folder in enumerate(FOLDERS):
        put(tmp_path, folder, days=3 - number)
    planned = run(engine, tmp_path, max_gb=2.2e-6)  # 3 x 1000 and the original's 100
    assert kinds(planned) == ["conflict"]
    assert kinds(run(engine, tmp_path, max_gb=1e-9)) == ["unreadable", "originals"]
    assert (tmp_path / "header_changed").exists()
    assert not (tmp_path / "unreadable" / STUDY).exists()


def test_what_came_again_since_it_was_looked_at_stays(
    engine: Engine, jobs: Jobs, tmp_path: Path
) -> None:
    report(engine, jobs)
    deliver(engine, jobs)
    path = put(tmp_path, "conflict", days=31)
    planned = purge.plan(engine, settings(tmp_path), time.time())
    assert kinds(planned) == ["conflict"]
    os.utime(path)
    assert purge.carry_out(engine, settings(tmp_path), planned).deletions == ()
    assert path.exists()


def test_nothing_goes_without_its_event_and_the_next_pass_goes_on(
    engine: Engine, jobs: Jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report(engine, jobs)
    deliver(engine, jobs)
    path = put(tmp_path, "conflict", days=31)
    with monkeypatch.context() as patch:
        patch.setattr(events, "insert", lambda *_args, **_values: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run(engine, tmp_path)
    assert len(list(path.parent.iterdir())) == 1
    assert kinds(run(engine, tmp_path)) == ["conflict"]
    assert list(path.parent.iterdir()) == []
    assert overview.show(engine, STUDY)["events"][-1]["data"]["files"] == [path.name]


@pytest.mark.parametrize("folder", FOLDERS)
def test_what_a_new_database_does_not_know_yet_stays_until_it_is_filled(
    engine: Engine, tmp_path: Path, folder: str
) -> None:
    """The database was lost: what is in the spool is entered in minutes, or hours."""
    path = put(tmp_path, folder, days=400)
    lies = tmp_path / "spool" / STUDY / SERIES / "1.2.3.1.dcm"
    lies.parent.mkdir(parents=True)
    lies.touch()
    planned = run(engine, tmp_path, max_gb=1e-9)
    assert planned.deletions == ()
    assert "not entered" in planned.bound[0].bound
    lies.unlink()
    assert kinds(run(engine, tmp_path)) == [folder]
    assert not path.exists()


def test_what_nobody_knows_the_study_of_goes_by_age(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "unreadable" / "odd name"
    path.parent.mkdir()
    path.touch()
    assert kinds(run(engine, tmp_path)) == []
    os.utime(path, (0.0, 0.0))
    [gone] = run(engine, tmp_path).deletions
    assert (gone.kind, gone.study_instance_uid) == ("unreadable", "")
    assert not path.exists()


def test_zero_days_are_for_ever(engine: Engine, jobs: Jobs, tmp_path: Path) -> None:
    report(engine, jobs)
    deliver(engine, jobs)
    put(tmp_path, "header_changed", days=4000)
    assert kinds(run(engine, tmp_path, originals_days=0, max_gb=1e-9)) == ["originals"]


def test_copies_of_a_damaged_database_go_as_the_trail_that_is_in_them(
    engine: Engine, tmp_path: Path
) -> None:
    old = [tmp_path / f"ich-node.sqlite.damaged-20200131T083000Z{part}" for part in ("-wal", "")]
    young = tmp_path / f"ich-node.sqlite.damaged-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
    alien = tmp_path / "ich-node.sqlite.damaged-mine"
    for path in (*old, young, alien):
        path.touch()
    assert kinds(run(engine, tmp_path, originals_days=1, max_gb=1e-9)) == []
    given = settings(tmp_path).model_copy(update={"audit": Audit(days=365)})
    planned = purge.plan(engine, given, time.time())
    [gone] = purge.carry_out(engine, given, planned).deletions
    assert (gone.kind, gone.files, gone.why) == ("database", 2, "older than 365 days")
    assert [path.exists() for path in (*old, young, alien)] == [False, False, True, True]


def test_a_clock_that_is_doubted_deletes_nothing_of_it_by_age(
    engine: Engine, jobs: Jobs, tmp_path: Path
) -> None:
    report(engine, jobs)
    deliver(engine, jobs)
    kept = [put(tmp_path, "conflict", days=31)]
    kept.append(tmp_path / "ich-node.sqlite.damaged-20200131T083000Z")
    kept[1].touch()
    given = settings(tmp_path).model_copy(update={"audit": Audit(days=365)})
    watching = purge.watch(given)
    watching.stamp.parent.mkdir()
    watching.stamp.touch()
    os.utime(watching.stamp, (0.0, 0.0))
    purge.purge(engine, given, watching)
    assert all(path.exists() for path in kept)


DAYS = st.floats(0, 100, allow_nan=False)
ITEMS = st.lists(
    st.tuples(st.sampled_from(("originals", *FOLDERS)), DAYS, st.integers(0, 10), st.booleans())
)


@given(ITEMS, st.integers(0, 50), st.integers(0, 60))
def test_of_whatever_is_held_only_what_the_rules_name_goes(
    drawn: list[tuple[str, float, int, bool]], days: int, excess: int
) -> None:
    """All that is overdue, and of the rest the oldest, until it fits; never what is bound."""
    now = 1000 * DAY_S
    items = [_item(*values, now) for values in drawn]
    rules = Retention(originals_days=days, max_gb=1)
    gone = [item for item, _why in purge._outlived(items, rules, now, excess)]
    stays = [item for item in items if item not in gone]
    may = [item for item in stays if not item.bound]
    assert not any(item.bound for item in gone)
    assert not any(days and now - item.at > days * DAY_S for item in may)
    early = [item for item in gone if not (days and now - item.at > days * DAY_S)]
    assert not any(item.kind == "header_changed" for item in early)
    if early:
        assert sum(item.size for item in gone) - early[-1].size < excess
    if excess > sum(item.size for item in gone):
        assert all(item.kind == "header_changed" for item in may)


def _item(kind: str, days: float, size: int, bound: bool, now: float) -> purge.Kept:
    why, at = "it is bound" * bound, now - days * DAY_S
    if kind == retention.ORIGINALS:
        return Holding(kind, STUDY, at, 1, size, why)
    return Apart(kind, Path("x"), STUDY, at, size, why)
