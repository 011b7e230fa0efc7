"""Other people's programs as peers: DCMTK's storescu into us, and us into its storescp."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.uid import (
    ComprehensiveSRStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
    SegmentationStorage,
)

from deploy.demo.running import free_port, wait_for
from ich_node.deliver.scu import echo, send
from ich_node.selftest.series import save
from ich_node.store.tables import instance
from tests.support.dcmtk import storescu
from tests.support.peers import Listening, data_of, destination, small_object
from tests.support.series import head_series, write

pytestmark = pytest.mark.dcmtk


def test_a_series_from_storescu_is_kept_byte_for_byte(node: Listening, tmp_path: Path) -> None:
    paths = write(head_series(), tmp_path / "ct")
    done = storescu(node.receiver.port, paths)
    assert done.returncode == 0, done.stdout + done.stderr
    kept = {row["sop_instance_uid"]: Path(row["path"]) for row in node.rows(instance)}
    assert sorted(data_of(path) for path in kept.values()) == sorted(map(data_of, paths))


@pytest.mark.parametrize(
    ("syntax", "option"),
    [
        (ImplicitVRLittleEndian, "-xi"),
        (ExplicitVRBigEndian, "-xb"),
        (DeflatedExplicitVRLittleEndian, "-xd"),
        (JPEGLSLossless, "-xt"),
        (JPEG2000Lossless, "-xv"),
        (RLELossless, "-xr"),
    ],
    ids=lambda value: value if str(value).startswith("-") else "",
)
def test_storescu_proposes_each_encoding_and_it_is_taken(
    node: Listening, tmp_path: Path, syntax: str, option: str
) -> None:
    (path,) = write(head_series(slices=1), tmp_path / "ct", syntax)
    done = storescu(node.receiver.port, [path], options=[option])
    assert done.returncode == 0, done.stdout + done.stderr
    assert [row["transfer_syntax_uid"] for row in node.rows(instance)] == [syntax]


def test_storescu_under_a_strange_name_is_told_why(node: Listening, tmp_path: Path) -> None:
    paths = write(head_series(slices=1), tmp_path / "ct")
    done = storescu(node.receiver.port, paths, calling="STRANGER")
    assert done.returncode != 0
    assert "Calling AE Title Not Recognized" in done.stdout + done.stderr
    assert node.rows(instance) == []


@pytest.fixture(params=[(), ("+xi",)], ids=["any encoding", "implicit only"])
def storescp(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """DCMTK's storescp: its port and the folder it writes to, bit for bit as received."""
    folder, port = tmp_path / "storescp", free_port()
    folder.mkdir()
    process = subprocess.Popen(
        ["/usr/bin/storescp", *request.param, "+B", "-aet", "PACS", "-od", str(folder), str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(lambda: echo(destination(port), "ICH_NODE")[0], 20, "answering storescp")
        yield port, folder
    finally:
        process.terminate()
        process.wait(20)


def test_storescp_gets_segmentation_and_report(
    storescp: tuple[int, Path], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    port, folder = storescp
    objects = []
    for number, sop_class in enumerate((SegmentationStorage, ComprehensiveSRStorage), start=1):
        path = tmp_path / f"{number}.dcm"
        save(small_object(number, sop_class), path)
        objects.append((str(number), path))
    assert [verdict.stored for verdict in send(destination(port), "ICH_NODE", objects)] == [
        True,
        True,
    ]
    arrived = sorted(data_of(path) for path in folder.iterdir())
    syntax = ImplicitVRLittleEndian if "implicit" in request.node.name else ExplicitVRLittleEndian
    expected = []
    for number, sop_class in enumerate((SegmentationStorage, ComprehensiveSRStorage), start=1):
        path = tmp_path / f"expected-{number}.dcm"
        save(small_object(number, sop_class), path, syntax)
        expected.append(data_of(path))
    assert arrived == sorted(expected)
