"""The corpus of a seed through the soak: `make soak` goes on where these end."""

import json
import socket
from pathlib import Path

import pytest
from pydicom.uid import JPEG2000Lossless

from tests.soak.files import soak_files
from tests.soak.pdus import faults_in, soak_pdus, sound_pdus
from tests.soak.sending import send_damaged
from tests.support.wire import accept, bare_server, read_pdu


@pytest.mark.filterwarnings("ignore")
def test_damaged_files_are_each_refused_with_a_reason_or_read(tmp_path: Path) -> None:
    report = soak_files(400, 2026, tmp_path)
    assert report.unclear == {}
    assert report.reasons["assembled"] > 0
    assert report.reasons["unreadable"] > 0
    assert report.reports["refused"] > 0
    assert report.classes["Enhanced CT Image Storage"] > 0
    assert report.classes["Legacy Converted Enhanced CT Image Storage"] > 0
    assert report.statuses["0000H"] > 0
    assert report.statuses["C000H"] > 0
    assert report.slowest_s < 30


@pytest.mark.dcmtk
def test_code_streams_that_only_gdcm_reads_are_damaged_too(tmp_path: Path) -> None:
    report = soak_files(80, 2027, tmp_path)
    assert {name for name in report.syntaxes if name.startswith("JPEG ")} - {JPEG2000Lossless.name}
    assert report.unclear == {}


def test_damaged_pdus_are_answered_and_leave_the_receiver_well_and_small(tmp_path: Path) -> None:
    report = soak_pdus(2500, 2026, tmp_path / "wire")
    assert report.faults == []
    assert report.pdus >= 2500
    assert report.sound_objects >= 2
    assert {"0000H", "0211H", "A900H", "C000H"} <= set(report.statuses)
    assert {"0106H", "0115H", "0120H", "0131H"} <= set(report.statuses)  # of lists of instances
    assert report.rss_mb < 1000
    assert report.threads < 64


def _accept_and_close_after_one_pdu(connection: socket.socket) -> None:
    accept(connection)
    read_pdu(connection)


def test_pdus_that_nobody_has_read_are_not_counted() -> None:
    """And a request without its answer is a fault, said with what repeats it."""
    with bare_server(_accept_and_close_after_one_pdu) as port:
        tally = send_damaged(sound_pdus(), port, "2026.1", 1000)
    assert tally.pdus < 10  # of the damaged requests for an association before it, one each
    (fault,) = tally.faults
    assert fault.startswith(f"connection {tally.connections} of seed 2026.1: ")


def test_a_fault_of_ours_in_the_receivers_log_is_a_fault(tmp_path: Path) -> None:
    log = tmp_path / "receiver.log"
    refused = {"level": "warning", "event": "object refused"}
    ended = {"level": "error", "event": "an association ended by a fault", "error": "KeyError"}
    log.write_text("\n".join(json.dumps(line) for line in (refused, ended, ended)) + "\n")
    assert faults_in(log) == [
        "the log says 2 times: an association ended by a fault (KeyError)",
    ]
    log.write_text("Traceback (most recent call last):\n")
    assert faults_in(log) == ["the log says 1 times: Traceback (most recent call last):"]
