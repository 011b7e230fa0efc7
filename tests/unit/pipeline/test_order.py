"""The engine takes complete series by the priority of their source, and sources in turns."""

from dataclasses import replace
from pathlib import Path

import pytest
from dbos import DBOS
from dbos._dbos import _get_dbos_instance

from deploy.demo.running import wait_for
from ich_node.pipeline import engine as durable
from ich_node.store import instances, revisions
from ich_node.store import jobs as job_port
from ich_node.store.engine import migrate, open_engine
from tests.unit.store.conftest import FIRST

PRIORITY = {"ct": 5, "pacs": 5, "stroke": 1, "research": 9}
COMES = ["research", "ct", "ct", "ct", "ct", "pacs", "pacs", "stroke"]
IS_TAKEN = ["stroke", "ct", "pacs", "ct", "pacs", "ct", "ct", "research"]


def test_a_source_of_high_priority_goes_first_and_a_noisy_one_starves_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(durable, "MESSAGES_S", 0.1)  # the engine's whole end waits for this
    # Of another name than the workflow that other tests of the process may have registered.
    monkeypatch.setattr(job_port, "ANALYSE_WORKFLOW", "taken in order")
    url = f"sqlite:///{tmp_path / 'ich-node.sqlite'}"
    engine = open_engine(url)
    migrate(engine)
    job_port.prepare(url)
    jobs = job_port.open_jobs(url)
    source_of = {}
    for number, source in enumerate(COMES):
        uid = f"1.2.{number}"
        one = replace(FIRST, sop_instance_uid=f"{uid}.1", series_instance_uid=uid, source=source)
        instances.add(engine, one, priority=PRIORITY[source], quiet_seconds=1.0)
        [found] = revisions.receiving(engine)
        key = revisions.open_revision(engine, jobs, found, "quiet")
        source_of[key] = source
    taken: list[str] = []
    durable.configure(url, "worker-0")

    @DBOS.workflow(name=job_port.ANALYSE_WORKFLOW)
    def analyse(key: str) -> None:
        taken.append(source_of[key])

    durable.launch({job_port.ANALYSE_QUEUE: 1})
    try:
        wait_for(lambda: len(taken) == len(COMES), 60, "end of the queue")
        pool = _get_dbos_instance()._sys_db.engine.pool
        assert pool._pool.use_lifo, "every connection of the engine grows a page cache"
    finally:
        DBOS.destroy()
        jobs.destroy()
        engine.dispose()
    assert taken == IS_TAKEN
