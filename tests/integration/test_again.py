"""`retry`, `reprocess` and `resend` on a running node, as an administrator uses them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
import pytest

from deploy.demo.running import RunningNode, configuration, free_port, running_node, wait_for
from tests.support.archive import Archive, archive
from tests.support.sender import store
from tests.support.series import head_series, write
from training.tiny import write_tiny_bundle

_DEADLINE_S = 120.0


@dataclass
class Site:
    """A node with one PACS, which proves what it holds, and a study that was sent to the node."""

    node: RunningNode
    pacs: Archive
    study: str

    def wait_for(self, look: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait until the series of the study looks like this; return it."""

        def found() -> dict[str, Any] | None:
            story = self.node.show(self.study)
            return story["series"][0] if story and look(story["series"][0]) else None

        return wait_for(found, _DEADLINE_S, "series in the wanted state")

    def newest(self) -> int:
        """The number of the newest revision."""
        return int(self.wait_for(lambda _series: True)["revision"])

    def confirmed(self, revision: int) -> dict[str, Any]:
        """Wait until the PACS has proven to hold what is due of this revision."""
        return self.wait_for(lambda s: (s["state"], s["revision"]) == ("confirmed", revision))

    def stored(self) -> dict[str, bytes]:
        """What the PACS holds now."""
        return dict(self.pacs.held)


@contextmanager
def started(folder: Path, bundle: Path) -> Iterator[Site]:
    paths, port = write(head_series(3, 10), folder / "ct"), free_port()
    study = str(pydicom.dcmread(paths[0], stop_before_pixels=True).StudyInstanceUID)
    with archive(commits=True) as pacs:
        config = configuration(
            folder, port, [("pacs", "PACS", pacs.port)], bundle=str(bundle), quiet_seconds=0.5
        )
        with running_node(config, port) as node:
            assert set(store(port, paths)) == {0}
            made = Site(node, pacs, study)
            made.confirmed(revision=1)
            yield made


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Path) -> Iterator[Site]:
    with started(tmp_path_factory.mktemp("again"), tiny_bundle) as made:
        yield made


def asked(site: Site, *command: str) -> list[str]:
    done = site.node.command(*command, "--json")
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout))


def test_what_a_pacs_lost_comes_again_byte_for_byte(site: Site) -> None:
    before, series = site.stored(), site.confirmed(site.newest())
    site.pacs.held.clear()
    assert asked(site, "resend", site.study) == [
        f"series {series['series_instance_uid']}: sent to pacs"
    ]
    site.confirmed(site.newest())
    assert site.stored() == before


def test_the_same_work_gives_the_same_objects(site: Site) -> None:
    """`reprocess` with the same model: a new revision with the very objects of the first."""
    before, newest = site.stored(), site.newest()
    site.pacs.held.clear()
    asked(site, "reprocess", site.study)
    series = site.confirmed(newest + 1)
    assert site.stored() == before
    first, second = series["revisions"][-2:]
    assert first["results"] == second["results"]


def test_another_model_gives_other_objects(tmp_path: Path, tiny_bundle: Path) -> None:
    """Never other bytes under a UID that is known."""
    with started(tmp_path, tiny_bundle) as site:
        before = site.stored()
        site.node.process.terminate()
        site.node.process.wait(60)
        write_tiny_bundle(tmp_path / "other", seed=1)
        config = site.node.config
        lines = [
            f'bundle = "{tmp_path / "other"}"' if line.startswith("bundle") else line
            for line in config.read_text().splitlines()
        ]
        config.write_text("\n".join(lines) + "\n")
        with running_node(config, site.node.port):
            asked(site, "reprocess", site.study)
            site.confirmed(revision=2)
        after = site.stored()
    assert before.items() <= after.items()
    assert len(after) == 2 * len(before) == 4


def test_what_cannot_be_done_is_said(site: Site) -> None:
    """Nothing failed; no such study; no such destination: each in words, never a traceback."""
    site.confirmed(site.newest())
    done = site.node.command("retry", site.study)
    assert (done.returncode, done.stdout.split(";")[0]) == (0, "nothing to do")
    for command in ("retry", "reprocess", "resend"):
        done = site.node.command(command, "1.2.3.4")
        assert done.returncode == 1
        assert "no study 1.2.3.4 has come" in done.stderr
        assert "Traceback" not in done.stderr
    done = site.node.command("resend", site.study, "--destination", "elsewhere")
    assert done.returncode == 2
    assert "configured: pacs" in done.stderr


def test_the_commands_print_as_json_what_the_other_tests_read(site: Site) -> None:
    story = site.confirmed(site.newest())
    [listed] = json.loads(site.node.command("studies", "--json").stdout)
    assert [listed] == site.node.studies()
    shown = json.loads(site.node.command("show", site.study, "--json").stdout)
    assert shown == site.node.show(site.study)
    assert shown["series"] == [story]
