"""Messages reach each place in order, at least once, however long it is away."""

import base64
import os
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest

from deploy.demo.running import free_port, wait_for
from ich_node.audit import forward, outlets
from ich_node.audit.forward import Forwarder, forwarder
from ich_node.errors import ConfigError
from ich_node.settings import Audit, Settings, Storage, Tls, load_settings
from ich_node.store import events, trail
from ich_node.store.engine import Engine, migrate, open_engine
from tests.support.certificates import authority, server_context, signed


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    opened = open_engine(f"sqlite:///{tmp_path / 'ich-node.sqlite'}")
    migrate(opened)
    trail.started(opened, "aa" * 32)
    yield opened
    opened.dispose()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(forward, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


def made(engine: Engine, tmp_path: Path, tls: Tls | None = None, **audit: object) -> Forwarder:
    storage = Storage(data_dir=tmp_path)
    settings = Settings(storage=storage, audit=Audit(**audit), tls=tls or Tls())
    return forwarder(engine, settings)


def ask(engine: Engine, *numbers: int) -> None:
    """Let something happen that is one message each."""
    for number in numbers:
        trail.asked(engine, "hold", destinations=[f"n{number}"])


@dataclass
class Server:
    """A syslog server that reads each connection to its end."""

    port: int
    said: list[bytes] = field(default_factory=list)

    def messages(self) -> list[str]:
        """The messages in the frames, whose octets are counted (RFC 6587 3.4.1)."""
        found = []
        rest = b"".join(self.said)
        while rest:
            length, _, rest = rest.partition(b" ")
            found.append(rest[: int(length)].decode())
            rest = rest[int(length) :]
        return found


@contextmanager
def serving(port: int = 0, wrap: Callable[[socket.socket], socket.socket] | None = None):
    listening = socket.create_server(("127.0.0.1", port))
    server = Server(listening.getsockname()[1])

    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with suppress(OSError), connection:
                speaking = wrap(connection) if wrap is not None else connection
                server.said.append(b"".join(iter(partial(speaking.recv, 65536), b"")))
                if isinstance(speaking, ssl.SSLSocket):
                    speaking.unwrap().close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join(10)


def asked_for(texts: list[str]) -> list[int]:
    """Numbers of what was asked for, in the order told."""
    coded = re.findall(r'type="Alert Description" value="([^"]+)"', "".join(texts))
    told = "".join(base64.b64decode(value).decode() for value in coded)
    return [int(number) for number in re.findall(r"`ich-node hold n(\d+)`", told)]


def test_the_file_gets_every_message_once_and_is_private(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "audit" / "messages.xml"
    places = made(engine, tmp_path, file=str(path))
    ask(engine, 1, 2)
    assert places.look() == 3
    ask(engine, 3)
    assert (places.look(), places.look()) == (1, 0)
    lines = path.read_text().splitlines()
    assert "110120" in lines[0]
    assert asked_for(lines) == [1, 2, 3]
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_line_that_a_crash_has_cut_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "messages.xml"
    path.write_text("<Audit")
    outlets.append(path, ["<a/>", "<b/>"])
    outlets.append(path, ["<c/>"])
    assert path.read_text() == "<Audit\n<a/>\n<b/>\n<c/>\n"


def test_whoever_checks_makes_no_file_that_the_node_could_not_write(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "messages.xml"
    outlets.append(path, [])
    assert not path.parent.exists()


def test_a_file_that_cannot_be_written_is_found_by_a_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda _path, _mode: False)  # root may write everything
    with pytest.raises(PermissionError, match="denied"):
        outlets.append(tmp_path / "messages.xml", [])


def test_a_new_process_goes_on_where_the_last_one_was(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "messages.xml"
    made(engine, tmp_path, file=str(path)).look()
    ask(engine, 1)
    assert made(engine, tmp_path, file=str(path)).look() == 1


def test_one_that_dies_before_it_noted_what_went_sends_it_again(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "messages.xml"
    with monkeypatch.context() as dying:
        dying.setattr(trail, "advance", lambda *_arguments: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            made(engine, tmp_path, file=str(path)).look()
    made(engine, tmp_path, file=str(path)).look()
    assert len(path.read_text().splitlines()) == 2


def test_syslog_gets_frames_of_rfc_5424_in_order(engine: Engine, tmp_path: Path) -> None:
    ask(engine, *range(5))
    with serving() as server:
        places = made(
            engine, tmp_path, syslog_host="127.0.0.1", syslog_port=server.port, syslog_tls=False
        )
        assert places.look() == 6
        got = server.messages()
    assert asked_for(got) == list(range(5))
    head, text = got[0].split("\ufeff")
    priority, moment, host, name, pid, kind, structured, end = head.split(" ")
    assert priority == "<85>1"
    assert moment.endswith("Z")
    assert host == socket.gethostname()
    assert (name, pid, kind) == ("ich-node", str(os.getpid()), "DICOM+RFC3881")
    assert (structured, end) == ("-", "")
    assert text.startswith("<AuditMessage>")


def test_nothing_is_lost_while_the_server_is_away_and_the_file_does_not_wait(
    engine: Engine, tmp_path: Path, clock: list[float]
) -> None:
    port, path = free_port(), tmp_path / "messages.xml"
    places = made(
        engine,
        tmp_path,
        file=str(path),
        syslog_host="127.0.0.1",
        syslog_port=port,
        syslog_tls=False,
    )
    for number in range(6):
        ask(engine, number)
        places.look()
        clock[0] += 1000.0
    assert asked_for(path.read_text().splitlines()) == list(range(6))
    with serving(port) as server:
        places.look()
        assert asked_for(server.messages()) == list(range(6))


def test_a_server_that_is_away_is_not_asked_all_the_time(
    engine: Engine, tmp_path: Path, clock: list[float]
) -> None:
    tried = []
    places = made(engine, tmp_path, file="x")
    [place] = places.places

    def fail(_told: object) -> None:
        tried.append(clock[0])
        raise OSError(111, "refused")

    place.put = fail
    for _ in range(1000):
        places.look()
        clock[0] += 1.0
    pauses = [after - before for before, after in pairwise(tried)]
    assert pauses[:4] == [5.0, 10.0, 20.0, 40.0]
    assert max(pauses) <= 300.0


def test_a_server_that_ends_before_it_has_read_gets_all_of_it_again(
    engine: Engine, tmp_path: Path, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Much is sent, so that it cannot all lie in the buffers of the system."""
    monkeypatch.setattr(forward, "_BATCH", 20_000)
    monkeypatch.setattr(trail, "_BATCH", 20_000)
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]

    def rude() -> None:
        connection, _ = listening.accept()
        connection.recv(10)
        connection.close()

    thread = threading.Thread(target=rude)
    thread.start()
    ask(engine, 1, 2, 3)
    places = made(engine, tmp_path, syslog_host="127.0.0.1", syslog_port=port, syslog_tls=False)
    assert places.look() == 0
    thread.join(10)
    listening.close()
    clock[0] += 10.0
    with serving(port) as server:
        assert places.look() == 4
        assert asked_for(server.messages()) == [1, 2, 3]


@pytest.mark.openssl
def test_by_tls_only_a_server_that_is_trusted_gets_them(
    engine: Engine, tmp_path: Path, clock: list[float]
) -> None:
    ca, other = authority(tmp_path), authority(tmp_path / "other")
    own = signed(tmp_path, "server", ca)
    context = server_context(own)
    ask(engine, 1)

    def wrap(connection: socket.socket) -> socket.socket:
        return context.wrap_socket(connection, server_side=True)

    with serving(wrap=wrap) as server:
        where = {"syslog_host": "localhost", "syslog_port": server.port}
        assert made(engine, tmp_path, Tls(ca=str(other.cert)), **where).look() == 0
        assert server.messages() == []
        assert made(engine, tmp_path, Tls(ca=str(ca.cert)), **where).look() == 2
        wait_for(lambda: server.said, 10, "the messages")
        assert asked_for(server.messages()) == [1]


@pytest.mark.openssl
def test_a_tls_server_that_ends_before_it_has_read_gets_all_of_it_again(
    engine: Engine, tmp_path: Path, clock: list[float]
) -> None:
    """Nothing of what the broken connection took counts; much is sent, more than buffers hold."""
    ca = authority(tmp_path)
    context = server_context(signed(tmp_path, "server", ca))
    times = []

    def rude_once(connection: socket.socket) -> socket.socket:
        secure = context.wrap_socket(connection, server_side=True)
        times.append(len(times))
        if len(times) == 1:
            secure.recv(10)
            secure.close()
            raise ConnectionAbortedError
        return secure

    for number in (1, 2, 3):
        trail.asked(engine, "hold", destinations=[f"n{number}", 4_000_000 * "x"])
    with serving(wrap=rude_once) as server:
        tls = Tls(ca=str(ca.cert))
        places = made(engine, tmp_path, tls, syslog_host="localhost", syslog_port=server.port)
        [place] = places.places
        before = trail.position(engine, place.sink)
        assert places.look() == 0
        assert trail.position(engine, place.sink) == before
        clock[0] += 10.0
        assert places.look() == 4
        wait_for(lambda: server.said, 20, "the messages")
        got = server.messages()
    assert len(times) == 2
    assert len(got) == 4
    assert trail.position(engine, place.sink) == trail.newest(engine)


def test_one_entry_that_cannot_be_told_holds_up_no_other(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "messages.xml"
    events.add(engine, "transferred", "without any of its facts")
    ask(engine, 1)
    made(engine, tmp_path, file=str(path)).look()
    assert asked_for(path.read_text().splitlines()) == [1]


def test_each_place_has_a_position_of_its_own(engine: Engine, tmp_path: Path) -> None:
    """A trail is pruned only up to where the last of them is."""
    assert Audit(file="x", syslog_host="h").sinks == ("file:x", "syslog:h:6514")
    [place] = made(engine, tmp_path, file=str(tmp_path / "m")).places
    place.look(engine, forward.reporter(Settings(storage=Storage(data_dir=tmp_path)), "h"))
    assert trail.position(engine, place.sink) == trail.newest(engine)


def test_syslog_by_tls_needs_to_know_whom_to_trust(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    path.write_text('[audit]\nsyslog_host = "log"\n')
    with pytest.raises(ConfigError, match=r"syslog_tls = true, which needs tls\.ca"):
        load_settings(path)


def test_the_file_starts_at_the_folder_of_the_configuration(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    path.write_text('[audit]\nfile = "audit/messages.xml"\n')
    assert load_settings(path).audit.file == str(tmp_path / "audit" / "messages.xml")
