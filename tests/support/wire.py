"""PDUs written and read by hand (PS3.8), and peers that behave badly on the wire."""

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from pydicom import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom.dsutils import encode


@contextmanager
def bare_server(talk: Callable[[socket.socket], None], port: int = 0) -> Iterator[int]:
    """A TCP server without DICOM; `talk` is given each connection, and it is closed after that."""
    listening = socket.create_server(("127.0.0.1", port))
    done = threading.Event()
    talking: list[socket.socket] = []

    def serve() -> None:
        while not done.is_set():
            connection, _address = listening.accept()
            talking[:] = [connection]
            with connection, suppress(OSError):
                connection.settimeout(60)
                talk(connection)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    found = listening.getsockname()[1]
    try:
        yield found
    finally:
        done.set()
        for connection in talking:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", found), 1).close()
        thread.join(10)
        listening.close()


def silent(connection: socket.socket) -> None:
    """Read whatever comes, and never answer."""
    while connection.recv(65536):
        pass


def answering(answer: bytes) -> Callable[[socket.socket], None]:
    """Answer an association request by these bytes, or by closing the connection at once."""

    def talk(connection: socket.socket) -> None:
        read_pdu(connection)
        connection.sendall(answer)
        if answer:
            connection.recv(1)  # a close before the answer is read could lose it

    return talk


def accept(connection: socket.socket) -> None:
    """Accept four presentation contexts in Explicit VR Little Endian (PS3.8 9.3.3)."""
    request = read_pdu(connection)
    syntax = _item(0x40, str(ExplicitVRLittleEndian).encode())
    items = _item(0x10, b"1.2.840.10008.3.1.1.1")
    for identifier in (1, 3, 5, 7):
        items += _item(0x21, struct.pack(">BxBx", identifier, 0) + syntax)
    items += _item(0x50, _item(0x51, struct.pack(">L", 16384)))
    connection.sendall(_pdu(0x02, request[6:74] + items))


def accept_then_silence(connection: socket.socket) -> None:
    """Accept, then read whatever comes, and never answer."""
    accept(connection)
    silent(connection)


def accept_then_half_an_answer(connection: socket.socket) -> None:
    """Accept, and stop in the middle of the header of a PDU that should be the answer."""
    accept(connection)
    connection.sendall(_pdu(0x04, bytes(100))[:4])
    silent(connection)


def drip(connection: socket.socket, kind: int = 0x04) -> None:
    """Begin a PDU of a megabyte, byte by byte: nobody who reads it waits for long for the next."""
    until = time.monotonic() + 30
    connection.sendall(struct.pack(">BxL", kind, 1 << 20))
    while time.monotonic() < until:
        connection.sendall(b"\0")
        time.sleep(0.02)


def accept_byte_by_byte(connection: socket.socket) -> None:
    """Answer a request for an association, but never all of it."""
    read_pdu(connection)
    drip(connection, 0x02)


def accept_then_answer_byte_by_byte(connection: socket.socket) -> None:
    """Accept, and answer what comes then, but never all of it."""
    accept(connection)
    read_pdu(connection)
    drip(connection)


@contextmanager
def no_reader(port: int = 0) -> Iterator[int]:
    """A peer that accepts, then reads nothing more: what is sent fills the buffers and stands."""
    over = threading.Event()

    def talk(connection: socket.socket) -> None:
        accept(connection)
        over.wait(120)

    with bare_server(talk, port) as found:
        try:
            yield found
        finally:
            over.set()


def read_pdu(connection: socket.socket) -> bytes:
    """Read one PDU (PS3.8 9.3); empty where the peer closed."""
    head = _read(connection, 6)
    return head + _read(connection, struct.unpack(">2xL", head)[0]) if head else b""


def _read(connection: socket.socket, count: int) -> bytes:
    found = b""
    while len(found) < count:
        piece = connection.recv(count - len(found))
        if not piece:
            return b""
        found += piece
    return found


def associate_request(
    calling: str = "SENDER",
    called: str = "ICH_NODE",
    contexts: Sequence[tuple[str, Sequence[str]]] = ((CTImageStorage, (ExplicitVRLittleEndian,)),),
) -> bytes:
    """An A-ASSOCIATE-RQ PDU (PS3.8 9.3.2); contexts have the IDs 1, 3, 5 and on."""
    items = _item(0x10, b"1.2.840.10008.3.1.1.1")
    for number, (abstract, syntaxes) in enumerate(contexts):
        offered = b"".join(_item(0x40, uid.encode()) for uid in syntaxes)
        head = bytes((2 * number + 1, 0, 0, 0))
        items += _item(0x20, head + _item(0x30, abstract.encode()) + offered)
    items += _item(0x50, _item(0x51, struct.pack(">L", 16384)) + _item(0x52, b"1.2.3.4"))
    titles = struct.pack(
        ">HH16s16s32x", 1, 0, called.ljust(16).encode(), calling.ljust(16).encode()
    )
    return _pdu(0x01, titles + items)


def store_request(dataset: Dataset, data: bytes, piece: int = 1 << 20) -> bytes:
    """P-DATA-TF PDUs of one C-STORE request (PS3.7 9.3.1) in context 1, the data in pieces."""
    command = Dataset()
    command.AffectedSOPClassUID = dataset.SOPClassUID
    command.CommandField, command.MessageID, command.Priority = 0x0001, 1, 0
    command.CommandDataSetType = 1
    command.AffectedSOPInstanceUID = dataset.SOPInstanceUID
    body = encode(command, True, True) or b""
    length = struct.pack("<HHLL", 0, 0, 4, len(body))
    pieces = [data[at : at + piece] for at in range(0, len(data), piece)]
    parts = b"".join(_p_data(0b00, part) for part in pieces[:-1])
    return _p_data(0b11, length + body) + parts + _p_data(0b10, pieces[-1])


def _p_data(flags: int, fragment: bytes) -> bytes:
    return _pdu(0x04, struct.pack(">LBB", len(fragment) + 2, 1, flags) + fragment)


def _item(kind: int, body: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(body)) + body


def _pdu(kind: int, body: bytes) -> bytes:
    return struct.pack(">BxL", kind, len(body)) + body


ABORT = _pdu(0x07, bytes(4))


def reject(result: int, source: int, reason: int) -> bytes:
    """An A-ASSOCIATE-RJ PDU (PS3.8 9.3.4)."""
    return _pdu(0x03, bytes((0, result, source, reason)))
