"""Real peers as destinations of one real node: what each comes to, and why.

All get the same study at once, so each also proves that the others hold up nothing. The matrix of
faults is in tests/protocol/test_destinations.py, without waiting.
"""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.uid import (
    Comprehensive3DSRStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

from deploy.demo.running import RunningNode, configuration, free_port, running_node, wait_for
from ich_node.deliver.scu import echo
from ich_node.settings import Destination
from tests.support.archive import Archive, archive
from tests.support.orthanc import AE_TITLE, Orthanc, running_orthanc
from tests.support.peers import data_of
from tests.support.sender import store
from tests.support.series import head_series, write

_DEADLINE_S = 120.0
_SLICES = 10
_NO_SEG = (Comprehensive3DSRStorage, SecondaryCaptureImageStorage)
_STORESCP = Path("/usr/bin/storescp")


@dataclass
class Site:
    """A node, its destinations by name, and the study that it sends to all of them."""

    node: RunningNode
    study: str
    ports: dict[str, int]
    folder: Path
    orthancs: dict[str, Orthanc]
    no_seg: Archive
    hanging: threading.Event

    def ended(self, name: str, *states: str) -> tuple[dict[str, Any], dict[str, bytes]]:
        """Wait until the delivery to a destination is in a state; return it, and what was built.

        That is the data set of each kept object, by SOP Instance UID.
        """

        def look() -> tuple[dict[str, Any], dict[str, bytes]] | None:
            delivery, built = self.now(name)
            return (delivery, built) if delivery.get("state") in states else None

        return wait_for(look, _DEADLINE_S, f"{name} in a state of {states}; see {self.node.log}")

    def now(self, name: str) -> tuple[dict[str, Any], dict[str, bytes]]:
        story = self.node.show(self.study)
        for revision in story["series"][0]["revisions"] if story else []:
            built = {
                item["sop_instance_uid"]: data_of(Path(item["path"]))
                for item in revision["results"]
                if item["kind"] in _KINDS.get(name, ("seg", "sr"))
            }
            found = [item for item in revision["deliveries"] if item["destination"] == name]
            if found:
                return found[0], built
        return {}, {}


_KINDS = {"no_seg": ("sr", "sc")}


@contextmanager
def storescp(folder: Path, port: int) -> Iterator[None]:
    """Run DCMTK's storescp, which knows C-ECHO and C-STORE alone."""
    folder.mkdir()
    command = [str(_STORESCP), "-od", str(folder), "-aet", "PACS", "+xe", str(port)]
    process = subprocess.Popen(command)
    there = Destination(name="pacs", ae_title="PACS", host="127.0.0.1", port=port)
    try:
        wait_for(lambda: echo(there, "ICH_NODE")[0], 20, "answering storescp")
        yield
    finally:
        process.terminate()
        process.wait(30)


def refuse_seg(event: Any) -> int:
    return 0xA900 if event.request.AffectedSOPClassUID == SegmentationStorage else 0x0000


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Path) -> Iterator[Site]:
    """Programs that are not installed are destinations that are not there."""
    folder = tmp_path_factory.mktemp("destinations")
    paths = write(head_series(5, _SLICES), folder / "ct")
    port, hanging, over = free_port(), threading.Event(), threading.Event()
    ports = {name: free_port() for name in ("knows_us", "knows_us_not", "storescp", "away")}
    orthancs: dict[str, Orthanc] = {}
    with ExitStack() as peers:
        if shutil.which("Orthanc"):
            for name, reports_to in (("knows_us", port), ("knows_us_not", None)):
                running = running_orthanc(folder / name, reports_to=reports_to)
                orthancs[name] = peers.enter_context(running)
                ports[name] = orthancs[name].dicom_port
        if _STORESCP.exists():
            peers.enter_context(storescp(folder / "storescp", ports["storescp"]))
        ports["hangs"] = peers.enter_context(archive(answer=_hang(hanging, over))).port
        ports["refuses"] = peers.enter_context(archive(answer=refuse_seg)).port
        no_seg = peers.enter_context(archive(classes=_NO_SEG, commits=True))
        ports["no_seg"] = no_seg.port
        config = configuration(
            folder,
            port,
            [(n, AE_TITLE if n in orthancs else "PACS", port) for n, port in ports.items()],
            bundle=str(tiny_bundle),
            quiet_seconds=0.5,
            senders=("SENDER", AE_TITLE),
        )
        config.write_text(f'{config.read_text()}fallback = "sc"\n')  # of the last: no_seg
        with running_node(config, port) as node:
            assert set(store(port, paths)) == {0}
            study = str(pydicom.dcmread(paths[0], stop_before_pixels=True).StudyInstanceUID)
            yield Site(node, study, ports, folder, orthancs, no_seg, hanging)
            over.set()  # else the node would wait for it to the end of its patience


def _hang(reached: threading.Event, over: threading.Event) -> Callable[[Any], int]:
    def answer(_event: Any) -> int:
        reached.set()
        over.wait(300)
        return 0x0000

    return answer


def held(orthanc: Orthanc, folder: Path) -> dict[str, bytes]:
    """The data set of each object in an Orthanc, by SOP Instance UID."""
    return {
        tags["SOPInstanceUID"]: data_of(orthanc.file(tags["orthanc_id"], folder / "got.dcm"))
        for tags in orthanc.instances()
    }


@pytest.mark.orthanc
@pytest.mark.parametrize(
    ("name", "proof"), [("knows_us", "storage commitment"), ("knows_us_not", "C-FIND")]
)
def test_orthanc_confirms_by_storage_commitment_and_by_c_find_where_it_may_not_report(
    site: Site, tmp_path: Path, name: str, proof: str
) -> None:
    """It reports in an association of its own, which needs to be among our sources.

    What it holds is what was kept, byte for byte.
    """
    delivery, built = site.ended(name, "confirmed", "failed")
    assert delivery["proof"] == proof, delivery["text"]
    assert held(site.orthancs[name], tmp_path) == built


@pytest.mark.dcmtk
def test_storescp_can_prove_nothing_and_it_stays_delivered(site: Site) -> None:
    delivery, built = site.ended("storescp", "delivered", "confirmed", "failed")
    assert (delivery["state"], delivery["proof"]) == ("delivered", None)
    assert delivery["text"] == "stored, not proven: it offers no way to prove it"
    assert len(list((site.folder / "storescp").iterdir())) == len(built) == 2


def test_one_that_refuses_seg_gets_summary_and_overlay_and_confirms_them(site: Site) -> None:
    """Built because `fallback` asks for them, and sent byte for byte."""
    delivery, built = site.ended("no_seg", "confirmed", "failed")
    assert delivery["state"] == "confirmed", delivery["text"]
    assert len(built) == 1 + 1 + _SLICES
    assert site.no_seg.held == built
    checked = site.node.command("check").stdout
    assert "has not accepted Segmentation Storage" in checked
    assert "captures go instead" in checked


def test_a_permanent_refusal_stops_and_names_the_object(site: Site) -> None:
    """The SR is stored although the SEG is refused, and `show` says which and why."""
    delivery, _built = site.ended("refuses", "failed")
    assert delivery["text"].startswith("seg: refused, A900H")
    assert {item["kind"]: item["stored"] for item in delivery["verdicts"]} == {
        "seg": False,
        "sr": True,
    }


def test_one_that_hangs_in_a_c_store_is_waited_for_alone(site: Site) -> None:
    """Before anything comes of it, another has everything and has proven it."""
    assert site.hanging.wait(_DEADLINE_S)
    site.ended("no_seg", "confirmed")
    story = site.node.show(site.study)
    assert story is not None
    ended = [item for item in story["events"] if item["kind"].startswith("delivery_")]
    told = [item for item in ended if item["kind"] != "delivery_begun"]
    names = [item["text"].split(":")[0] for item in told]
    until = names.index("hangs") if "hangs" in names else len(names)
    assert names[:until].count("no_seg") == names.count("no_seg") > 0


def test_results_wait_for_a_pacs_that_is_away(site: Site) -> None:
    """Refused connections are tried again; once there, the PACS gets everything once."""
    waiting, built = site.ended("away", "retrying")
    assert "next attempt in" in waiting["text"]
    with archive(port=site.ports["away"]) as pacs:
        done, _built = site.ended("away", "delivered", "awaiting proof")
    assert done["attempt"] >= 2
    assert sorted(pacs.came) == sorted(built.items())
