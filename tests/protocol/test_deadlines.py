"""A peer that answers byte by byte, or without end, is left in its time whatever it was asked."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset
from pydicom.uid import CTImageStorage
from pynetdicom import AE, evt
from pynetdicom.pdu import A_RELEASE_RQ
from pynetdicom.sop_class import (
    StorageCommitmentPushModel,
    StudyRootQueryRetrieveInformationModelFind,
    Verification,
)

from ich_node.deliver import proof, scu
from ich_node.deliver.commitment import report
from ich_node.deliver.query import QueryFailed, count_instances
from ich_node.deliver.scu import echo, send
from ich_node.selftest.series import save
from ich_node.settings import Destination, Tls
from ich_node.store.commitments import Commitment
from tests.support.certificates import authority
from tests.support.peers import destination, pacs, small_object
from tests.support.wire import bare_server, drip

pytestmark = pytest.mark.usefixtures("hasty")

STORED = proof.Stored(CTImageStorage, "1.2.3.1", "1.2.3", "1.2")
TRANSACTION = proof.Transaction(lambda: "9.1", lambda _type, _told: 0, lambda _uid: None)


@pytest.fixture(autouse=True)
def _in_time() -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < 20


def dripping(event: Any) -> tuple[int, None]:
    with suppress(OSError):
        drip(event.assoc.dul.socket.socket)
    return 0, None


@contextmanager
def peer(on_find: Callable[[Any], Any]) -> Iterator[int]:
    """One that never comes to the end of an answer."""
    entity = AE(ae_title="PACS")
    entity.add_supported_context(Verification)
    entity.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
    entity.add_supported_context(StorageCommitmentPushModel, scu_role=True, scp_role=True)
    handlers: list[tuple[Any, Callable[[Any], Any]]] = [
        (evt.EVT_C_ECHO, lambda event: dripping(event)[0]),
        (evt.EVT_C_FIND, on_find),
        (evt.EVT_N_ACTION, dripping),
        (evt.EVT_N_EVENT_REPORT, dripping),
    ]
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    try:
        yield server.server_address[1]
    finally:
        entity.shutdown()


def find_dripping(event: Any) -> Iterator[tuple[int, None]]:
    yield dripping(event)


def find_endless(_event: Any) -> Iterator[tuple[int, Dataset]]:
    """Each match comes in time."""
    until = time.monotonic() + 30
    match = Dataset()
    match.SOPInstanceUID = "1.2.3.9"
    while time.monotonic() < until:
        time.sleep(0.1)
        yield 0xFF00, match


@pytest.mark.openssl
def test_of_a_tls_handshake(tmp_path: Path) -> None:
    """A record of 16 KB (RFC 8446 5.1) that never comes to its end."""

    def talk(connection: socket.socket) -> None:
        connection.recv(1 << 16)
        until = time.monotonic() + 30
        connection.sendall(b"\x16\x03\x03\x3f\xff")
        while time.monotonic() < until:
            connection.sendall(b"\x02")
            time.sleep(0.02)

    with bare_server(talk) as port:
        there = destination(port).model_copy(update={"tls": True})
        answered, text = echo(there, "ICH_NODE", tls=Tls(ca=str(authority(tmp_path).cert)))
    assert not answered
    assert "no association" in text


def test_of_an_echo() -> None:
    with peer(find_dripping) as port:
        answered, text = echo(destination(port), "ICH_NODE")
    assert not answered
    assert text.endswith("did not answer the C-ECHO")


@pytest.mark.parametrize("on_find", [find_dripping, find_endless])
def test_of_a_count(on_find: Callable[[Any], Any]) -> None:
    with peer(on_find) as port, pytest.raises(QueryFailed, match="no answer to the C-FIND"):
        count_instances(destination(port), "ICH_NODE", "1.2", "1.2.3")


@pytest.mark.parametrize("on_find", [find_dripping, find_endless])
def test_of_a_proof(on_find: Callable[[Any], Any]) -> None:
    """The N-ACTION, and the C-FIND in another association after it."""
    with peer(on_find) as port:
        seen = proof.look(destination(port), "ICH_NODE", [STORED], TRANSACTION, overdue=False)
    assert seen.unanswered
    assert seen.found is None


def test_of_all_questions_for_a_proof_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is answered in time, and they would be many."""
    monkeypatch.setattr(proof, "_LONGEST_S", 1.0)
    monkeypatch.setattr(scu, "_DIMSE_S", 30.0)

    def find_slowly(_event: Any) -> Iterator[tuple[int, Dataset]]:
        time.sleep(0.5)
        yield from ()

    many = [proof.Stored(CTImageStorage, f"1.2.3.{n}", f"1.2.{n}", "1.2") for n in range(100)]
    with peer(find_slowly) as port:
        seen = proof.look(destination(port), "ICH_NODE", many, TRANSACTION, overdue=True)
    assert "no answer" in seen.fault or "ended" in seen.fault


def test_of_a_report_on_storage_commitment() -> None:
    truth = Commitment("9.1", "PACS", (), (), ())
    with peer(find_dripping) as port:
        answer = report(destination(port), "ICH_NODE", truth)
    assert answer.status is None
    assert answer.fault == "PACS did not answer the report"


@pytest.fixture
def sent(tmp_path: Path) -> Callable[[Destination], list[tuple[str, bool, bool]]]:
    """Send two objects; kind, stored and transient of each verdict."""
    save(small_object(1), tmp_path / "a.dcm")
    save(small_object(2), tmp_path / "b.dcm")

    def send_both(where: Destination) -> list[tuple[str, bool, bool]]:
        verdicts = send(where, "ICH_NODE", [("a", tmp_path / "a.dcm"), ("b", tmp_path / "b.dcm")])
        return [(one.kind, one.stored, one.transient) for one in verdicts]

    return send_both


def test_of_a_release_after_which_what_was_stored_is_stored(
    sent: Callable[[Destination], list[tuple[str, bool, bool]]],
) -> None:
    def at_each_pdu(event: Any) -> None:
        if isinstance(event.pdu, A_RELEASE_RQ):
            with suppress(OSError):
                drip(event.assoc.dul.socket.socket, 0x06)

    with pacs([CTImageStorage], at_each_pdu=at_each_pdu) as running:
        assert sent(destination(running.port)) == [("a", True, False), ("b", True, False)]


def test_of_all_objects_together_and_what_went_is_stored(
    sent: Callable[[Destination], list[tuple[str, bool, bool]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rest goes in the next attempt."""
    monkeypatch.setattr(scu, "_LONGEST_S", 1.0)
    monkeypatch.setattr(scu, "_DIMSE_S", 30.0)

    def answer(event: Any) -> int:
        if event.request.AffectedSOPInstanceUID == "1.2.3.2":
            time.sleep(5)
        return 0x0000

    with pacs([CTImageStorage], answer=answer) as running:
        assert sent(destination(running.port)) == [("a", True, False), ("b", False, True)]
