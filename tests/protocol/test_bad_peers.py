"""Whatever a peer does to its connection, the receiver stores the next peer's object."""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from deploy.demo.running import wait_for
from ich_node.store.tables import instance
from tests.support.peers import Listening, encoded, small_object
from tests.support.wire import ABORT, associate_request, read_pdu, store_request

ACCEPT, DATA, RELEASED, ABORTED = 0x02, 0x04, 0x06, 0x07
RELEASE = b"\x05\0\0\0\0\x04" + bytes(4)
Connect = Callable[..., socket.socket]
IMAGE = small_object(PixelData=bytes(8000), BitsAllocated=16)


@pytest.fixture
def connect(node: Listening) -> Iterator[Connect]:
    """Open a bare connection to the node, from another loopback address if wanted."""
    with ExitStack() as opened:

        def connection(address: str = "127.0.0.1") -> socket.socket:
            made = socket.create_connection(("127.0.0.1", node.receiver.port), 10, (address, 0))
            return opened.enter_context(made)

        yield connection


def associated(connect: Connect) -> socket.socket:
    connection = connect()
    connection.sendall(associate_request())
    assert read_pdu(connection)[0] == ACCEPT
    return connection


def idle(node: Listening) -> bool:
    """Tell whether no association counts as open."""
    return not node.receiver.open_series() and not node.receiver._peers.held


def ended(connection: socket.socket) -> bool:
    """Tell whether the node aborts or closes the connection within its time limit."""
    with suppress(ConnectionResetError):
        answer = read_pdu(connection)
        return answer == b"" or answer[0] == ABORTED
    return True


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\nHost: here\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
        bytes(1000),
        b"\xff" * 1000,
        b"\x01\x00\x00\x00\x00\x04\x00\x01\x00\x00",
        associate_request()[:-30] + b"\xff" * 30,
        b"\x04\x00\xff\xff\xff\xff" + bytes(1000),
        store_request(IMAGE, encoded(IMAGE)),
        ABORT,
    ],
    ids=["http", "tls", "zeros", "ones", "short", "items", "huge", "data first", "abort first"],
)
def test_garbage_ends_its_connection_and_nothing_else(
    connect: Connect, node: Listening, garbage: bytes
) -> None:
    connection = connect()
    connection.sendall(garbage)
    connection.shutdown(socket.SHUT_WR)
    assert ended(connection)
    assert node.still_stores()


@pytest.mark.parametrize("garbage", [b"\xff" * 1000, associate_request()], ids=["ones", "again"])
def test_garbage_within_an_association_ends_it_and_nothing_else(
    connect: Connect, node: Listening, garbage: bytes
) -> None:
    connection = associated(connect)
    connection.sendall(garbage)
    assert ended(connection)
    assert node.still_stores()


@pytest.mark.parametrize("end", [ABORT, b""], ids=["abort", "closed"])
@pytest.mark.parametrize("within", ["a PDU", "an image"])
def test_a_peer_that_ends_in_the_middle_of_an_image_leaves_nothing(
    connect: Connect, node: Listening, end: bytes, within: str
) -> None:
    connection = associated(connect)
    request = store_request(IMAGE, encoded(IMAGE), piece=2000)
    last = request.rindex(b"\x04\0\0\0")  # where the last PDU begins
    connection.sendall(request[: last if within == "an image" else last - 1000] + end)
    connection.close()
    wait_for(lambda: idle(node), 10, "end of the association")
    assert node.files() == []
    assert node.rows(instance) == []
    assert node.still_stores()


def test_a_peer_that_does_not_wait_for_its_answer_has_stored_all_the_same(
    connect: Connect, node: Listening
) -> None:
    connection = associated(connect)
    connection.sendall(store_request(IMAGE, encoded(IMAGE)))
    wait_for(lambda: node.rows(instance), 10, "row of the image")
    connection.close()
    wait_for(lambda: idle(node), 10, "end of the association")
    assert node.still_stores()


def test_a_peer_that_ends_within_a_series_leaves_what_was_acknowledged(
    connect: Connect, node: Listening
) -> None:
    connection = associated(connect)
    for number in (1, 2):
        image = small_object(number)
        connection.sendall(store_request(image, encoded(image)))
        assert read_pdu(connection)[0] == DATA
    connection.sendall(ABORT)
    assert [row["sop_instance_uid"] for row in node.rows(instance)] == ["1.2.3.1", "1.2.3.2"]
    assert node.still_stores()


def test_an_association_is_held_no_longer_than_its_connection_lives(
    connect: Connect, node: Listening
) -> None:
    connections = [associated(connect) for _ in range(5)]
    assert len(node.receiver._peers.held) == 5
    for connection, end in zip(
        connections, (ABORT, b"", b"\xff" * 9, b"\x04", ABORT[:3]), strict=True
    ):
        connection.sendall(end)
        connection.close()
    wait_for(lambda: idle(node), 10, "end of all associations")


def test_a_released_association_takes_no_place_though_its_connection_stays_open(
    connect: Connect, node: Listening
) -> None:
    connection = associated(connect)
    connection.sendall(RELEASE)
    assert read_pdu(connection)[0] == RELEASED
    wait_for(lambda: idle(node), 5, "end of the association")


def test_a_request_without_any_encoding_is_no_way_around_the_policy(
    connect: Connect, node: Listening, said: list[dict[str, Any]]
) -> None:
    connection = connect()
    connection.sendall(associate_request(calling="NOBODY", contexts=((CTImageStorage, ()),)))
    assert read_pdu(connection)[:1] != bytes((ACCEPT,))
    assert node.still_stores()


def test_a_data_set_without_its_command_ends_the_association_and_nothing_else(
    connect: Connect, node: Listening
) -> None:
    connection = associated(connect)
    request = store_request(IMAGE, encoded(IMAGE))
    command_length = 6 + int.from_bytes(request[2:6], "big")
    connection.sendall(request[command_length:])
    connection.shutdown(socket.SHUT_WR)
    assert ended(connection)
    assert node.files() == []
    assert node.still_stores()


def test_an_object_in_the_context_of_another_class_is_stored_for_its_encoding_is_known(
    connect: Connect, node: Listening
) -> None:
    connection = connect()
    sr = "1.2.840.10008.5.1.4.1.1.88.33"
    connection.sendall(associate_request(contexts=((sr, (ExplicitVRLittleEndian,)),)))
    assert read_pdu(connection)[0] == ACCEPT
    connection.sendall(store_request(IMAGE, encoded(IMAGE)))
    assert read_pdu(connection)[0] == DATA
    (row,) = node.rows(instance)
    assert (row["sop_class_uid"], row["transfer_syntax_uid"]) == (
        CTImageStorage,
        ExplicitVRLittleEndian,
    )
