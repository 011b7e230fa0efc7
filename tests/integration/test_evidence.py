"""A running node reads a series seconds after its last image, however long its quiet time is."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest

from deploy.demo.running import RunningNode, configuration, free_port, running_node, wait_for
from ich_node.selftest.head import load_head
from ich_node.selftest.series import write_series
from tests.support.orthanc import AE_TITLE, Orthanc
from tests.support.sender import store

pytestmark = pytest.mark.alone

_QUIET_S = 300.0
_DEADLINE_S = 60.0
_ENDED = ("reported", "delivered", "confirmed", "refused", "failed")


def head_files(folder: Path, seed: int, every: int = 1) -> list[Path]:
    """A whole head, inferior slice first; `every` leaves out slices and widens their spacing."""
    head = load_head(seed)
    slices, rows, columns = head.spacing_mm
    hu = head.hu[::every, ::4, ::4]
    spacing = (slices * every, 4 * rows, 4 * columns)
    return write_series(hu, folder, spacing_mm=spacing, seed=seed)


def analysed(node: RunningNode, paths: list[Path]) -> dict[str, Any]:
    """The story of the only series of a study once it is analysed."""
    study = str(pydicom.dcmread(paths[0], stop_before_pixels=True).StudyInstanceUID)

    def look() -> dict[str, Any] | None:
        story = node.show(study)
        ended = story is not None and story["series"][0]["state"] in _ENDED
        return story["series"][0] if story is not None and ended else None

    return wait_for(look, _DEADLINE_S, "analysed series")


def seconds_to_start(series: dict[str, Any]) -> float:
    """From the last image to the start of the analysis."""
    [revision] = series["revisions"]
    return float(revision["timings_s"]["complete"] + revision["timings_s"]["queue"])


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Path) -> Iterator[RunningNode]:
    """A node without destinations that nobody's silence tells anything."""
    port = free_port()
    folder = tmp_path_factory.mktemp("node")
    config = configuration(folder, port, [], quiet_seconds=_QUIET_S, bundle=str(tiny_bundle))
    with running_node(config, port) as running:
        yield running


def test_geometry_alone_starts_the_analysis_within_3_s(tmp_path: Path, node: RunningNode) -> None:
    found = []
    for seed in range(3):
        paths = head_files(tmp_path / f"{seed}", seed)
        assert set(store(node.port, paths)) == {0}
        found.append(analysed(node, paths))
    took = [seconds_to_start(series) for series in found[1:]]  # the worker loads its model first
    print(f"geometry alone: {', '.join(f'{seconds:.2f} s' for seconds in took)}")
    assert all(series["evidence"].startswith("geometry: 32 instances") for series in found)
    assert max(took) < 3.0


def test_one_association_per_image_2_s_apart_is_analysed_once_and_whole(
    tmp_path: Path, node: RunningNode
) -> None:
    """From below and from above, by two senders at once."""
    up = head_files(tmp_path / "up", 3, every=3)
    down = head_files(tmp_path / "down", 4, every=3)
    for below, above in zip(up, reversed(down), strict=True):
        due = time.monotonic() + 2.0
        assert store(node.port, [below]) + store(node.port, [above]) == [0, 0]
        time.sleep(max(0.0, due - time.monotonic()))  # the senders' pace is what is tested
    for paths in (up, down):
        series = analysed(node, paths)
        assert series["instances"] == len(paths) == 11
        assert len(series["revisions"]) == 1
        assert series["evidence"].startswith("geometry: 11 instances")


@pytest.mark.orthanc
def test_an_equal_count_in_the_pacs_starts_the_analysis_within_1_s(
    tmp_path: Path, tiny_bundle: Path, orthanc: Orthanc
) -> None:
    """The router's way: the PACS has the series, and sends it on."""
    port = free_port()
    config = configuration(
        tmp_path / "node",
        port,
        [("orthanc", AE_TITLE, orthanc.dicom_port)],
        quiet_seconds=_QUIET_S,
        bundle=str(tiny_bundle),
        query="orthanc",
    )
    found = []
    with running_node(config, port) as node:
        for seed in range(3):
            paths = head_files(tmp_path / f"{seed}", seed)[:20]  # geometry alone sees no whole head
            assert set(store(orthanc.dicom_port, paths, called=AE_TITLE)) == {0}
            assert set(store(port, paths)) == {0}
            found.append(analysed(node, paths))
    took = [seconds_to_start(series) for series in found[1:]]  # the worker loads its model first
    print(f"by C-FIND: {', '.join(f'{seconds:.2f} s' for seconds in took)}")
    assert {series["evidence"] for series in found} == {
        "C-FIND counts 20 instances in the PACS, all came"
    }
    assert max(took) < 1.0
