"""A database that is overwritten or deleted under a running node: noticed, made anew, gone on."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from deploy.demo.running import wait_for
from ich_node.settings import load_settings
from ich_node.store.engine import open_engine
from tests.faults.striking import Struck, struck_node
from tests.support.series import head_series, write

_DEADLINE_S = 120.0
_ONCE = {"SEG": 1, "SR": 1}


def overwrite(database: Path) -> None:
    """Every byte, once the write-ahead log holds nothing that could stand for it."""

    def emptied() -> bool:
        with closing(sqlite3.connect(database, timeout=20)) as connection:
            [(busy, _log, _done)] = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            return not busy

    wait_for(emptied, 20, "checkpoint")
    with database.open("r+b") as file:
        file.write(os.urandom(database.stat().st_size))
        os.fsync(file.fileno())


def finish(node: Struck, study: str, times: int) -> None:
    """Wait until the PACS got a study's results so many times, and they are known to be there."""
    wait_for(
        lambda: sum(owner == study for owner, *_ in node.pacs.received) >= 2 * times,
        _DEADLINE_S,
        f"results, {times} times; log: {node.folder / 'node.log'}",
    )
    node.engine.dispose()
    node.engine = open_engine(str(node.engine.url))
    node.wait_for(study, "delivered")
    assert node.objects(study) == _ONCE


@pytest.mark.timeout(600)
def test_a_running_node_rebuilds_what_was_overwritten_and_what_was_deleted(
    tmp_path: Path, tiny_bundle: Path
) -> None:
    """The same results go out once more, no others; what comes meanwhile is finished too."""
    first, second, third = (
        write(head_series(number, 8), tmp_path / "ct" / str(number)) for number in (1, 2, 3)
    )
    with struck_node(tmp_path, tiny_bundle, []) as node:
        folder = load_settings(node.serving.config).storage.data_dir
        database, log = folder / "ich-node.sqlite", tmp_path / "node.log"
        study = node.send(first)
        finish(node, study, 1)
        overwrite(database)
        other = node.send(second)
        finish(node, other, 1)
        finish(node, study, 2)
        [aside] = folder.glob("ich-node.sqlite.damaged-*Z")
        assert not aside.read_bytes().startswith(b"SQLite")
        said = f"is kept as {aside.name}; which destinations were held is lost"
        assert log.read_text().count(said) == 1
        database.unlink()
        last = node.send(third)
        finish(node, last, 1)
        for known in (study, other):
            finish(node, known, 2 if known is other else 3)
        assert (
            log.read_text().count("the database was gone (it is not there); it is made anew") == 1
        )
    assert len(set(node.pacs.received)) == 6
    spool = load_settings(node.serving.config).spool_dir
    assert len(list(spool.rglob("*.dcm"))) == len(node.sent.acknowledged) == 24
