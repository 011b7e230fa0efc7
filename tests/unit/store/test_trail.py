"""The audit trail: what it tells of who sent, asked and started, and that nobody can change it."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from ich_node.records import Received, Sender
from ich_node.store import engine as engine_module
from ich_node.store import events, instances, overview, trail, transfers
from ich_node.store.engine import DatabaseError, Engine, migrate, open_engine, writing
from ich_node.store.instances import Entry
from ich_node.store.tables import event
from ich_node.store.trail import Span

Make = Callable[[int], Received]
SENDER = Sender("a1", "PACS", "10.1.2.3", "pacs")
YEAR_S = 365 * 86400.0
MIGRATIONS = Path(engine_module.__file__).parent / "migrations"


def kinds(engine: Engine) -> list[str]:
    return [entry.kind for entry in trail.entries(engine)]


@pytest.fixture
def old(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """A trail with an entry of last year, and one of now."""
    with monkeypatch.context() as then:
        clock = SimpleNamespace(time=lambda: time.time() - YEAR_S)
        then.setattr(events, "time", clock)
        events.add(engine, "old", "of last year")
    events.add(engine, "new", "of now")
    return engine


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE event SET text = 'nothing happened'",
        "DELETE FROM event",
        "INSERT OR REPLACE INTO event (id, at, kind, text) VALUES (1, 0, 'x', 'nothing happened')",
    ],
)
def test_the_database_refuses_to_change_or_delete_an_entry(engine: Engine, statement: str) -> None:
    events.add(engine, "happened", "this")
    with pytest.raises(DatabaseError, match="append-only"), writing(engine) as connection:
        connection.execute(sa.text(statement))
    assert kinds(engine) == ["happened"]


def test_only_what_is_older_than_the_pruning_says_can_go_and_it_leaves_an_entry(
    old: Engine,
) -> None:
    assert trail.prune(old, 30) == 1
    assert kinds(old) == ["new", "trail_pruned"]
    with pytest.raises(DatabaseError, match="append-only"), writing(old) as connection:
        connection.execute(sa.delete(event))


def test_a_trail_that_is_kept_for_ever_is_never_pruned(old: Engine) -> None:
    assert trail.prune(old, 0) == 0
    assert kinds(old) == ["old", "new"]


def test_what_a_place_of_audit_messages_has_not_got_is_not_pruned(old: Engine) -> None:
    with writing(old) as connection:
        connection.execute(sa.text("INSERT INTO audit_position VALUES ('syslog', 0)"))
    assert trail.prune(old, 30, ["syslog"]) == 0
    trail.advance(old, "syslog", 1)
    assert trail.prune(old, 30, ["syslog"]) == 1


def test_numbers_of_entries_are_never_given_twice(old: Engine) -> None:
    newest = trail.newest(old)
    assert trail.prune(old, 1) == 1
    events.add(old, "later", "more")
    assert trail.newest(old) == newest + 2


def test_who_sent_what_is_told_with_the_first_image_and_at_the_end(
    engine: Engine, received: Make
) -> None:
    for number in (1, 2):
        added = instances.add_all(engine, [Entry(received(number), 5, 1.0, SENDER)])
        assert added == [None]
    other = replace(received(3), study_instance_uid="9", series_instance_uid="9.1")
    instances.add_all(engine, [Entry(other, 5, 1.0, SENDER)])
    transfers.end(engine, "a1")
    transfers.end(engine, "a1")
    told = list(trail.entries(engine, Span(study="1.2")))
    assert [entry.kind for entry in told] == ["transfer_begun", "transferred"]
    assert told[1].data == {**vars(SENDER), "classes": {"1.2.840.10008.5.1.4.1.1.2": 2}}
    assert "PACS at 10.1.2.3 sent 2 objects" in told[1].text
    assert len(list(trail.entries(engine, Span(study="9")))) == 2


def test_a_study_tells_its_senders_and_not_each_of_their_associations(
    engine: Engine, received: Make
) -> None:
    """Some open one for every image."""
    for number in range(1, 101):
        sender = replace(SENDER, association=f"a{number}")
        instances.add_all(engine, [Entry(received(number), 5, 1.0, sender)])
    transfers.end(engine)
    told = overview.show(engine, "1.2")
    assert told["senders"] == [{"calling_ae": "PACS", "address": "10.1.2.3", "associations": 100}]
    assert told["events"] == []
    assert len(list(trail.entries(engine))) == 200


def test_a_receiver_that_was_killed_leaves_transfers_that_the_next_one_ends(
    engine: Engine, received: Make
) -> None:
    instances.add_all(engine, [Entry(received(1), 5, 1.0, SENDER)])
    transfers.end(engine)
    assert kinds(engine) == ["transfer_begun", "transferred"]


def test_what_comes_from_the_spool_has_no_sender_and_no_transfer(
    engine: Engine, received: Make
) -> None:
    instances.add_all(engine, [Entry(received(1), 5, 1.0)])
    assert kinds(engine) == []


def test_a_start_tells_user_version_and_configuration_and_what_changed(engine: Engine) -> None:
    trail.started(engine, "aa" * 32)
    trail.stopped(engine)
    trail.started(engine, "bb" * 32)
    trail.started(engine, "bb" * 32)
    first, _stop, second, third = trail.entries(engine)
    assert first.data["configuration_sha256"] == "aa" * 32
    assert first.data["user"] == trail.user()
    assert not first.data["configuration_changed"]
    assert second.data["configuration_changed"]
    assert "did not end in order" not in second.text
    assert "the run before did not end in order" in third.text


def test_a_command_is_told_with_its_user_and_nothing_that_is_no_uid(engine: Engine) -> None:
    trail.asked(engine, "resend", "1.2", ["pacs"])
    trail.asked(engine, "show", "DOE^JANE")
    known, unknown = trail.entries(engine)
    assert known.study_instance_uid == "1.2"
    assert known.text == f"`ich-node resend 1.2` by {trail.user()}"
    assert unknown.study_instance_uid is None
    assert "DOE" not in unknown.text


def test_entries_come_in_their_order_by_time_study_and_number(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trail, "_BATCH", 2)
    for number in range(7):
        events.add(engine, f"k{number}", "", study="1.2" if number % 2 else None)
    assert kinds(engine) == [f"k{number}" for number in range(7)]
    assert [one.kind for one in trail.entries(engine, after=5)] == ["k5", "k6"]
    assert [one.kind for one in trail.entries(engine, until=2)] == ["k0", "k1"]
    assert [one.kind for one in trail.entries(engine, Span(study="1.2"))] == ["k1", "k3", "k5"]
    assert list(trail.entries(engine, Span(since=time.time() + 60))) == []
    assert len(list(trail.entries(engine, Span(until=time.time() + 60)))) == 7


def test_a_new_place_gets_the_trail_from_the_latest_start_on(engine: Engine) -> None:
    trail.started(engine, "aa")
    trail.started(engine, "bb")
    events.add(engine, "k", "")
    assert trail.position(engine, "file") == 1
    trail.advance(engine, "file", 3)
    assert trail.position(engine, "file") == 3


def test_that_the_trail_was_lost_is_the_first_that_a_place_gets_of_the_new_one(
    engine: Engine,
) -> None:
    """And once only: a place that is new at a later start begins there."""
    events.add(engine, "destination_held", "")
    events.add(engine, trail.REBUILT, "made anew")
    trail.started(engine, "aa")
    first = next(iter(trail.entries(engine, after=trail.position(engine, "file"))))
    assert first.kind == trail.REBUILT
    trail.started(engine, "aa")
    later = next(iter(trail.entries(engine, after=trail.position(engine, "syslog"))))
    assert (later.kind, later.id) == (trail.STARTED, 4)


def test_a_database_of_an_older_version_keeps_its_story_and_lets_nobody_change_it(
    url: str,
) -> None:
    opened = open_engine(url)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with writing(opened) as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0008")
        connection.execute(
            sa.text("INSERT INTO event (at, kind, text) VALUES (1.0, 'complete', 'of old')")
        )
    migrate(opened)
    [entry] = trail.entries(opened)
    assert (entry.kind, entry.text, entry.data) == ("complete", "of old", {})
    with pytest.raises(DatabaseError, match="append-only"), writing(opened) as connection:
        connection.execute(sa.delete(event))
    opened.dispose()
