"""Reports of storage commitment that are owed: pauses that grow, last, and end with the cause."""

from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest

from ich_node import probe, views
from ich_node.deliver.commitment import Answer
from ich_node.pipeline import commitment as stage
from ich_node.pipeline.delivery import pause_s
from ich_node.records import Announcement, Referenced
from ich_node.states import AnnouncementState
from ich_node.store import announcements, commitments, instances, overview
from ich_node.store.commitments import Commitment
from ich_node.store.engine import Engine, open_engine
from tests.support.peers import destination
from tests.unit.store.conftest import FIRST

HOUR = 3600.0
AWAY = Answer(None, "no way there")
BUSY, DONE = Answer(0x0110), Answer(0x0000)


@dataclass
class World:
    """A peer and a clock: when it was told of what, and how it answers."""

    engine: Engine
    now: float = 1_700_000_000.0
    answer: Callable[[str], Answer] = lambda _uid: AWAY
    told: list[tuple[float, str]] = field(default_factory=list)

    def owe(self, *uids: str) -> None:
        for uid in uids:
            members = (Referenced(FIRST.sop_class_uid, FIRST.sop_instance_uid),)
            listed = Announcement(
                uid, "storage commitment", AnnouncementState.ASKED, "PACS", members
            )
            assert announcements.keep(self.engine, listed)
        commitments.settle(self.engine, uids, AnnouncementState.OWED)

    def look(self, seconds: float = 0.0) -> list[str]:
        """Look as often as the deliverer does for so long; return what the peer took."""
        taken: list[str] = []
        end = self.now + seconds
        while True:
            taken += stage.report_owed(self.engine, "ICH_NODE", [destination(104)])
            if self.now >= end:
                return taken
            self.now += stage.PERIOD_S


@pytest.fixture
def world(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> World:
    made = World(engine)

    def report(_to: object, _ae: str, truth: Commitment, **_: object) -> Answer:
        made.told.append((made.now, truth.uid))
        return made.answer(truth.uid)

    for module in (stage, commitments, announcements):
        monkeypatch.setattr(module, "time", SimpleNamespace(time=lambda: made.now))
    monkeypatch.setattr(stage, "report", report)
    instances.add(engine, FIRST, priority=5, quiet_seconds=1.0)
    return made


def test_a_peer_that_is_away_is_tried_after_the_pauses_of_a_delivery(world: World) -> None:
    """Not every ten seconds; and after a day, when nobody waits for the answer, no more."""
    world.owe("9.1")
    world.look(3 * HOUR)
    pauses = [b[0] - a[0] for a, b in zip(world.told, world.told[1:], strict=False)]
    assert all(0 <= took - pause_s(n) <= stage.PERIOD_S for n, took in enumerate(pauses, start=1))
    assert pauses[-1] >= 1800.0
    assert len(world.told) == 14
    world.now += 22 * HOUR
    world.look()
    assert len(world.told) == 14


def test_a_start_of_the_node_begins_no_pauses_anew(world: World) -> None:
    world.owe("9.1")
    world.look(HOUR)
    tries = len(world.told)
    before = world.engine
    world.engine = open_engine(str(before.url))
    world.look(600.0)
    world.engine.dispose()
    assert len(world.told) == tries
    [owed] = commitments.owed(before)
    assert owed.tries == tries
    assert owed.next_at == pytest.approx(world.told[-1][0] + pause_s(tries))


def test_one_association_is_tried_for_all_that_a_peer_waits_for(world: World) -> None:
    world.owe("9.1", "9.2", "9.3")
    world.look()
    assert [uid for _at, uid in world.told] == ["9.1"]
    assert [one.tries for one in commitments.owed(world.engine)] == [1, 1, 1]


def test_a_peer_that_is_there_again_gets_at_once_what_waits_longer(world: World) -> None:
    world.owe("9.1", "9.2")
    world.look(HOUR)
    world.owe("9.3")
    world.answer = lambda _uid: DONE
    assert world.look() == ["9.3"]
    assert sorted(world.look()) == ["9.1", "9.2"]
    assert commitments.owed(world.engine) == []


def test_a_report_that_fails_for_now_waits_alone(world: World) -> None:
    world.owe("9.1", "9.2")
    world.answer = lambda uid: BUSY if uid == "9.1" else DONE
    assert world.look() == ["9.2"]
    [owed] = commitments.owed(world.engine)
    assert (owed.uid, owed.tries, owed.next_at) == ("9.1", 1, world.now + pause_s(1))


def test_a_clock_that_was_set_back_holds_nothing_up(world: World) -> None:
    world.owe("9.1")
    world.look(HOUR)
    tries = len(world.told)
    world.now -= 10 * HOUR
    world.look()
    assert len(world.told) == tries + 1


def test_what_is_owed_is_shown_with_its_cause_and_when_it_is_tried_next(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.owe("9.1")
    assert probe._owed(world.engine, destination(104)).endswith("are owed to it, at once")
    world.look()
    said = "1 reports of storage commitment are owed to it, next tried at 2023-11-14 22:13 UTC"
    assert said in probe._owed(world.engine, destination(104))
    story = overview.show(world.engine, FIRST.study_instance_uid)
    assert story["owed"] == [
        {"uid": "9.1", "calling_ae": "PACS", "tries": 1, "next_at": world.now + 5.0}
    ]
    views.print_story(story)
    line = "owed to PACS: the report of storage commitment 9.1; tried 1 times, next at 2023-11-14"
    assert line in capsys.readouterr().out
    with world.engine.connect() as connection:
        texts = connection.exec_driver_sql("SELECT text FROM event ORDER BY id").scalars().all()
    assert texts[-1] == "storage commitment cannot be reported: no way there; tried again in 5 s"
