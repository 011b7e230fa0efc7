"""Real peers as destinations of a real node: what each comes to, and why.

The matrix of faults is in tests/protocol/test_destinations.py, without waiting.
"""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import Comprehensive3DSRStorage, SecondaryCaptureImageStorage

from deploy.demo.running import RunningNode, configuration, free_port, running_node, wait_for
from ich_node.deliver.scu import echo
from ich_node.settings import Destination
from tests.support.archive import archive
from tests.support.orthanc import AE_TITLE, Orthanc, running_orthanc
from tests.support.peers import accept, bare_server, data_of, silent
from tests.support.sender import store
from tests.support.series import head_series, write

_DEADLINE_S = 120.0


@pytest.fixture
def series(tmp_path: Path) -> list[Path]:
    return write(head_series(5, 10), tmp_path / "ct")


def ended(node: RunningNode, paths: list[Path], *states: str) -> tuple[dict, dict]:
    """Wait until the delivery of a study has ended in a state; return it and its revision."""
    study = str(pydicom.dcmread(paths[0], stop_before_pixels=True).StudyInstanceUID)

    def look() -> tuple[dict, dict] | None:
        story = node.show(study)
        revisions = story["series"][0]["revisions"] if story else []
        found = [
            (item, one)
            for one in revisions
            for item in one["deliveries"]
            if item["destination"] == "pacs"
        ]
        return found[0] if found and found[0][0]["state"] in states else None

    return wait_for(look, _DEADLINE_S, f"delivery in a state of {states}; see {node.log}")


def sent_bytes(revision: dict) -> dict[str, bytes]:
    """The data set of each kept object, by SOP Instance UID."""
    return {item["sop_instance_uid"]: data_of(Path(item["path"])) for item in revision["results"]}


def orthanc_bytes(orthanc: Orthanc, folder: Path) -> dict[str, bytes]:
    return {
        tags["SOPInstanceUID"]: data_of(orthanc.file(tags["orthanc_id"], folder / "got.dcm"))
        for tags in orthanc.instances()
    }


@pytest.mark.orthanc
def test_orthanc_confirms_by_storage_commitment_and_by_c_find_where_it_may_not_report(
    tmp_path: Path, series: list[Path], tiny_bundle: Path
) -> None:
    """It reports in an association of its own, which needs to be among our sources.

    What it holds is what was kept, byte for byte; deleted there, it is sent again by `resend`.
    """
    port = free_port()
    with running_orthanc(tmp_path / "orthanc", reports_to=port) as orthanc:
        config = configuration(
            tmp_path,
            port,
            [("pacs", AE_TITLE, orthanc.dicom_port)],
            bundle=str(tiny_bundle),
            quiet_seconds=0.5,
            senders=("SENDER", AE_TITLE),
        )
        with running_node(config, port) as node:
            assert set(store(port, series)) == {0}
            delivery, revision = ended(node, series, "confirmed", "failed")
            assert delivery["proof"] == "storage commitment", delivery["text"]
            assert orthanc_bytes(orthanc, tmp_path) == sent_bytes(revision)
    with running_orthanc(tmp_path / "other") as orthanc:
        rewritten = config.read_text().splitlines()
        rewritten[-1] = f"port = {orthanc.dicom_port}"
        config.write_text("\n".join(rewritten) + "\n")
        with running_node(config, port) as node:
            study = str(pydicom.dcmread(series[0], stop_before_pixels=True).StudyInstanceUID)
            assert node.command("resend", study).returncode == 0
            delivery, revision = ended(node, series, "confirmed", "failed")
            assert delivery["proof"] == "C-FIND", delivery["text"]
            assert orthanc_bytes(orthanc, tmp_path) == sent_bytes(revision)
            [listed] = node.studies()
    assert listed["series"][0]["state"] == "confirmed"


@contextmanager
def storescp(folder: Path) -> Iterator[int]:
    """Run DCMTK's storescp, which knows C-ECHO and C-STORE alone."""
    folder.mkdir()
    port = free_port()
    command = ["/usr/bin/storescp", "-od", str(folder), "-aet", "PACS", "+xe", str(port)]
    process = subprocess.Popen(command)
    there = Destination(name="pacs", ae_title="PACS", host="127.0.0.1", port=port)
    try:
        wait_for(lambda: echo(there, "ICH_NODE")[0], 20, "answering storescp")
        yield port
    finally:
        process.terminate()
        process.wait(30)


@pytest.mark.dcmtk
def test_storescp_can_prove_nothing_and_it_stays_delivered(
    tmp_path: Path, series: list[Path], tiny_bundle: Path
) -> None:
    port = free_port()
    with storescp(tmp_path / "received") as pacs_port:
        to = [("pacs", "PACS", pacs_port)]
        config = configuration(tmp_path, port, to, bundle=str(tiny_bundle), quiet_seconds=0.5)
        with running_node(config, port) as node:
            store(port, series)
            delivery, revision = ended(node, series, "delivered", "confirmed", "failed")
    assert (delivery["state"], delivery["proof"]) == ("delivered", None)
    assert delivery["text"] == "stored, not proven: it offers no way to prove it"
    assert len(list((tmp_path / "received").iterdir())) == len(revision["results"]) == 2


def test_one_that_refuses_seg_gets_summary_and_overlay_and_confirms_them(
    tmp_path: Path, series: list[Path], tiny_bundle: Path
) -> None:
    """Built because `fallback` asks for them, and sent byte for byte.

    Another destination hangs meanwhile, in the middle of a C-STORE, and holds up nothing.
    """
    port, hanging = free_port(), free_port()
    reached = threading.Event()

    def hang(connection: socket.socket) -> None:
        accept(connection)
        reached.set()
        silent(connection)

    classes = (Comprehensive3DSRStorage, SecondaryCaptureImageStorage)
    with archive(classes=classes, commits=True) as pacs:
        to = [("hangs", "HANGS", hanging), ("pacs", "PACS", pacs.port)]
        config = configuration(tmp_path, port, to, bundle=str(tiny_bundle), quiet_seconds=0.5)
        config.write_text(f'{config.read_text()}fallback = "sc"\n')
        with running_node(config, port) as node:
            with bare_server(hang, hanging):
                store(port, series)
                delivery, revision = ended(node, series, "confirmed", "failed")
                assert reached.wait(_DEADLINE_S)
            checked = node.command("check").stdout
    assert delivery["state"] == "confirmed", delivery["text"]
    [other] = [item for item in revision["deliveries"] if item["destination"] == "hangs"]
    assert (other["state"], other["attempt"]) == ("pending", 1)
    captures = [item for item in revision["results"] if item["kind"] == "sc"]
    assert len(captures) == len(series) + 1
    kept = sent_bytes(revision)
    seg = {item["sop_instance_uid"] for item in revision["results"] if item["kind"] == "seg"}
    assert pacs.held == {uid: data for uid, data in kept.items() if uid not in seg}
    assert "has not accepted Segmentation Storage" in checked
    assert "captures go instead" in checked
