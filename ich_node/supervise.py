"""Processes watched over: started, started again when they die, killed when they hang.

Each child tells by the protocol of `notify` that it is ready and that it is alive. One that says
nothing for too long is stopped, frozen, or stuck in a call that does not return: it is killed, and
its successor takes up what it had at hand.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from enum import StrEnum
from pathlib import Path

from ich_node import logs
from ich_node.errors import CANNOT_START, DAMAGED, ConfigError, Damaged
from ich_node.notify import ALIVE, READY, STOPPING, notify

_log = logs.get(__name__)

# A child beats every few seconds; one that is silent for this long hangs.
WATCHDOG_S = 30.0
# A model is loaded, or a database of an older version brought up to date.
START_S = 300.0
STOP_S = 30.0
_LOOK_S = 0.5
_STEADY_S = 10.0
_SHORTEST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 30.0
_BEAT_S = 5.0
_LOOK_AT_S = 2.0
_LONGEST_FOLDER = 80


class Cause(StrEnum):
    """Why a child ended although nobody asked it to."""

    CRASH = "crash"
    WATCHDOG = "watchdog"
    OUT_OF_MEMORY = "out_of_memory"
    KILLED = "killed"


OnDeath = Callable[[str, int, Cause], None]


def cause_of(code: int, hung: bool, out_of_memory: bool) -> Cause:
    """Judge a death.

    Parameters
    ----------
    code
        Exit status, or minus the number of the signal.
    hung
        We killed it.
    out_of_memory
        The system killed a process for want of memory meanwhile, or cannot tell.
    """
    if hung:
        return Cause.WATCHDOG
    if code != -signal.SIGKILL:
        return Cause.CRASH
    return Cause.OUT_OF_MEMORY if out_of_memory else Cause.KILLED


def out_of_memory_kills() -> int | None:
    """Return how many processes the system has killed for want of memory; None if not told."""
    try:
        lines = Path("/proc/vmstat").read_text().splitlines()
    except OSError:
        return None
    counts = [int(line.split()[1]) for line in lines if line.startswith("oom_kill ")]
    return counts[0] if counts else None


def said(code: int) -> str:
    """Put an exit status into words."""
    if code >= 0:
        return f"status {code}"
    try:
        return f"signal {-code} ({signal.Signals(-code).name})"
    except ValueError:
        return f"signal {-code}"


class Child:
    """One process: started, listened to, killed when it hangs, started again after a pause."""

    def __init__(self, name: str, command: Sequence[str], folder: Path, on_death: OnDeath) -> None:
        self.name = name
        self.ready = self._was_ready = False
        self.process: subprocess.Popen[bytes] | None = None
        self._command = command
        self._on_death = on_death
        self._address = str(folder / name)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self._address)
        self._socket.setblocking(False)
        self._pause = _SHORTEST_PAUSE_S
        self._next_start = 0.0
        self._started = self._heard = 0.0
        self._hung = False
        self._kills: int | None = None

    def fileno(self) -> int:
        """Return what to wait on for its next message."""
        return self._socket.fileno()

    def look(self, now: float) -> None:
        """Listen, and do what is due at the monotonic time `now`, s.

        Raises
        ------
        ConfigError
            It ended with `CANNOT_START`, and never was ready: starting it again is no use. What was
            ready before had what it needs, such as a device, and may get it back.
        Damaged
            It ended with `DAMAGED`.
        """
        self._listen(now)
        if self.process is None:
            if now >= self._next_start:
                self._start(now)
            return
        code = self.process.poll()
        if code is not None:
            self._ended(self.process.pid, code, now)
        elif now - self._heard > (WATCHDOG_S if self.ready else START_S) and not self._hung:
            self._hung = True
            _log.error("process hangs; killed", name=self.name, silent_s=round(now - self._heard))
            self.process.kill()

    def close(self) -> None:
        """Listen no more."""
        self._socket.close()

    def _listen(self, now: float) -> None:
        with suppress(BlockingIOError):
            while True:
                message = self._socket.recv(4096).decode(errors="replace").splitlines()
                self._heard = now
                self.ready |= READY in message
                self._was_ready |= self.ready

    def _start(self, now: float) -> None:
        self._started = self._heard = now
        self.ready = self._hung = False
        self._kills = out_of_memory_kills()
        try:
            self.process = subprocess.Popen(self._command, env=_environment(self._address))  # noqa: S603
        except OSError as error:  # no memory or no process to be had: the others need not end
            _log.error("cannot start a process", name=self.name, **logs.cause(error))
            self._pause_from(now)

    def _pause_from(self, now: float) -> None:
        self._next_start = now + self._pause
        self._pause = min(2 * self._pause, _LONGEST_PAUSE_S)

    def _ended(self, pid: int, code: int, now: float) -> None:
        self.process, self.ready = None, False
        if code == CANNOT_START and not self._was_ready:
            raise ConfigError(f"`ich-node {self.name}` cannot start; its message stands above")
        if code == DAMAGED:
            raise Damaged(f"`ich-node {self.name}` found the database damaged")
        kills = out_of_memory_kills()
        cause = cause_of(code, self._hung, kills is None or kills != self._kills)
        own_fault = cause in (Cause.CRASH, Cause.OUT_OF_MEMORY)
        if not own_fault or now - self._started > _STEADY_S:
            self._pause = _SHORTEST_PAUSE_S
        _log.error(
            "process ended", name=self.name, by=said(code), cause=cause, restart_in_s=self._pause
        )
        self._pause_from(now)
        self._on_death(self.name, pid, cause)


def _environment(address: str) -> Mapping[str, str]:
    watchdog = str(int(WATCHDOG_S * 1e6))
    return {**os.environ, "NOTIFY_SOCKET": address, "WATCHDOG_USEC": watchdog}


def supervise(
    commands: Mapping[str, Sequence[str]],
    folder: Path,
    stopping: Callable[[], bool],
    when_ready: Callable[[], None],
    on_death: OnDeath,
    look: Callable[[], None],
) -> None:
    """Keep processes running until told to stop; then stop them all.

    Parameters
    ----------
    commands
        What to start, by name, in this order.
    folder
        Where their sockets may lie; nobody else works there.
    stopping
        Tells whether to stop.
    when_ready
        Called once, when the first of them is ready.
    on_death
        Called with name, process id and cause when one ended unasked.
    look
        Called every few seconds; what it raises ends them all.

    Raises
    ------
    ConfigError
        One of them cannot start.
    Damaged
        One of them found the database damaged, or `look` did.
    """
    sockets = _folder_for_sockets(folder)
    children = [Child(name, command, sockets, on_death) for name, command in commands.items()]
    told, beaten, looked = False, 0.0, 0.0
    try:
        while not stopping():
            select.select(children, [], [], _LOOK_S)
            now = time.monotonic()
            for child in children:
                child.look(now)
            if not told and children[0].ready:
                told = True
                when_ready()
                notify(READY)
            if now - beaten > _BEAT_S:
                beaten = now
                notify(ALIVE)
            if now - looked > _LOOK_AT_S:
                looked = now
                look()
    finally:
        notify(STOPPING)
        _stop([child.process for child in children if child.process is not None])
        for child in children:
            child.close()
        shutil.rmtree(sockets, ignore_errors=True)


def _folder_for_sockets(folder: Path) -> Path:
    """Make a private folder whose sockets have short names, as unix(7) wants them."""
    chosen = folder / "notify"
    if len(str(chosen)) > _LONGEST_FOLDER:
        usual = Path(tempfile.gettempdir()) / "ich-node-12345678"
        fits = len(str(usual)) <= _LONGEST_FOLDER
        return Path(tempfile.mkdtemp(prefix="ich-node-", dir=None if fits else "/tmp"))  # noqa: S108  private
    shutil.rmtree(chosen, ignore_errors=True)  # of one that was killed
    chosen.mkdir(mode=0o700)
    return chosen


def _stop(running: Sequence[subprocess.Popen[bytes]]) -> None:
    """Ask all to end, and kill what has not after `STOP_S` seconds."""
    for process in running:
        process.terminate()
    deadline = time.monotonic() + STOP_S
    for process in running:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
