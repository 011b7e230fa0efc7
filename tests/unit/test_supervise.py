"""What dies or hangs is started again; its death is judged. Time is given, processes are real."""

import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from ich_node import supervise
from ich_node.errors import CANNOT_START, ConfigError
from ich_node.notify import ALIVE, READY, notify
from ich_node.supervise import Cause, Child, cause_of, said

Make = Callable[[str], Child]


@pytest.fixture
def deaths() -> list[Cause]:
    return []


@pytest.fixture
def child(tmp_path: Path, deaths: list[Cause]) -> Iterator[Make]:
    """Make a child that runs a Python program."""
    made: list[Child] = []

    def make(program: str) -> Child:
        command = [sys.executable, "-c", program]
        made.append(
            Child("work", command, tmp_path, lambda _name, _pid, cause: deaths.append(cause))
        )
        return made[-1]

    yield make
    for one in made:
        if one.process is not None:
            one.process.kill()
            one.process.wait()
        one.close()


def died(child: Child, now: float) -> None:
    """Let the child's process end and the supervisor see it."""
    assert child.process is not None
    child.process.wait(30)
    child.look(now)
    assert child.process is None


WAITS = "import sys; sys.stdin.read()"


def test_what_keeps_crashing_is_started_again_after_growing_pauses(
    child: Make, deaths: list[Cause]
) -> None:
    one, now, starts = child("raise SystemExit(1)"), 0.0, []
    while len(starts) < 9:
        one.look(now)
        if one.process is not None:
            starts.append(now)
            died(one, now)
        now += 0.25
    pauses = [later - earlier for earlier, later in pairwise(starts)]
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (0.5, 30.0)
    assert set(deaths) == {Cause.CRASH}


def test_what_lived_for_a_while_is_started_again_soon(child: Make) -> None:
    one = child("raise SystemExit(1)")
    now = 0.0
    for _ in range(5):
        one.look(now)
        died(one, now + 60.0)
        one.look(now + 60.25)
        assert one.process is None
        now += 60.5
    one.look(now)
    assert one.process is not None


def test_what_is_killed_from_outside_is_started_again_soon(
    child: Make, deaths: list[Cause], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is nobody's fault here; the pauses do not grow."""
    monkeypatch.setattr(supervise, "out_of_memory_kills", lambda: 0)
    one, now = child(WAITS), 0.0
    for _ in range(5):
        one.look(now)
        assert one.process is not None
        one.process.kill()
        died(one, now)
        now += 0.5
    assert deaths == [Cause.KILLED] * 5


def test_what_cannot_start_is_not_started_again(child: Make) -> None:
    one = child(f"raise SystemExit({CANNOT_START})")
    one.look(0.0)
    assert one.process is not None
    one.process.wait(30)
    with pytest.raises(ConfigError, match="ich-node work"):
        one.look(1.0)


def test_what_cannot_be_started_now_is_tried_again_after_growing_pauses(
    child: Make, deaths: list[Cause], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No memory or no process to be had: the others must not end for that."""
    tries: list[float] = []
    one, now = child(WAITS), 0.0

    def refuse(*_arguments: object, **_named: object) -> None:
        tries.append(now)
        raise BlockingIOError

    with monkeypatch.context() as patch:
        patch.setattr(supervise.subprocess, "Popen", refuse)
        while len(tries) < 4:
            one.look(now)
            now += 0.25
    assert [later - earlier for earlier, later in pairwise(tries)] == [0.5, 1.0, 2.0]
    one.look(now + 4.0)
    assert one.process is not None
    assert deaths == []


def speak(child: Child, monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    """Say something as the child does."""
    monkeypatch.setenv("NOTIFY_SOCKET", child._address)
    notify(*lines)


def test_one_that_is_silent_is_killed_and_replaced(
    child: Make, deaths: list[Cause], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it is stopped, frozen or stuck: nothing is heard of it."""
    one = child(WAITS)
    one.look(0.0)
    speak(one, monkeypatch, READY)
    one.look(1.0)
    assert one.ready
    for now in (20.0, 40.0, 60.0):
        speak(one, monkeypatch, ALIVE)
        one.look(now)
        assert one.process is not None
        assert one.process.poll() is None
    one.look(60.0 + supervise.WATCHDOG_S + 1.0)
    died(one, 92.0)
    assert deaths == [Cause.WATCHDOG]
    one.look(93.0)
    assert one.process is not None
    assert not one.ready


def test_one_that_starts_has_more_time(child: Make) -> None:
    one = child(WAITS)
    one.look(0.0)
    one.look(supervise.START_S - 1.0)
    assert one.process is not None
    assert one.process.poll() is None
    one.look(supervise.START_S + 1.0)
    died(one, supervise.START_S + 2.0)


@pytest.mark.parametrize(
    ("code", "hung", "out_of_memory", "cause"),
    [
        (1, False, False, Cause.CRASH),
        (0, False, False, Cause.CRASH),
        (-11, False, True, Cause.CRASH),
        (-9, False, False, Cause.KILLED),
        (-9, False, True, Cause.OUT_OF_MEMORY),
        (-9, True, True, Cause.WATCHDOG),
    ],
)
def test_deaths_are_judged(code: int, hung: bool, out_of_memory: bool, cause: Cause) -> None:
    assert cause_of(code, hung, out_of_memory) is cause


def test_ends_are_put_into_words() -> None:
    assert [said(1), said(-9), said(-11)] == [
        "status 1",
        "signal 9 (SIGKILL)",
        "signal 11 (SIGSEGV)",
    ]


def test_notify_is_silent_where_nobody_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify(READY)
    monkeypatch.setenv("NOTIFY_SOCKET", "/nowhere/at/all")
    notify(READY)


def test_notify_speaks_to_abstract_sockets_too(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind("")  # the system chooses an abstract name
        name = listening.getsockname().decode()
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name[1:]}")
        notify(READY, "STATUS=well")
        listening.settimeout(5)
        assert listening.recv(100) == b"READY=1\nSTATUS=well"


def test_a_supervisor_that_does_not_listen_stops_nobody(
    child: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its socket's buffer fills; the child goes on."""
    one = child(WAITS)
    for _ in range(2000):
        speak(one, monkeypatch, ALIVE)


@pytest.mark.parametrize(("length", "temporary"), [(10, 1), (150, 150)])
def test_sockets_have_a_private_folder_with_a_short_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, length: int, temporary: int
) -> None:
    """A socket's address has room for about a hundred bytes, wherever TMPDIR points."""
    folder, other = tmp_path / ("x" * length), tmp_path / ("t" * temporary)
    folder.mkdir()
    other.mkdir()
    monkeypatch.setattr(supervise.tempfile, "tempdir", str(other))
    chosen = supervise._folder_for_sockets(folder)
    try:
        assert chosen.stat().st_mode & 0o777 == 0o700
        assert list(chosen.iterdir()) == []
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
            listening.bind(str(chosen / "receive"))
        assert list(supervise._folder_for_sockets(chosen.parent).iterdir()) == []
    finally:
        shutil.rmtree(chosen, ignore_errors=True)


def test_what_was_ready_before_is_started_again_whatever_it_lacks_now(
    child: Make, deaths: list[Cause], tmp_path: Path
) -> None:
    """A device that is lost while it runs may come back; the receiver goes on meanwhile."""
    flag = tmp_path / "was-there"
    one = child(
        "import pathlib, sys\n"
        "from ich_node.notify import READY, notify\n"
        f"flag = pathlib.Path({str(flag)!r})\n"
        f"if flag.exists(): sys.exit({CANNOT_START})\n"
        "flag.touch(); notify(READY); sys.exit(1)\n"
    )
    one.look(0.0)
    died(one, 1.0)
    one.look(20.0)
    died(one, 21.0)
    assert deaths == [Cause.CRASH, Cause.CRASH]
