"""Associations as a peer sees them: who is let in, who is rejected and with which reason."""

import shutil
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
)
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind, Verification

from deploy.demo.running import wait_for
from ich_node.errors import ConfigError
from ich_node.receive import association as association_module
from ich_node.receive.scp import start_receiver
from ich_node.store import trail
from ich_node.store.tables import instance
from ich_node.uids import IMPLEMENTATION_CLASS_UID
from tests.support.peers import (
    Listening,
    associate,
    c_store,
    incoming,
    listening,
    sent,
    small_object,
)
from tests.support.wire import associate_request, read_pdu, reject


def answer_to(port: int, **titles: str) -> bytes:
    """The PDU that answers a request; pynetdicom may miss a rejection that comes at once."""
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall(associate_request(**titles))
        return read_pdu(connection)


def test_a_configured_peer_gets_its_echo(node: Listening) -> None:
    association = associate(node.receiver.port)
    assert association.send_c_echo().Status == 0x0000
    assert association.acceptor.implementation_class_uid == IMPLEMENTATION_CLASS_UID
    association.release()


def test_the_trail_tells_who_was_refused_and_why(node: Listening) -> None:
    assert answer_to(node.receiver.port, called="WRONG") == reject(1, 1, 7)
    [entry] = wait_for(lambda: list(trail.entries(node.engine)), 10, "the entry in the trail")
    assert entry.data["address"] == "127.0.0.1"
    assert "called AE title 'WRONG'" in entry.data["cause"]


def newest_kind(node: Listening) -> str:
    return [entry.kind for entry in trail.entries(node.engine)][-1]


def test_the_trail_tells_which_association_of_whom_brought_what(node: Listening) -> None:
    """With the address, at the first image and when the association has ended, however it does."""
    for number, end in ((1, "release"), (2, "abort")):
        contexts = [(CTImageStorage, (ExplicitVRLittleEndian,))]
        association = associate(node.receiver.port, contexts)
        assert c_store(association, incoming(small_object(number))).Status == 0x0000
        getattr(association, end)()
        wait_for(lambda: newest_kind(node) == "transferred", 10, "the end")
    begun, first, _begun, second = [entry.data for entry in trail.entries(node.engine)]
    assert (begun["calling_ae"], begun["address"], begun["source"]) == (
        "SENDER",
        "127.0.0.1",
        "sender",
    )
    assert first == {**begun, "classes": {CTImageStorage: 1}}
    assert second["association"] != first["association"]
    [row, _other] = node.rows(instance)
    assert row["association"] == first["association"]


def test_an_association_without_images_leaves_nothing_in_the_trail(node: Listening) -> None:
    association = associate(node.receiver.port)
    association.send_c_echo()
    association.release()
    node.receiver.stop(10.0)
    assert list(trail.entries(node.engine)) == []


def test_a_fault_in_the_policy_lets_nobody_in(
    node: Listening, said: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(association_module, "judge", lambda *_arguments: 1 / 0)
    assert answer_to(node.receiver.port) == reject(2, 1, 1)
    assert "ZeroDivisionError" in said[0]["cause"]


def test_one_association_too_many_is_rejected_for_now_and_let_in_later(
    tmp_path: Path, said: list[dict[str, Any]]
) -> None:
    with listening(tmp_path, max_associations=2) as node:
        open_ones = [associate(node.receiver.port) for _ in range(2)]
        assert answer_to(node.receiver.port) == reject(2, 3, 2)
        assert [line["cause"] for line in said] == [
            "dicom.max_associations = 2 associations are open"
        ]
        open_ones[0].release()
        later = wait_for(
            lambda: next((a for a in [associate(node.receiver.port)] if a.is_established), None),
            10,
            "place for another association",
        )
        later.release()
        open_ones[1].release()


def test_below_the_limit_of_free_space_who_brings_objects_comes_later(
    node: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rejected for now, and let in without a restart once there is room; an echo is answered."""
    port = node.receiver.port
    with monkeypatch.context() as full:
        usage = shutil.disk_usage(node.settings.storage.data_dir)
        full.setattr(shutil, "disk_usage", lambda _path: usage._replace(free=-1))
        assert answer_to(port) == reject(2, 3, 1)
        association = associate(port)
        assert association.send_c_echo().Status == 0x0000
        association.release()
    assert sent(port, incoming(small_object())).Status == 0x0000


def test_silent_and_rejected_connections_take_no_place(tmp_path: Path) -> None:
    with listening(tmp_path, max_associations=1) as node:
        silent = [socket.create_connection(("127.0.0.1", node.receiver.port)) for _ in range(4)]
        assert answer_to(node.receiver.port, calling="NOBODY") == reject(1, 1, 3)
        association = associate(node.receiver.port)
        assert association.is_established
        association.release()
        for connection in silent:
            connection.close()


def test_what_can_be_decoded_is_taken_though_the_peer_offers_it_last(node: Listening) -> None:
    jpeg_xl, offered = "1.2.840.10008.1.2.4.110", ExplicitVRLittleEndian
    association = associate(node.receiver.port, [(CTImageStorage, (jpeg_xl, offered))])
    assert [c.transfer_syntax[0] for c in association.accepted_contexts] == [offered]
    association.release()


def test_the_peers_own_order_decides_among_what_can_be_decoded(node: Listening) -> None:
    order = (JPEG2000Lossless, ImplicitVRLittleEndian, ExplicitVRLittleEndian)
    association = associate(node.receiver.port, [(CTImageStorage, order)])
    assert [c.transfer_syntax[0] for c in association.accepted_contexts] == [JPEG2000Lossless]
    association.release()


def test_services_that_we_do_not_have_are_not_accepted(node: Listening) -> None:
    find = StudyRootQueryRetrieveInformationModelFind
    syntaxes = (ImplicitVRLittleEndian,)
    association = associate(node.receiver.port, [(find, syntaxes), (Verification, syntaxes)])
    assert [c.abstract_syntax for c in association.accepted_contexts] == [Verification]
    association.release()


def test_an_image_that_comes_again_is_heard_of_as_a_new_one_is(node: Listening) -> None:
    """In an association of its own, which has ended when somebody looks."""
    for _ in range(2):
        assert sent(node.receiver.port, incoming(small_object())).Status == 0x0000
        assert list(node.receiver.heard()) == ["1.2.3"]
    assert len(node.rows(instance)) == 1


def test_open_series_are_those_of_open_associations(node: Listening) -> None:
    one, two = (
        associate(node.receiver.port, [(CTImageStorage, (ExplicitVRLittleEndian,))])
        for _ in range(2)
    )
    for number, association in enumerate((one, two)):
        assert c_store(association, incoming(small_object(number))).Status == 0x0000
    assert node.receiver.open_series() == {"1.2.3": 2}
    one.release()
    wait_for(lambda: node.receiver.open_series() == {"1.2.3": 1}, 10, "end of the released one")
    two.abort()
    wait_for(lambda: node.receiver.open_series() == {}, 10, "end of the aborted one")


def test_a_port_that_is_taken_is_a_fault_of_the_configuration(
    node: Listening, tmp_path: Path
) -> None:
    taken = node.settings.dicom.model_copy(update={"port": node.receiver.port})
    with pytest.raises(ConfigError, match=rf"dicom.port = {node.receiver.port}: cannot listen"):
        start_receiver(node.settings.model_copy(update={"dicom": taken}), node.engine)


@pytest.mark.parametrize("host", ["203.0.113.7", "no-such-host.invalid", "a" * 70 + ".b"])
def test_an_address_that_is_not_ours_is_a_fault_of_the_configuration(
    node: Listening, host: str
) -> None:
    wrong = node.settings.dicom.model_copy(update={"host": host})
    with pytest.raises(ConfigError, match=r"dicom.host = .*: cannot listen there"):
        start_receiver(node.settings.model_copy(update={"dicom": wrong}), node.engine)


def test_stopping_lets_an_open_association_end_and_takes_no_new_one(tmp_path: Path) -> None:
    with listening(tmp_path) as node:
        association = associate(node.receiver.port)
        stopping = threading.Thread(target=node.receiver.stop, args=(20.0,))
        stopping.start()
        wait_for(lambda: not _answers(node.receiver.port), 10, "closed port")
        assert association.send_c_echo().Status == 0x0000
        association.release()
        stopping.join(10)
        assert not stopping.is_alive()


def test_stopping_aborts_what_does_not_end_before_the_process_may_end(tmp_path: Path) -> None:
    with (
        listening(tmp_path) as node,
        socket.create_connection(("127.0.0.1", node.receiver.port), 10) as connection,
    ):
        connection.sendall(associate_request())
        assert read_pdu(connection)[0] == 0x02
        node.receiver.stop(0.2)
        connection.setblocking(False)
        assert read_pdu(connection)[0] == 0x07


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True
