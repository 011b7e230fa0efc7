"""What an allowed sender could do within the protocol to fill memory or to leave a name."""

import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from pydicom import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.dsutils import encode

from ich_node.receive import services
from ich_node.store.tables import announcement, instance
from tests.protocol.test_conversation import ECHO, VERIFICATION, aborted, command, p_data, response
from tests.support.peers import Listening, encoded, incoming, sent, small_object
from tests.support.wire import associate_request, read_pdu, reject

ACCEPT, DATA = 0x02, 0x04
MAXIMUM = struct.pack(">BxHL", 0x51, 4, 16384)
COMMITMENT = services.COMMITMENT
CT = (CTImageStorage, (ExplicitVRLittleEndian,))
IMAGE = small_object()


@contextmanager
def connected(node: Listening, request: bytes) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", node.receiver.port), 60) as connection:
        connection.sendall(request)
        yield connection


def asking(
    contexts: Sequence[tuple[str, Sequence[str]]] = (CT,), maximum: int = 16384, more: bytes = b""
) -> bytes:
    """An A-ASSOCIATE-RQ with another Maximum Length, and more items of user information."""
    request = associate_request(contexts=contexts)
    length, user = len(request) - 6, request.rindex(struct.pack(">BxH", 0x50, 8 + 11))
    request = request[:user] + struct.pack(">BxH", 0x50, 19 + len(more)) + request[user + 4 :]
    request = request.replace(MAXIMUM, struct.pack(">BxHL", 0x51, 4, maximum))
    return request[:2] + struct.pack(">L", length + len(more)) + request[6:] + more


def store(context: int, **changes: Any) -> bytes:
    values = {
        "AffectedSOPClassUID": CTImageStorage,
        "CommandField": 0x0001,
        "CommandDataSetType": 1,
        "AffectedSOPInstanceUID": IMAGE.SOPInstanceUID,
        "Priority": 0,
    }
    return p_data((context, 0b11, command(**values | changes)))


def commit(data: bytes) -> bytes:
    """An N-ACTION request for storage commitment in context 1."""
    request = command(
        CommandField=0x0130,
        CommandDataSetType=1,
        RequestedSOPClassUID=COMMITMENT,
        RequestedSOPInstanceUID=services.COMMITMENT_INSTANCE,
        ActionTypeID=1,
    )
    return p_data((1, 0b11, request), (1, 0b10, data))


def listing(number: int) -> bytes:
    """A storage commitment request for so many instances, in Implicit VR Little Endian."""
    request = Dataset()
    request.TransactionUID = "9.1"
    request.ReferencedSOPSequence = []
    for at in range(number):
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = CTImageStorage, f"1.9.{at}"
        request.ReferencedSOPSequence.append(item)
    return encode(request, True, True) or b""


@pytest.mark.parametrize("maximum", [1, 7])
def test_who_can_read_no_answer_is_rejected(
    node: Listening, said: list[dict[str, Any]], maximum: int
) -> None:
    """PS3.8 D.1: the shortest P-DATA-TF with a fragment in it is one of 8 bytes."""
    with connected(node, asking(maximum=maximum)) as connection:
        assert read_pdu(connection) == reject(1, 1, 1)
    assert said[0]["cause"] == (
        f"it reads PDUs of {maximum} bytes at most, expected 0 (any) or 8 and more"
    )


def test_a_long_report_in_the_shortest_pdus_keeps_nobody_waiting(node: Listening) -> None:
    """Half a megabyte in a quarter of a million PDUs: a second, not an hour of copying."""
    contexts = ((COMMITMENT, (ImplicitVRLittleEndian,)),)
    with connected(node, asking(contexts, maximum=8)) as connection:
        assert read_pdu(connection)[0] == ACCEPT
        connection.sendall(commit(listing(6000)))
        assert sent(node.receiver.port, incoming(IMAGE)).Status == 0x0000
        assert len(read_pdu(connection)) == 6 + 8
    [row] = node.rows(announcement)
    assert row["uid"] == "9.1"


@pytest.mark.parametrize(
    "data",
    [
        bytes(5 << 20),
        struct.pack("<HHL", 0x0008, 0x1199, 800_000) + 100_000 * b"\xfe\xff\0\xe0\0\0\0\0",
    ],
    ids=["too long", "empty items"],
)
def test_a_list_that_would_fill_the_memory_is_refused_for_now(node: Listening, data: bytes) -> None:
    """PS3.7 C.5.22: 0213H, resource limitation; the association goes on."""
    contexts = ((COMMITMENT, (ImplicitVRLittleEndian,)), (VERIFICATION, (ImplicitVRLittleEndian,)))
    with connected(node, asking(contexts)) as connection:
        assert read_pdu(connection)[0] == ACCEPT
        connection.sendall(commit(data))
        assert response(connection).Status == 0x0213
        connection.sendall(p_data((3, 0b11, ECHO)))
        assert response(connection).Status == 0
    assert node.rows(announcement) == []


def test_a_hundred_and_twenty_eight_contexts_are_answered_and_the_last_is_used(
    node: Listening,
) -> None:
    """PS3.8 9.3.2.2: IDs are the odd numbers up to 255."""
    with connected(node, asking([CT] * 128)) as connection:
        answer = read_pdu(connection)
        assert answer[0] == ACCEPT
        assert answer.count(ExplicitVRLittleEndian.encode()) == 128
        connection.sendall(store(255) + p_data((255, 0b10, encoded(IMAGE))))
        assert response(connection).Status == 0
    assert len(node.rows(instance)) == 1


def test_two_contexts_of_one_id_are_no_request(node: Listening) -> None:
    implicit = (CTImageStorage, (ImplicitVRLittleEndian,))
    request = asking([CT, implicit]).replace(struct.pack(">BxxxB", 3, 0x30), b"\1\0\0\0\x30")
    with connected(node, request) as connection:
        assert aborted(connection) == (0, 0)


def test_what_is_negotiated_beyond_roles_is_not_used_and_not_answered(node: Listening) -> None:
    """PS3.7 D.3.3.3: asynchronous operations; D.3.3.5 and D.3.3.7: extended ones, an identity."""
    window = struct.pack(">BxHHH", 0x53, 4, 0, 0)
    extended = struct.pack(">BxHH", 0x56, 31, 25) + CTImageStorage.encode() + b"\1\1\1\1"
    identity = struct.pack(">BxHBBH", 0x58, 9, 1, 1, 3) + b"DOE" + b"\0\0"
    with connected(node, asking(more=window + extended + identity)) as connection:
        answer = read_pdu(connection)
        assert answer[0] == ACCEPT
        kinds, at = [], answer.index(b"\x50\0", 74) + 4
        while at < len(answer):
            kinds.append(answer[at])
            at += 4 + int.from_bytes(answer[at + 2 : at + 4], "big")
        assert kinds == [0x51, 0x52, 0x55]
        connection.sendall(store(1) + p_data((1, 0b10, encoded(IMAGE))))
        assert response(connection).Status == 0


@pytest.mark.parametrize(
    "kind", [0x0010, 0x0020, 0x0021, 0x0110, 0x0130, 0x0140, 0x0150, 0x0777], ids=hex
)
def test_another_operation_in_a_storage_context_is_refused_and_the_association_goes_on(
    node: Listening, kind: int
) -> None:
    """C-GET, C-FIND, C-MOVE, N-GET, N-ACTION, N-CREATE, N-DELETE, and one that there is not."""
    with connected(node, asking()) as connection:
        assert read_pdu(connection)[0] == ACCEPT
        asked = command(CommandField=kind, RequestedSOPClassUID="1.2", MessageID=4)
        connection.sendall(p_data((1, 0b11, asked)))
        answer = response(connection)
        assert (answer.CommandField, answer.Status) == (kind | 0x8000, 0x0211)
        assert answer.MessageIDBeingRespondedTo == 4
        connection.sendall(store(1) + p_data((1, 0b10, encoded(IMAGE))))
        assert response(connection).Status == 0


def test_an_object_without_its_data_set_is_refused(node: Listening) -> None:
    with connected(node, asking()) as connection:
        assert read_pdu(connection)[0] == ACCEPT
        connection.sendall(store(1, CommandDataSetType=0x0101))
        assert response(connection).Status == 0xC000
    assert node.files() == []


def test_a_name_in_the_place_of_a_uid_comes_into_no_line_of_the_log(
    node: Listening, said: list[dict[str, Any]]
) -> None:
    request = store(1).replace(b"1.2.3.1\0", b"DOE^JANE")
    assert b"DOE^JANE" in request
    with connected(node, asking()) as connection:
        assert read_pdu(connection)[0] == ACCEPT
        connection.sendall(request + p_data((1, 0b10, encoded(IMAGE))))
        assert response(connection).Status == 0xC000
    [line] = [line for line in said if line["event"] == "object refused"]
    assert line["sop_instance_uid"] == "no UID"
    assert "DOE" not in str(said)
