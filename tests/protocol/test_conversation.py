"""What is said within an association, byte by byte (PS3.7 and PS3.8)."""

import socket
import struct
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.dsutils import decode, encode

from deploy.demo.running import wait_for
from ich_node.receive import association as association_module
from ich_node.receive import services, wire
from ich_node.store.tables import instance
from tests.support.lists import commitment, reference
from tests.support.peers import Listening, encoded, listening, small_object
from tests.support.wire import ABORT, associate_request, read_pdu, reject, store_request

ACCEPT, DATA, RELEASED = 0x02, 0x04, 0x06
RELEASE = b"\x05\0\0\0\0\x04" + bytes(4)
VERIFICATION = "1.2.840.10008.1.1"
IMAGE = small_object(PixelData=bytes(8000), BitsAllocated=16)
STORE = store_request(IMAGE, encoded(IMAGE), piece=2000)


def p_data(*items: tuple[int, int, bytes]) -> bytes:
    """A P-DATA-TF with an item for each context, message control header and fragment."""
    body = b"".join(
        struct.pack(">LBB", len(part) + 2, context, flags) + part for context, flags, part in items
    )
    return struct.pack(">BxL", 4, len(body)) + body


def command(**values: Any) -> bytes:
    dataset = Dataset()
    for keyword, value in ({"CommandDataSetType": 0x0101, "MessageID": 9} | values).items():
        setattr(dataset, keyword, value)
    body = encode(dataset, True, True) or b""
    return struct.pack("<HHLL", 0, 0, 4, len(body)) + body


ECHO = command(AffectedSOPClassUID=VERIFICATION, CommandField=0x0030)


@pytest.fixture
def peer(node: Listening) -> Iterator[socket.socket]:
    """An accepted association with CT in context 1 and verification in context 3."""
    contexts = (
        (CTImageStorage, (ExplicitVRLittleEndian,)),
        (VERIFICATION, (ImplicitVRLittleEndian,)),
    )
    with socket.create_connection(("127.0.0.1", node.receiver.port), 10) as connection:
        connection.sendall(associate_request(contexts=contexts))
        assert read_pdu(connection)[0] == ACCEPT
        yield connection


def response(connection: socket.socket) -> Dataset:
    """The command set of the next response, put together from its fragments."""
    found = b""
    while True:
        pdu = read_pdu(connection)
        assert pdu[0] == DATA
        found += pdu[12:]
        if pdu[11] & 0b10:
            return decode(BytesIO(found), True, True)


def aborted(connection: socket.socket) -> tuple[int, int]:
    """Source and reason of the A-ABORT that came (PS3.8 table 9-26)."""
    answer = read_pdu(connection)
    assert answer[0] == 0x07
    return answer[8], answer[9]


def test_an_echo_is_answered_in_its_context(peer: socket.socket) -> None:
    peer.sendall(p_data((3, 0b11, ECHO)))
    raw = read_pdu(peer)
    assert raw[10] == 3
    answer = decode(BytesIO(raw[12:]), True, True)
    assert (answer.CommandField, answer.Status) == (0x8030, 0)
    assert (answer.MessageIDBeingRespondedTo, answer.AffectedSOPClassUID) == (9, VERIFICATION)


@pytest.mark.parametrize("step", [1, 7])
def test_a_peer_may_send_a_few_bytes_at_a_time(
    peer: socket.socket, node: Listening, step: int
) -> None:
    small = small_object()
    request = store_request(small, encoded(small))
    for at in range(0, len(request), step):
        peer.sendall(request[at : at + step])
    assert response(peer).Status == 0
    assert len(node.rows(instance)) == 1


def test_command_and_data_may_share_a_pdu_and_be_cut_anywhere(
    peer: socket.socket, node: Listening
) -> None:
    data = encoded(IMAGE)
    body = command(
        AffectedSOPClassUID=CTImageStorage,
        CommandField=1,
        CommandDataSetType=1,
        AffectedSOPInstanceUID=IMAGE.SOPInstanceUID,
        Priority=0,
    )
    peer.sendall(
        p_data((1, 0b01, body[:10]), (1, 0b01, b""))
        + p_data((1, 0b11, body[10:]), (1, 0b00, data[:30]), (1, 0b00, b""))
        + p_data((1, 0b00, data[30:]), (1, 0b10, b""))
    )
    assert response(peer).Status == 0
    (path,) = node.files()
    assert path.read_bytes().endswith(data)


def test_requests_that_come_without_waiting_are_answered_in_order(peer: socket.socket) -> None:
    """Asynchronous operations are not negotiated; a peer that does it all the same is served."""
    numbers = [5, 6, 7]
    peer.sendall(
        b"".join(p_data((3, 0b11, command(CommandField=0x30, MessageID=n))) for n in numbers)
    )
    assert [response(peer).MessageIDBeingRespondedTo for _ in numbers] == numbers


def test_a_cancel_request_does_no_harm(peer: socket.socket) -> None:
    peer.sendall(p_data((1, 0b11, command(CommandField=0x0FFF, MessageIDBeingRespondedTo=1))))
    peer.sendall(p_data((3, 0b11, ECHO)))
    assert response(peer).Status == 0


def test_an_operation_that_we_do_not_have_is_refused_and_the_association_goes_on(
    peer: socket.socket,
) -> None:
    """PS3.7 C.5.26: 0211H, unrecognised operation; its data set is read over."""
    find = command(CommandField=0x0020, CommandDataSetType=1, AffectedSOPClassUID="1.2")
    peer.sendall(p_data((1, 0b11, find), (1, 0b10, encoded(small_object()))))
    answer = response(peer)
    assert (answer.CommandField, answer.Status) == (0x8020, 0x0211)
    peer.sendall(STORE)
    assert response(peer).Status == 0


def test_a_response_is_no_longer_than_the_peer_reads(node: Listening) -> None:
    """PS3.8 D.1: the Maximum Length that the peer announced bounds every P-DATA-TF."""
    request = associate_request().replace(struct.pack(">L", 16384), struct.pack(">L", 20))
    with socket.create_connection(("127.0.0.1", node.receiver.port), 10) as connection:
        connection.sendall(request)
        assert read_pdu(connection)[0] == ACCEPT
        connection.sendall(STORE)
        lengths, last = [], False
        while not last:
            pdu = read_pdu(connection)
            lengths.append(len(pdu) - 6)
            last = bool(pdu[11] & 0b10)
        assert max(lengths) <= 20
        assert len(lengths) > 1


def test_release_is_answered_and_the_connection_left_to_the_peer(peer: socket.socket) -> None:
    peer.sendall(RELEASE)
    assert read_pdu(peer)[0] == RELEASED
    peer.settimeout(0.3)
    with pytest.raises(TimeoutError):
        peer.recv(1)


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (b"\x08\0\0\0\0\x04" + bytes(4), (2, 1)),  # unrecognised PDU
        (b"\xff\0\0\0\0\x04" + bytes(4), (2, 1)),
        (associate_request(), (2, 2)),  # unexpected PDU
        (reject(1, 1, 1), (2, 2)),
        (p_data((5, 0b11, ECHO)), (2, 6)),  # a context that was not accepted
        (p_data((1, 0b10, b"data")), (2, 6)),  # data without a command
        (p_data((1, 0b01, ECHO), (3, 0b11, ECHO)), (2, 6)),  # two contexts in one message
        (p_data((3, 0b11, ECHO[:-1])), (2, 6)),  # a command that is cut
        (struct.pack(">BxLLBB", 4, 6, 60, 1, 3), (2, 6)),  # an item longer than its PDU
        (struct.pack(">BxLLBB", 4, 6, 1, 1, 3), (2, 6)),  # and one too short
        (b"\x04\0\0\0\0\x03\0\0\0", (2, 6)),
        (p_data((3, 0b01, b"")) * 1001, (2, 6)),  # a message of nothing, without end
        (p_data((3, 0b11, command(CommandField=0x8030))), (2, 2)),  # an answer to no question
    ],
)
def test_what_is_no_protocol_is_aborted_with_the_reason(
    peer: socket.socket, node: Listening, sent: bytes, expected: tuple[int, int]
) -> None:
    peer.sendall(sent)
    assert aborted(peer) == expected
    assert node.still_stores()


@pytest.mark.parametrize("sent", [RELEASE, STORE, b"\x08\0\0\0\0\x04" + bytes(4)])
def test_what_comes_before_the_request_is_aborted(node: Listening, sent: bytes) -> None:
    """PS3.8 table 9-10, Sta2: A-ABORT by the service user, which gives no reason."""
    with socket.create_connection(("127.0.0.1", node.receiver.port), 10) as connection:
        connection.sendall(sent)
        assert aborted(connection) == (0, 0)


def test_another_protocol_version_is_rejected(node: Listening) -> None:
    """PS3.8 9.3.4: permanent, by the provider, protocol version not supported."""
    request = bytearray(associate_request())
    request[6:8] = b"\0\x02"
    with socket.create_connection(("127.0.0.1", node.receiver.port), 10) as connection:
        connection.sendall(request)
        assert read_pdu(connection) == reject(1, 2, 2)


@pytest.mark.parametrize("within", ["a command", "a data set"])
def test_a_release_or_abort_within_a_message_leaves_nothing(
    peer: socket.socket, node: Listening, within: str
) -> None:
    first = 6 + int.from_bytes(STORE[2:6], "big")
    peer.sendall(STORE[:first] if within == "a data set" else p_data((1, 0b01, ECHO[:10])))
    peer.sendall(RELEASE)
    assert read_pdu(peer)[0] == RELEASED
    peer.sendall(ABORT)
    assert node.files() == []
    assert node.still_stores()


def test_an_answer_that_the_peer_does_not_read_ends_the_association(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half-open: the peer's machine is gone and acknowledges nothing, or does not read."""
    monkeypatch.setattr(association_module, "_NETWORK_TIMEOUT_S", 0.3)
    monkeypatch.setattr(association_module, "_ARTIM_S", 0.3)
    with listening(tmp_path) as node:
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        connection.settimeout(20)
        with connection:
            connection.connect(("127.0.0.1", node.receiver.port))
            contexts = ((VERIFICATION, (ImplicitVRLittleEndian,)),)
            connection.sendall(associate_request(contexts=contexts))
            assert read_pdu(connection)[0] == ACCEPT
            echoes = p_data((1, 0b11, ECHO)) * 1000
            with pytest.raises(OSError, match=r"reset|Broken pipe"):
                while True:
                    connection.sendall(echoes)
        assert node.receiver._peers.held == {}


def commitment_request(instances: int) -> bytes:
    """A request to commit to so many instances, in context 1."""
    asked = commitment(*(reference(f"1.2.3.{number}") for number in range(instances)))
    action = command(
        CommandDataSetType=1,
        RequestedSOPClassUID=services.COMMITMENT,
        RequestedSOPInstanceUID=services.COMMITMENT_INSTANCE,
        CommandField=0x0130,
        ActionTypeID=1,
    )
    return p_data((1, 0b11, action), (1, 0b10, encode(asked, True, True) or b""))


def test_an_answer_that_the_peer_reads_byte_by_byte_ends_the_association(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[dict[str, Any]]
) -> None:
    """None of its reads takes long, all of them would."""
    monkeypatch.setattr(wire, "_GRACE_S", 0.3)
    monkeypatch.setattr(wire, "_SLOWEST", 1 << 20)
    with listening(tmp_path) as node, socket.socket() as connection:
        for one in (node.receiver._listener, connection):  # little lies in between
            one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(20)
        connection.connect(("127.0.0.1", node.receiver.port))
        contexts = ((services.COMMITMENT, (ImplicitVRLittleEndian,)),)
        connection.sendall(associate_request(contexts=contexts))
        assert read_pdu(connection)[0] == ACCEPT
        connection.sendall(commitment_request(1000))
        wait_for(lambda: connection.recv(400) and said, 20, "line of the log")
        (line,) = said
        assert line["cause"] == f"an answer was read slower than {1 << 20} bytes/s"
        wait_for(lambda: not node.receiver._peers.held, 10, "place of the peer")
        assert node.still_stores()
