"""A database with one complete series of one image, and its job."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ich_node.states import SeriesEvent
from ich_node.store import deliveries, instances, revisions
from ich_node.store import jobs as job_port
from ich_node.store.engine import Engine, migrate, open_engine, writing
from ich_node.store.jobs import Jobs
from tests.unit.store.conftest import FIRST

KEY = "1.2.3:1"


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    opened = open_engine(f"sqlite:///{tmp_path / 'ich-node.sqlite'}")
    migrate(opened)
    yield opened
    opened.dispose()


@pytest.fixture
def jobs(engine: Engine) -> Iterator[Jobs]:
    with opened_jobs(engine) as opened:
        instances.add(engine, FIRST, priority=5, quiet_seconds=1.0)
        [found] = revisions.receiving(engine)
        assert revisions.open_revision(engine, opened, found, "quiet") == KEY
        yield opened


@contextmanager
def opened_jobs(engine: Engine) -> Iterator[Jobs]:
    """The queues of a database that has none yet."""
    url = str(engine.url)
    job_port.prepare(url)
    opened = job_port.open_jobs(url)
    try:
        yield opened
    finally:
        opened.destroy()


def report(engine: Engine, jobs: Jobs) -> None:
    with writing(engine) as connection:
        for event in (SeriesEvent.ASSEMBLED, SeriesEvent.INFERRED, SeriesEvent.REPORTED):
            revisions.apply(connection, KEY, event, "done")
        deliveries.open_deliveries(connection, jobs, KEY, ["pacs"])
