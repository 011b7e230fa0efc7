"""A PACS that is away gets its results when it is back; one that refuses is named."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest

from deploy.demo.running import RunningNode, configuration, free_port, running_node, wait_for
from ich_node.deliver.standin import StandInPacs
from ich_node.selftest.series import write_series
from tests.support.modes import open_to_others
from tests.support.sender import store
from training.simulate import simulate_head

_DEADLINE_S = 120.0


@pytest.fixture
def series(tmp_path: Path) -> list[Path]:
    head = simulate_head(900_100, ("intraparenchymal",), matrix=128)
    return write_series(head.hu, tmp_path / "ct", spacing_mm=head.spacing_mm, seed=900_100)


def delivery(node: RunningNode, paths: list[Path], state: str) -> dict:
    """Wait until the delivery of a study is in a state."""
    study = str(pydicom.dcmread(paths[0], stop_before_pixels=True).StudyInstanceUID)

    def look() -> dict | None:
        story = node.show(study)
        revisions = story["series"][0]["revisions"] if story else []
        found = [item for revision in revisions for item in revision["deliveries"]]
        return found[0] if found and found[0]["state"] == state else None

    return wait_for(look, _DEADLINE_S, f"delivery in state {state}")


# EventID and outcome of audit messages (PS3.15 A.5.3).
TOLD = {("110100", "0"), ("110102", "0"), ("110104", "0"), ("110104", "4"), ("110103", "0")}


def told(folder: Path) -> set[tuple[str, ...]]:
    path = folder / "ich-node-data" / "audit.xml"
    text = path.read_text() if path.is_file() else ""
    both = r'EventOutcomeIndicator="(\d+)"><EventID csd-code="(\d+)"'
    return {(event, outcome) for outcome, event in re.findall(both, text)}


@pytest.fixture
def usual_umask() -> Iterator[None]:
    """What a shell has, whatever tests before made of it."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.mark.usefixtures("usual_umask")
def test_the_trail_tells_what_came_and_went_and_nobody_else_reads_it(
    tmp_path: Path, series: list[Path], tiny_bundle: Path
) -> None:
    """Of a study for a PACS that is away: what came, the analysis, what was not sent, what was.

    Nobody else may read anything of what the node wrote meanwhile.
    """
    pacs_port, port = free_port(), free_port()
    config = configuration(
        tmp_path, port, [("pacs", "PACS", pacs_port)], bundle=str(tiny_bundle), quiet_seconds=0.5
    )
    with config.open("a") as file:
        file.write('[audit]\nfile = "ich-node-data/audit.xml"\n')
    with running_node(config, port) as node:
        assert set(store(port, series)) == {0}
        waiting = delivery(node, series, "retrying")
        assert "next attempt in" in waiting["text"]
        pacs = StandInPacs.start(tmp_path / "pacs", port=pacs_port)
        try:
            done = delivery(node, series, "delivered")
            wait_for(lambda: told(tmp_path) >= TOLD, _DEADLINE_S, "the audit messages")
        finally:
            pacs.stop()
    assert done["attempt"] >= 2
    received = Counter(pydicom.dcmread(path).Modality for path in pacs.received())
    assert received == {"SEG": 1, "SR": 1}
    assert open_to_others(tmp_path / "ich-node-data") == []
    kinds = [entry["kind"] for entry in json.loads(node.command("audit", "--json").stdout)]
    expected = ["started", "transfer_begun", "transferred", "inferred", "reported"]
    expected += ["delivery_postponed", "delivery_begun", "delivery_stored", "stopped"]
    assert [kind for kind in dict.fromkeys(kinds) if kind in expected] == expected
