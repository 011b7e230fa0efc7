"""What hangs is replaced, what is told to stop drains, and whoever supervises us hears of it."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from deploy.demo.running import configuration, free_port, wait_for
from ich_node.settings import DATABASE_NAME, load_settings
from ich_node.store import overview
from ich_node.store.engine import open_engine
from tests.faults.actors import Sent, Serving, send_until_acknowledged
from tests.faults.striking import Rule, struck_node
from tests.support.series import head_series, write

_STATED_S = 30.0  # OPERATIONS.md
_ONCE = {"SEG": 1, "SR": 1}


def test_a_stopped_worker_is_replaced_and_its_study_finished_once(
    tmp_path: Path, tiny_bundle: Path
) -> None:
    """SIGSTOP in the middle of a stage: it says nothing any more, and is killed."""
    paths = write(head_series(1, 8), tmp_path / "ct")
    with struck_node(tmp_path, tiny_bundle, [Rule("infer.done", "stop")], patience_s=8.0) as node:
        study = node.send(paths)
        node.wait_for(study, "delivered")
        assert node.used() == 1
        assert node.objects(study) == _ONCE
    assert "process hangs; killed" in (tmp_path / "node.log").read_text()


def test_a_worker_whose_device_is_lost_is_replaced_and_its_study_finished_once(
    tmp_path: Path, tiny_bundle: Path
) -> None:
    """A GPU that has failed answers a new process only: the worker ends by itself, at once."""
    paths = write(head_series(1, 8), tmp_path / "ct")
    with struck_node(tmp_path, tiny_bundle, [Rule("infer.begun", "lose_device")]) as node:
        wait_for(lambda: "model loaded" in (tmp_path / "node.log").read_text(), 60, "loaded model")
        before = node.serving.children()
        study = node.send(paths)
        node.wait_for(study, "delivered")
        assert node.used() == 1
        assert node.objects(study) == _ONCE
        after = node.serving.children()
        assert [name for name in before if before[name] != after.get(name)] == ["work"]
    log = (tmp_path / "node.log").read_text()
    assert log.count("the device is lost; this process ends, another one starts") == 1
    assert "has failed: CUDA error: unspecified launch failure" in log


def test_a_stage_that_never_ends_is_ended(tmp_path: Path, tiny_bundle: Path) -> None:
    """The process itself lives and could go on telling so: the stage's limit silences it."""
    paths = write(head_series(1, 8), tmp_path / "ct")
    with struck_node(
        tmp_path, tiny_bundle, [Rule("report.done", "hang")], 8.0, limit_s=8.0
    ) as node:
        study = node.send(paths)
        node.wait_for(study, "delivered")
        assert node.used() == 1
        assert node.objects(study) == _ONCE
    assert "stage 'report' of" in (tmp_path / "node.log").read_text()


def test_a_database_that_another_program_holds_is_no_hanging(
    tmp_path: Path, tiny_bundle: Path
) -> None:
    """All wait for it for longer than the watchdog does; none is killed, and then they go on."""
    paths = write(head_series(1, 8), tmp_path / "ct")
    with struck_node(tmp_path, tiny_bundle, [], patience_s=8.0) as node:
        study = node.send(paths)
        before = node.serving.children()
        database = load_settings(node.serving.config).storage.data_dir / DATABASE_NAME
        held = sqlite3.connect(database, isolation_level=None, timeout=20)
        held.execute("BEGIN IMMEDIATE")
        time.sleep(12.0)  # what is tested: the time passes and nothing happens
        held.execute("ROLLBACK")
        held.close()
        node.wait_for(study, "delivered")
        assert node.serving.children() == before
        assert node.objects(study) == _ONCE


@pytest.mark.alone
def test_a_node_without_work_stops_at_once(
    serving: Callable[[], tuple[Serving, int]], tmp_path: Path
) -> None:
    node, _port = serving()
    wait_for(lambda: "model loaded" in (tmp_path / "node.log").read_text(), 60, "loaded model")
    began = time.monotonic()
    node.stop()
    assert time.monotonic() - began < 5.0
    assert node.process is not None
    assert node.process.returncode == 0
    assert "process ended" not in (tmp_path / "node.log").read_text()


def test_told_to_stop_in_a_stage_it_gives_the_stage_back(tmp_path: Path, tiny_bundle: Path) -> None:
    """It ends within the stated time whatever the stage does, and the next start finishes it."""
    paths = write(head_series(1, 8), tmp_path / "ct")
    with struck_node(tmp_path, tiny_bundle, [Rule("infer.done", "hang")]) as node:
        study = node.send(paths)
        wait_for(node.used, 60, "stage at hand")
        serving = node.serving
        assert serving.process is not None
        process, began = serving.process, time.monotonic()
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(2)
        process.terminate()  # a second time changes nothing
        code = process.wait(_STATED_S + 5)
        assert time.monotonic() - began < _STATED_S - 5  # it leaves by itself, nobody kills it
        assert code == 0
        node.wait_for(study, "delivered")  # the keeper has started it again
        assert node.objects(study) == _ONCE


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What `serve` tells systemd, in order."""
    address = str(tmp_path / "notify")
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listening.bind(address)
    listening.settimeout(0.2)
    heard: list[str] = []
    over = threading.Event()

    def listen() -> None:
        while not over.is_set():
            try:
                heard.extend(listening.recv(4096).decode().splitlines())
            except TimeoutError:
                continue

    thread = threading.Thread(target=listen)
    thread.start()
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    yield heard
    over.set()
    thread.join()
    listening.close()


@pytest.fixture
def serving(tmp_path: Path, tiny_bundle: Path) -> Iterator[Callable[[], tuple[Serving, int]]]:
    """Start a node without a PACS."""
    port = free_port()
    config = configuration(tmp_path, port, [], bundle=str(tiny_bundle), quiet_seconds=600.0)
    made = Serving(config)

    def start() -> tuple[Serving, int]:
        made.start()
        return made, port

    yield start
    made.stop()


def test_systemd_hears_that_it_is_ready_alive_and_stopping(
    told: list[str], serving: Callable[[], tuple[Serving, int]]
) -> None:
    node, port = serving()
    wait_for(lambda: "READY=1" in told, 60, "READY=1")
    socket.create_connection(("127.0.0.1", port), 5).close()
    wait_for(lambda: told.count("WATCHDOG=1") >= 2, 60, "second WATCHDOG=1")
    node.stop()
    wait_for(lambda: "STOPPING=1" in told, 10, "STOPPING=1")
    assert told.count("READY=1") == 1


def test_what_was_acknowledged_before_sigterm_is_there_after_it(
    tmp_path: Path, serving: Callable[[], tuple[Serving, int]]
) -> None:
    """An association that is running when the node is told to stop loses nothing."""
    paths = write(head_series(1, 200), tmp_path / "ct")
    node, port = serving()
    sent = Sent()
    sender = threading.Thread(target=send_until_acknowledged, args=(port, paths, sent))
    sender.start()
    wait_for(lambda: len(sent.acknowledged) > 20, 60, "running association")
    assert node.process is not None
    os.kill(node.process.pid, signal.SIGTERM)
    node.process.wait(_STATED_S + 5)
    known = len(sent.acknowledged)
    assert node.process.returncode == 0
    assert rows(node) >= known
    spool = load_settings(node.config).spool_dir
    assert len(list(spool.rglob("*.dcm"))) == rows(node)
    node.start()
    sender.join(60)
    assert len(sent.acknowledged) == len(paths) == rows(node)


def rows(node: Serving) -> int:
    engine = open_engine(load_settings(node.config).database_url)
    try:
        return sum(
            series["instances"] for item in overview.studies(engine) for series in item["series"]
        )
    finally:
        engine.dispose()
