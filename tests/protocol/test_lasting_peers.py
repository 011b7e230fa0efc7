"""No peer holds a thread, a place or memory for long, nor ends without one line that says why."""

import errno
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from deploy.demo.running import wait_for
from ich_node.receive import association as association_module
from ich_node.receive import scp, spool, wire
from tests.support.peers import Listening, encoded, listening, small_object
from tests.support.wire import ABORT, associate_request, read_pdu, store_request

ACCEPT, RELEASED, ABORTED = 0x02, 0x06, 0x07
RELEASE = b"\x05\0\0\0\0\x04" + bytes(4)
IMAGE = small_object(PixelData=bytes(8000), BitsAllocated=16)
STORE = store_request(IMAGE, encoded(IMAGE), piece=2000)
NO_REQUEST, NO_RELEASE = "no association was asked for", "association aborted"
_TCP_REPAIR = 19  # tcp(7): a socket that is repaired closes without a word
MIDDLE = " in the middle of a message"
SUCCESS, OUT_OF_RESOURCES = (b"\0\0\0\x09\x02\0\0\0" + status for status in (b"\0\0", b"\0\xa7"))
Peer = Callable[[socket.socket], None]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listening]:
    """A receiver that waits half a second where it would be a minute."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(association_module, "_ARTIM_S", 0.5)
        patched.setattr(association_module, "_NETWORK_TIMEOUT_S", 0.5)
        patched.setattr(wire, "_GRACE_S", 0.5)
        with listening(tmp_path_factory.mktemp("lasting")) as started:
            yield started


def threads() -> int:
    """How many threads serve connections."""
    return sum(thread.name == "association" for thread in threading.enumerate())


def associated(connection: socket.socket, then: bytes = b"") -> None:
    connection.sendall(associate_request())
    assert read_pdu(connection)[0] == ACCEPT
    connection.sendall(then)


def still_stores(node: Listening) -> bool:
    """Tell whether an object is stored that comes at once: nobody waits long here."""
    image = small_object(1000 + len(node.files()))
    with socket.create_connection(("127.0.0.1", node.receiver.port), 10) as connection:
        connection.sendall(associate_request() + store_request(image, encoded(image)))
        assert read_pdu(connection)[0] == ACCEPT
        answer = read_pdu(connection)
        connection.sendall(RELEASE)
        return SUCCESS in answer and read_pdu(connection)[0] == RELEASED


def stay(connection: socket.socket) -> None:
    """Neither say anything nor go before the node ends it."""
    with suppress(ConnectionError):
        while connection.recv(1 << 16):
            pass


def drip(connection: socket.socket, content: bytes) -> None:
    """Send byte by byte until the node ends it."""
    connection.settimeout(0.02)
    with suppress(ConnectionError):
        for at in range(len(content)):
            connection.sendall(content[at : at + 1])
            try:
                if connection.recv(1 << 16)[:1] in (b"", bytes((ABORTED,))):
                    return
            except TimeoutError:
                continue


def reset(connection: socket.socket) -> None:
    """Let the connection break."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def vanish(connection: socket.socket) -> None:
    """Be gone without a FIN, as when a cable is pulled; who may not do that just stays silent."""
    try:
        connection.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR, 1)
    except OSError:
        stay(connection)
    connection.close()


def in_association(then: bytes, end: Peer) -> Peer:
    def peer(connection: socket.socket) -> None:
        associated(connection, then)
        end(connection)

    return peer


def after(content: bytes, end: Peer) -> Peer:
    def peer(connection: socket.socket) -> None:
        connection.sendall(content)
        end(connection)

    return peer


def drips_an_image(connection: socket.socket) -> None:
    associated(connection)
    drip(connection, STORE)


def close(connection: socket.socket) -> None:
    connection.close()


LATE = "nothing came for 0 s"
SLOW = "an object came slower than 1024 bytes/s"
ENDED = "the peer ended it"
BROKE = "the connection broke (Connection reset by peer)"


@pytest.mark.parametrize(
    ("peer", "event", "cause"),
    [
        (close, NO_REQUEST, ENDED),
        (stay, NO_REQUEST, LATE),
        (reset, NO_REQUEST, BROKE),
        (after(associate_request()[:50], close), NO_REQUEST, ENDED),
        (lambda connection: drip(connection, associate_request()), NO_REQUEST, LATE),
        (after(bytes(100), stay), NO_REQUEST, "what came is no A-ASSOCIATE-RQ"),
        (in_association(b"", stay), NO_RELEASE, LATE),
        (in_association(b"", close), NO_RELEASE, ENDED),
        (in_association(ABORT, close), NO_RELEASE, ENDED),
        (in_association(b"", reset), NO_RELEASE, BROKE),
        (in_association(STORE[:3000], stay), NO_RELEASE, LATE + MIDDLE),
        (in_association(STORE[:3000], close), NO_RELEASE, ENDED + MIDDLE),
        (in_association(STORE[:3000] + ABORT, close), NO_RELEASE, ENDED + MIDDLE),
        (drips_an_image, NO_RELEASE, SLOW + MIDDLE),
    ],
    ids=[
        *("port probe", "silent", "reset", "half a request", "drips a request", "zeros"),
        *("idle", "closes", "aborts", "breaks", "stalls in a PDU", "closes in a PDU"),
        *("aborts in a PDU", "drips an image"),
    ],
)
def test_a_peer_that_does_not_release_is_gone_in_time_and_leaves_one_line(
    node: Listening, said: list[dict[str, Any]], peer: Peer, event: str, cause: str
) -> None:
    before = node.files()
    with socket.create_connection(("127.0.0.1", node.receiver.port), 10) as connection:
        peer(connection)
        wait_for(lambda: said, 10, "line of the log")
        assert not node.receiver._peers.held
    wait_for(lambda: threads() == 0, 10, "end of the thread")
    (line,) = said
    who = {"address": "127.0.0.1"} if event == NO_REQUEST else {"calling_ae": "SENDER"}
    assert line == {"event": event, **who, "cause": cause}
    assert node.files() == before
    assert still_stores(node)


@pytest.mark.parametrize("sent", [b"", STORE[:3000]], ids=["idle", "in a PDU"])
def test_a_peer_that_vanishes_without_a_word_holds_no_place(
    node: Listening, said: list[dict[str, Any]], sent: bytes
) -> None:
    """Half-open: nothing tells the node that nobody is there but its own time limit, or a reset."""
    with socket.create_connection(("127.0.0.1", node.receiver.port), 10) as connection:
        in_association(sent, vanish)(connection)
        wait_for(lambda: said and not node.receiver._peers.held, 10, "line of the log")
    wait_for(lambda: threads() == 0, 10, "end of the thread")
    assert [line["event"] for line in said] == [NO_RELEASE]


def test_who_drips_delays_nobody(node: Listening, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "_GRACE_S", 60.0)
    with ExitStack() as opened:
        for _ in range(8):
            made = socket.create_connection(("127.0.0.1", node.receiver.port), 10)
            connection = opened.enter_context(made)
            associated(connection, STORE[:100])
        began = time.monotonic()
        assert still_stores(node)
        assert time.monotonic() - began < 10  # the others may take a minute


def test_a_steady_message_may_take_longer_than_the_grace(
    node: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow line is not a slow loris."""
    wait_for(lambda: threads() == 0, 10, "end of the others")
    monkeypatch.setattr(wire, "_GRACE_S", 0.1)
    monkeypatch.setattr(wire, "_SLOWEST", 10_000)
    with socket.create_connection(("127.0.0.1", node.receiver.port), 10) as connection:
        associated(connection)
        for at in range(0, len(STORE), 1000):
            connection.sendall(STORE[at : at + 1000])
            time.sleep(0.03)  # the slow line
        assert read_pdu(connection)[0] == 0x04


def test_of_too_many_silent_connections_the_oldest_make_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[dict[str, Any]]
) -> None:
    monkeypatch.setattr(scp, "_MOST_WAITING", 8)
    monkeypatch.setattr(scp, "_log", association_module._log)
    with listening(tmp_path) as node, ExitStack() as opened:

        def connection() -> socket.socket:
            made = socket.create_connection(("127.0.0.1", node.receiver.port), 10)
            return opened.enter_context(made)

        first = connection()
        associated(first)
        silent = [connection() for _ in range(40)]
        for one in silent[:32]:
            assert one.recv(1) == b""
        wait_for(lambda: threads() == 9, 10, "end of their threads")
        associated(silent[-1])
        assert still_stores(node)
        first.sendall(STORE)
        assert read_pdu(first)[0] == 0x04
        crowded = [line for line in said if line["event"].startswith("too many connections")]
        assert [line["connections"] for line in crowded] == [8]


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """A C-STORE request of 5 MB, which is more than is kept in memory, and than the disk gives."""
    monkeypatch.setattr(wire, "_SCRATCH", 2 << 20)
    image = small_object(500, PixelData=bytes(range(250)) * 20_000, BitsAllocated=16)
    return store_request(image, encoded(image), piece=100_000)


def test_an_object_too_large_for_memory_passes_over_the_disk_and_leaves_nothing_there(
    tmp_path: Path, large: bytes
) -> None:
    with listening(tmp_path) as node:
        with socket.create_connection(("127.0.0.1", node.receiver.port), 10) as connection:
            associated(connection)
            for number in (b"1.2.3.500", b"1.2.3.501"):
                connection.sendall(large.replace(b"1.2.3.500", number))
                assert SUCCESS in read_pdu(connection)
        stored = node.files()
        assert [path.stem for path in stored] == ["1.2.3.500", "1.2.3.501"]
        for path in stored:
            assert bytes(range(250)) * 20_000 in path.read_bytes()
        others = {path.suffix for path in tmp_path.rglob("*") if path.is_file()} - {".dcm"}
        assert others <= {".sqlite", ".sqlite-wal", ".sqlite-shm"}


def test_an_object_that_the_disk_has_no_room_for_is_refused_and_the_next_one_is_stored(
    tmp_path: Path, large: bytes, monkeypatch: pytest.MonkeyPatch, said: list[dict[str, Any]]
) -> None:
    with listening(tmp_path) as node:

        def full(*_arguments: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(spool.os, "posix_fallocate", full)
        with socket.create_connection(("127.0.0.1", node.receiver.port), 10) as connection:
            associated(connection, large)
            assert OUT_OF_RESOURCES in read_pdu(connection)
            connection.sendall(STORE)
            assert SUCCESS in read_pdu(connection)
            refused = [line for line in said if line["event"] == "object refused"]
        assert [(line["status"], line["cause"]) for line in refused] == [
            ("A700H", "the disk has no room for an object of this size")
        ]
        assert [path.stem for path in node.files()] == ["1.2.3.1"]
