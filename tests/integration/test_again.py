"""`retry`, `reprocess` and `resend` on a running node, as an administrator uses them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
import pytest

from deploy.demo.running import RunningNode, configuration, free_port, running_node, wait_for
from ich_node.deliver.standin import StandInPacs
from tests.support.sender import store
from tests.support.series import head_series, write
from training.tiny import write_tiny_bundle

_DEADLINE_S = 120.0


@dataclass
class Site:
    """A node with one PACS, and a study that was sent to it."""

    folder: Path
    node: RunningNode
    pacs: StandInPacs
    study: str

    def wait_for(self, look: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait until the series of the study looks like this; return it."""

        def found() -> dict[str, Any] | None:
            story = self.node.show(self.study)
            return story["series"][0] if story and look(story["series"][0]) else None

        return wait_for(found, _DEADLINE_S, "series in the wanted state")

    def delivered(self, revision: int = 1) -> dict[str, Any]:
        """Wait until this revision is delivered."""
        return self.wait_for(lambda s: (s["state"], s["revision"]) == ("delivered", revision))

    def stored(self) -> dict[str, bytes]:
        """What the PACS holds now."""
        return {path.name: path.read_bytes() for path in self.pacs.received()}

    def lose_everything(self) -> None:
        for path in self.pacs.received():
            path.unlink()


@pytest.fixture
def site(tmp_path: Path, tiny_bundle: Path) -> Iterator[Site]:
    paths = write(head_series(3, 10), tmp_path / "ct")
    pacs, port = StandInPacs.start(tmp_path / "pacs"), free_port()
    config = configuration(
        tmp_path, port, [("pacs", "PACS", pacs.port)], bundle=str(tiny_bundle), quiet_seconds=0.5
    )
    study = str(pydicom.dcmread(paths[0], stop_before_pixels=True).StudyInstanceUID)
    try:
        with running_node(config, port) as node:
            assert set(store(port, paths)) == {0}
            made = Site(tmp_path, node, pacs, study)
            made.delivered()
            yield made
    finally:
        pacs.stop()


def asked(site: Site, *command: str) -> list[str]:
    done = site.node.command(*command, "--json")
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout))


def test_what_a_pacs_lost_comes_again_byte_for_byte(site: Site) -> None:
    before = site.stored()
    site.lose_everything()
    assert asked(site, "resend", site.study) == [
        f"series {site.delivered()['series_instance_uid']}: sent to pacs"
    ]
    wait_for(lambda: len(site.stored()) == 2, _DEADLINE_S, "resent objects")
    assert site.stored() == before


def test_the_same_work_gives_the_same_objects(site: Site) -> None:
    """`reprocess` with the same model: a new revision with the very objects of the first."""
    before = site.stored()
    site.lose_everything()
    asked(site, "reprocess", site.study)
    series = site.delivered(revision=2)
    assert site.stored() == before
    first, second = series["revisions"]
    assert first["results"] == second["results"]


def test_another_model_gives_other_objects(site: Site) -> None:
    """Never other bytes under a UID that is known."""
    before = site.stored()
    write_tiny_bundle(site.folder / "other", seed=1)
    config = site.folder / "node.toml"
    text = config.read_text()
    lines = [
        f'bundle = "{site.folder / "other"}"' if line.startswith("bundle") else line
        for line in text.splitlines()
    ]
    config.write_text("\n".join(lines) + "\n")
    site.node.process.terminate()
    site.node.process.wait(60)
    with running_node(config, site.node.port):
        asked(site, "reprocess", site.study)
        site.delivered(revision=2)
    after = site.stored()
    assert before.items() <= after.items()
    assert len(after) == 2 * len(before)


def test_what_cannot_be_done_is_said(site: Site) -> None:
    """No such study; no such destination; nothing to do: each in words, never a traceback."""
    for command in ("retry", "reprocess", "resend"):
        done = site.node.command(command, "1.2.3.4")
        assert done.returncode == 1
        assert "no study 1.2.3.4 has come" in done.stderr
        assert "Traceback" not in done.stderr
    done = site.node.command("resend", site.study, "--destination", "elsewhere")
    assert done.returncode == 2
    assert "configured: pacs" in done.stderr
    uid = site.delivered()["series_instance_uid"]
    assert asked(site, "retry", site.study) == [f"series {uid}: proof asked for again from pacs"], (
        "`auto` asks whenever it is told to"
    )
    config = site.folder / "node.toml"
    config.write_text(f'{config.read_text()}commitment = "off"\n')
    done = site.node.command("retry", site.study)
    assert (done.returncode, done.stdout.split(";")[0]) == (0, "nothing to do")
