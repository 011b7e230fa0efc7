"""A real `ich-node serve` on the loopback address, in processes of its own."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from ich_node.settings import ENV_PREFIX

T = TypeVar("T")

_START_S = 120.0
_STOP_S = 60.0
_OWN_PORTS = range(20000, 32768)
_OF_A_SERVICE = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


@dataclass(frozen=True)
class StartedNode:
    """A node that answers, or soon will, on ``port`` of the loopback address."""

    config: Path
    port: int
    log: Path
    process: subprocess.Popen[bytes]

    @property
    def said(self) -> Path:
        """What `serve` prints for people."""
        return self.log.with_suffix(".out")


def free_port() -> int:
    """Return a loopback TCP port that nobody uses now.

    It is below those that the system gives to whoever asks for any: none gets it before its user.
    """
    while True:
        port = _OWN_PORTS.start + secrets.randbelow(len(_OWN_PORTS))
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def wait_for(look: Callable[[], T | None], deadline_s: float, what: str) -> T:
    """Look until there is something.

    Raises
    ------
    TimeoutError
        Nothing within `deadline_s` seconds; the text names `what`.
    """
    deadline = time.monotonic() + deadline_s
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > deadline:
            raise TimeoutError(f"no {what} within {deadline_s:.0f} s")
        time.sleep(0.1)


def configuration(
    folder: Path,
    port: int,
    destinations: Sequence[tuple[str, str, int]],
    *,
    ae_title: str = "ICH_NODE",
    quiet_seconds: float = 2.0,
    bundle: str = "smartnet-ich",
    device: str = "auto",
    precision: str = "auto",
    senders: Sequence[str] = ("SENDER",),
    query: str = "",
    min_free_gb: float = 0.1,
    max_associations: int = 32,
) -> Path:
    """Write a node.toml for a node on the loopback address.

    Parameters
    ----------
    destinations
        Name, AE title and port of each.
    query
        Name of the destination that is asked how many instances a series has.
    """
    lines = [
        f'[dicom]\nae_title = {_quoted(ae_title)}\nhost = "127.0.0.1"\nport = {port}',
        f"max_associations = {max_associations}",
        f"[storage]\nmin_free_gb = {min_free_gb}",
        f"[completion]\nquiet_seconds = {quiet_seconds}",
        f'[model]\nbundle = {_quoted(bundle)}\ndevice = "{device}"\nprecision = "{precision}"',
    ]
    for number, sender in enumerate(senders):
        lines.append(f'[[sources]]\nname = "source-{number}"\nae_title = {_quoted(sender)}')
        lines.append(f'hosts = ["127.0.0.1"]\nquery = "{query}"')
    for name, called, destination_port in destinations:
        lines.append(f"[[destinations]]\nname = {_quoted(name)}\nae_title = {_quoted(called)}")
        lines.append(f'host = "127.0.0.1"\nport = {destination_port}')
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "node.toml"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _quoted(text: str) -> str:
    """A basic string of TOML; JSON escapes the same characters in the same way."""
    return json.dumps(text, ensure_ascii=False)


@contextmanager
def started_node(config: Path, port: int) -> Iterator[StartedNode]:
    """Start `ich-node serve`; stop it at the end, also where something fails.

    It is a session of its own, so that a Ctrl-C reaches only the caller, who ends it in order; no
    variable of the environment changes its configuration, and it speaks to no service manager.
    """
    log = config.parent / "node.log"
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(ENV_PREFIX) and name not in _OF_A_SERVICE
    }
    with log.open("a") as stderr, log.with_suffix(".out").open("w") as stdout:
        process = subprocess.Popen(  # noqa: S603  our own interpreter and module
            [sys.executable, "-m", "ich_node", "serve", "--config", str(config)],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            env=clean,
            start_new_session=True,
        )
        node = StartedNode(config, port, log, process)
        try:
            yield node
        finally:
            stop(node)


def wait_until_ready(node: StartedNode) -> None:
    """Wait until a node answers.

    Raises
    ------
    RuntimeError
        It ended instead; the text holds the end of its log.
    TimeoutError
        It did neither.
    """

    def look() -> bool:
        if node.process.poll() is not None:
            tail = "\n".join(log_tail(node))
            raise RuntimeError(f"ich-node serve ended with {node.process.returncode}:\n{tail}")
        return "ich-node ready" in node.said.read_text()

    wait_for(look, _START_S, "answering node")


def log_tail(node: StartedNode, lines: int = 20) -> list[str]:
    """Return the last lines of a node's log."""
    return node.log.read_text(errors="replace").splitlines()[-lines:]


def stop(node: StartedNode) -> bool:
    """Stop a node with SIGTERM; kill what does not end, all at once when interrupted.

    Return whether everything ended by itself.
    """
    if node.process.poll() is None:
        node.process.send_signal(signal.SIGTERM)
    try:
        with suppress(subprocess.TimeoutExpired):
            node.process.wait(_STOP_S)
    finally:
        left = _kill(node)
    return not left


def _kill(node: StartedNode) -> bool:
    """End what is left of a node's processes; return whether there was something."""
    try:
        os.killpg(node.process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    node.process.wait()
    return True
