"""Nobody is in who should not be: each stranger gets its reason, one line, and stores nothing."""

import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from deploy.demo.running import wait_for
from ich_node.receive import association, scp
from ich_node.settings import Source, Tls
from ich_node.store.tables import instance
from tests.support.certificates import Certificate, authority, expired, signed
from tests.support.peers import Listening, encoded, listening, small_object
from tests.support.wire import associate_request, read_pdu, reject, store_request

SOURCES = (
    Source(name="sender", ae_title="SENDER", hosts=("127.0.0.1",)),
    Source(name="other", ae_title="OTHER", hosts=("127.0.0.9",)),
)
IMAGE = small_object()
ACCEPT = b"\x02"
REJECTED, NO_TLS = "association rejected", "TLS was not agreed"
# PS3.8 table 9-21: permanent, by the service user.
CALLING, CALLED = reject(1, 1, 3), reject(1, 1, 7)


@dataclass(frozen=True)
class Peer:
    """Who it says it is, where it calls from, and what it shows: a name of `shown`, or no TLS."""

    calling: str = "SENDER"
    called: str = "ICH_NODE"
    address: str = "127.0.0.1"
    shows: str | None = None


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("strangers")


@pytest.fixture(scope="module")
def ca(folder: Path) -> Certificate:
    return authority(folder)


@pytest.fixture(scope="module")
def shown(folder: Path, ca: Certificate) -> dict[str, Certificate | None]:
    """What peers show to the port with TLS."""
    return {
        "ours": signed(folder, "sender", ca),
        "a stranger's": signed(folder, "stranger", authority(folder / "other", "other")),
        "its own": authority(folder / "own", "own"),
        "expired": expired(folder, "expired", ca),
        "nothing": None,
    }


@pytest.fixture(scope="module")
def plain(folder: Path) -> Iterator[Listening]:
    """A node whose port speaks plain DICOM."""
    with listening(folder / "plain", sources=SOURCES) as node:
        yield node


@pytest.fixture(scope="module")
def secure(folder: Path, ca: Certificate) -> Iterator[Listening]:
    """A node whose port speaks TLS, and asks for a certificate."""
    own = signed(folder, "node", ca, "DNS:localhost,IP:127.0.0.1")
    tls = Tls(enabled=True, cert=str(own.cert), key=str(own.key), ca=str(ca.cert))
    with listening(folder / "secure", sources=SOURCES, tls=tls) as node:
        yield node


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Every line that the port logs."""
    said: list[dict[str, Any]] = []

    class _Log:
        def _note(self, text: str, **pairs: Any) -> None:
            said.append({"event": text, **pairs})

        info = warning = error = _note

    for module in (association, scp):
        monkeypatch.setattr(module, "_log", _Log())
    return said


@pytest.fixture
def converse(
    ca: Certificate, shown: dict[str, Certificate | None]
) -> Callable[[Listening, Peer], bytes]:
    """Ask for an association and send an image whatever is answered; return the answer."""

    @contextmanager
    def connected(node: Listening, peer: Peer) -> Iterator[socket.socket]:
        where = ("127.0.0.1", node.receiver.port)
        with socket.create_connection(where, 10, (peer.address, 0)) as connection:
            if peer.shows is None:
                yield connection
                return
            context = ssl.create_default_context(cafile=str(ca.cert))
            if (own := shown[peer.shows]) is not None:
                context.load_cert_chain(own.cert, own.key)
            with context.wrap_socket(connection, server_hostname="localhost") as wrapped:
                yield wrapped

    def talk(node: Listening, peer: Peer) -> bytes:
        answer = b""
        with suppress(OSError), connected(node, peer) as connection:
            connection.sendall(associate_request(peer.calling, peer.called))
            answer = read_pdu(connection)
            connection.sendall(store_request(IMAGE, encoded(IMAGE)))
            if answer[:1] == ACCEPT:
                read_pdu(connection)
        return answer

    return talk


@pytest.mark.openssl
@pytest.mark.parametrize(
    ("port", "peer", "answer", "event", "words"),
    [
        ("plain", Peer(calling="NOBODY"), CALLING, REJECTED, "'NOBODY' is in no [[sources]]"),
        ("plain", Peer(called="WRONG"), CALLED, REJECTED, "called AE title 'WRONG' is not"),
        ("plain", Peer(address="127.0.0.2"), CALLING, REJECTED, "calls from 127.0.0.2, which is"),
        ("plain", Peer(calling="OTHER"), CALLING, REJECTED, "not in its hosts (127.0.0.9)"),
        ("secure", Peer(), b"", NO_TLS, ""),
        ("secure", Peer(shows="nothing"), b"", NO_TLS, "PEER_DID_NOT_RETURN_A_CERTIFICATE"),
        ("secure", Peer(shows="a stranger's"), b"", NO_TLS, "CERTIFICATE_VERIFY_FAILED"),
        ("secure", Peer(shows="its own"), b"", NO_TLS, "CERTIFICATE_VERIFY_FAILED"),
        ("secure", Peer(shows="expired"), b"", NO_TLS, "certificate has expired"),
        ("secure", Peer(calling="NOBODY", shows="ours"), CALLING, REJECTED, "'NOBODY'"),
        ("secure", Peer(called="WRONG", shows="ours"), CALLED, REJECTED, "'WRONG'"),
        ("secure", Peer(address="127.0.0.2", shows="ours"), CALLING, REJECTED, "127.0.0.2"),
    ],
    ids=[
        *("AE title", "called AE title", "address", "address of another"),
        *("plain on TLS", "no certificate", "strangers certificate", "own certificate"),
        *("expired certificate", "AE title on TLS", "called AE title on TLS", "address on TLS"),
    ],
)
def test_a_stranger_is_refused_with_its_reason_and_one_line_and_stores_nothing(
    request: pytest.FixtureRequest,
    lines: list[dict[str, Any]],
    converse: Callable[[Listening, Peer], bytes],
    port: str,
    peer: Peer,
    answer: bytes,
    event: str,
    words: str,
) -> None:
    node = request.getfixturevalue(port)
    got = converse(node, peer)
    assert got == answer or (not answer and got[:1] != ACCEPT)  # an alert of TLS, or nothing
    wait_for(lambda: lines, 10, "line of the log")
    wait_for(lambda: not node.receiver._connections, 10, "end of the connection")
    (line,) = lines
    assert (line["event"], line["address"]) == (event, peer.address)
    assert words in line["cause"]
    assert node.files() == []
    assert node.rows(instance) == []


@pytest.mark.openssl
@pytest.mark.parametrize(("port", "peer"), [("plain", Peer()), ("secure", Peer(shows="ours"))])
def test_who_is_known_is_let_in(
    tmp_path: Path,
    request: pytest.FixtureRequest,
    converse: Callable[[Listening, Peer], bytes],
    port: str,
    peer: Peer,
) -> None:
    """Or else the refusals above would prove nothing."""
    settings = request.getfixturevalue(port).settings
    with listening(tmp_path, sources=SOURCES, tls=settings.tls) as node:
        assert converse(node, peer)[:1] == ACCEPT
        wait_for(lambda: len(node.rows(instance)) == 1, 10, "row of the image")


@pytest.mark.openssl
def test_connections_that_begin_no_tls_make_way_for_who_does(
    secure: Listening,
    converse: Callable[[Listening, Peer], bytes],
    lines: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scp, "_MOST_WAITING", 4)
    where = ("127.0.0.1", secure.receiver.port)
    with ExitStack() as opened:
        silent = [opened.enter_context(socket.create_connection(where, 30)) for _ in range(12)]
        for one in silent[:8]:
            assert one.recv(1) == b""
        assert converse(secure, Peer(calling="NOBODY", shows="ours")) == CALLING
    wait_for(lambda: not secure.receiver._connections, 10, "end of the connections")
    crowded = [line for line in lines if line["event"].startswith("too many connections")]
    assert [line["connections"] for line in crowded] == [4]
