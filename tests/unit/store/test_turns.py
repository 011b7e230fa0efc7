"""Which of the complete series is analysed first: by priority of the source, then in turns."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from dbos import EnqueueOptions

from ich_node.states import SeriesEvent
from ich_node.store import instances, revisions
from ich_node.store.engine import Connection, Engine, migrate, open_engine, writing
from ich_node.store.jobs import Jobs
from ich_node.store.tables import revision
from tests.unit.store.conftest import FIRST

PRIORITY = {"ct": 5, "pacs": 5, "stroke": 1, "research": 9}


class Site:
    """A node to which series come; it says which one is to be analysed next."""

    def __init__(self, engine: Engine, jobs: Jobs) -> None:
        self.engine, self.jobs = engine, jobs
        self.queue: list[tuple[int, int, str]] = []  # turn, when enqueued, key
        self.enqueued = 0

    def enqueue(self, _connection: Connection, options: EnqueueOptions, key: str) -> None:
        self.enqueued += 1
        self.queue.append((options["priority"] or 0, self.enqueued, key))

    def comes(self, source: str, count: int = 1) -> None:
        for _ in range(count):
            uid = f"1.2.{self.enqueued + 1}"
            one = replace(
                FIRST, sop_instance_uid=f"{uid}.1", series_instance_uid=uid, source=source
            )
            instances.add(self.engine, one, priority=PRIORITY[source], quiet_seconds=1.0)
            [found] = revisions.receiving(self.engine)
            assert revisions.open_revision(self.engine, self.jobs, found, "quiet") is not None

    def analysed(self, count: int) -> list[str]:
        """Take the next ones as the engine does; return their sources."""
        sources = []
        for _ in range(count):
            taken = min(self.queue)
            self.queue.remove(taken)
            with writing(self.engine) as connection:
                revisions.apply(connection, taken[2], SeriesEvent.ASSEMBLED, "")
            sources.append(self.source_of(taken[2]))
        return sources

    def source_of(self, key: str) -> str:
        with self.engine.connect() as connection:
            return str(revisions._series_row(connection, key.split(":")[0])["source"])


@pytest.fixture
def site(engine: Engine, jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> Site:
    made = Site(engine, jobs)
    monkeypatch.setattr(jobs, "enqueue_in_transaction", made.enqueue)
    return made


def test_the_source_of_a_higher_priority_goes_first_whatever_waits(site: Site) -> None:
    site.comes("research", 3)
    site.comes("ct", 3)
    site.comes("stroke")
    assert site.analysed(5) == ["stroke", "ct", "ct", "ct", "research"]
    site.comes("stroke", 2)
    assert site.analysed(4) == ["stroke", "stroke", "research", "research"]


def test_a_noisy_source_lets_others_of_its_priority_have_every_second_turn(site: Site) -> None:
    site.comes("ct", 20)
    assert site.analysed(5) == ["ct"] * 5
    site.comes("pacs", 3)
    assert site.analysed(8) == ["ct", "pacs", "ct", "pacs", "ct", "pacs", "ct", "ct"]


def test_a_source_that_goes_on_sending_has_its_turns_and_no_more(site: Site) -> None:
    site.comes("ct", 10)
    order: Sequence[str] = []
    for _ in range(10):
        site.comes("pacs")
        order = [*order, *site.analysed(1)]
    assert order.count("ct") == order.count("pacs") == 5


def test_one_source_alone_is_served_in_the_order_of_completion(site: Site) -> None:
    site.comes("ct", 4)
    keys = [key for _turn, _when, key in sorted(site.queue)]
    assert keys == [f"1.2.{number}:1" for number in range(1, 5)]


def test_what_waits_for_its_study_keeps_its_turn_and_holds_up_no_other(site: Site) -> None:
    site.comes("ct")
    [item] = revisions.unfinished(site.engine)
    before = min(site.queue)[0]
    site.queue.clear()
    with writing(site.engine) as connection:
        revisions.requeue(connection, site.jobs, item, "", 10.0, event=SeriesEvent.WAITS)
    assert [turn for turn, _when, _key in site.queue] == [before]
    waiting = site.queue.pop()
    site.comes("ct", 3)
    site.analysed(2)
    site.comes("pacs")
    assert site.analysed(2) == ["ct", "pacs"]
    assert waiting[0] == before


def test_an_older_database_gives_its_revisions_the_priority_of_their_source(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = open_engine(url)
    monkeypatch.setattr(command, "upgrade", partial(_upgrade_to, command.upgrade, "0008"))
    migrate(engine)
    monkeypatch.undo()
    with writing(engine) as connection:
        connection.execute(sa.text("INSERT INTO study VALUES ('1.2', 'P1', '', 'stroke', 0)"))
        connection.execute(
            sa.text(
                "INSERT INTO series VALUES "
                "('1.2.3', '1.2', 'CT', '', 'stroke', 3, 1.0, 'complete', 0, 0, 1)"
            )
        )
        connection.execute(
            sa.text(
                "INSERT INTO revision (key, series_instance_uid, number, state, evidence, attempt, "
                "last_received_at, completed_at) "
                "VALUES ('1.2.3:1', '1.2.3', 1, 'complete', 'quiet', 1, 0, 0)"
            )
        )
    migrate(engine)
    with engine.connect() as connection:
        assert connection.execute(sa.select(revision.c.turn)).scalar_one() == 300_000_000
    engine.dispose()


def _upgrade_to(upgrade: Callable[..., None], version: str, config: Config, _head: str) -> None:
    upgrade(config, version)
