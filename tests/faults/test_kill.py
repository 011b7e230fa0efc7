"""Killed with SIGKILL in the middle of an analysis, a study is finished after the restart, once."""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path

import pydicom
import pytest

from deploy.demo.pacs import StandInPacs
from deploy.demo.running import RunningNode, configuration, free_port, running_node, wait_for
from ich_node.settings import load_settings
from ich_node.store import overview
from ich_node.store.engine import Engine, open_engine
from tests.support.sender import store
from training.simulate import simulate_head
from training.simulate.dicom import write_series
from training.tiny import write_tiny_bundle

_DEADLINE_S = 180.0


def children(process: int) -> dict[str, int]:
    """Names of a node's processes and their ids."""
    found = {}
    for child in Path(f"/proc/{process}/task/{process}/children").read_text().split():
        arguments = Path(f"/proc/{child}/cmdline").read_text().split("\0")
        found[arguments[3]] = int(child)
    return found


def states(engine: Engine, study: str) -> list[str]:
    listed = {item["study_instance_uid"]: item for item in overview.studies(engine)}
    return [series["state"] for series in listed[study]["series"]] if study in listed else []


def wait_for_state(engine: Engine, study: str, wanted: tuple[str, ...]) -> None:
    wait_for(
        lambda: states(engine, study)[:1] and states(engine, study)[0] in wanted,
        _DEADLINE_S,
        f"state of {wanted}",
    )


@pytest.mark.parametrize("whole_group", [False, True], ids=["worker", "whole group"])
def test_a_killed_analysis_is_finished_once(tmp_path: Path, whole_group: bool) -> None:
    """The PACS holds one SEG and one SR, and every acknowledged image is still there."""
    head = simulate_head(900_300, ("intraparenchymal",), matrix=256)
    paths = write_series(head.hu, tmp_path / "ct", spacing_mm=head.spacing_mm, seed=900_300)
    study = str(pydicom.dcmread(paths[0]).StudyInstanceUID)
    bundle = write_tiny_bundle(tmp_path / "bundle")
    pacs = StandInPacs.start(tmp_path / "pacs")
    port = free_port()
    config = configuration(
        tmp_path, port, [("pacs", "PACS", pacs.port)], bundle=str(bundle), quiet_seconds=1.0
    )
    engine = open_engine(load_settings(config).database_url)
    try:
        with running_node(config, port) as node:
            store(port, paths)
            wait_for_state(engine, study, ("assembled", "inferred"))
            kill(node, whole_group)
            if not whole_group:
                wait_for_state(engine, study, ("delivered",))
        if whole_group:
            with running_node(config, port):
                wait_for_state(engine, study, ("delivered",))
        received = Counter(pydicom.dcmread(path).Modality for path in pacs.received())
    finally:
        pacs.stop()
    assert received == {"SEG": 1, "SR": 1}
    story = overview.show(engine, study)
    assert story["series"][0]["instances"] == len(paths)
    assert [event["kind"] for event in story["events"]].count("reported") == 1


def kill(node: RunningNode, whole_group: bool) -> None:
    running = children(node.process.pid)
    chosen = [node.process.pid, *running.values()] if whole_group else [running["work"]]
    for process in chosen:
        os.kill(process, signal.SIGKILL)
