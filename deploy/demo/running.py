"""A real `ich-node serve` in a process of its own, for the demonstration, the bench and tests."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

_START_S = 120.0
_STOP_S = 60.0


@dataclass(frozen=True)
class RunningNode:
    """A node that answers on ``port`` of the loopback address."""

    config: Path
    port: int
    log: Path
    process: subprocess.Popen[bytes]

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `ich-node` with this node's configuration."""
        return subprocess.run(
            [sys.executable, "-m", "ich_node", *arguments, "--config", str(self.config)],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def studies(self) -> list[dict[str, Any]]:
        """What `ich-node studies --json` says; empty before the first study."""
        done = self.command("studies", "--json")
        return list(json.loads(done.stdout)) if done.returncode == 0 else []

    def show(self, study_instance_uid: str) -> dict[str, Any] | None:
        """What `ich-node show STUDY --json` says; None for a study it does not know."""
        done = self.command("show", study_instance_uid, "--json")
        return dict(json.loads(done.stdout)) if done.returncode == 0 else None


def free_port() -> int:
    """Return a loopback TCP port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


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
    quiet_seconds: float = 2.0,
    bundle: str = "smartnet-ich",
    senders: Sequence[str] = ("SENDER",),
) -> Path:
    """Write a node.toml for a node on the loopback address.

    Parameters
    ----------
    destinations
        Name, AE title and port of each.
    """
    lines = [
        '[dicom]\nae_title = "ICH_NODE"\nhost = "127.0.0.1"',
        f"port = {port}",
        "[storage]\nmin_free_gb = 0.1",
        f"[completion]\nquiet_seconds = {quiet_seconds}",
        f'[model]\nbundle = "{bundle}"',
    ]
    for number, sender in enumerate(senders):
        lines.append(
            f'[[sources]]\nname = "source-{number}"\nae_title = "{sender}"\nhosts = ["127.0.0.1"]'
        )
    for name, ae_title, destination_port in destinations:
        lines.append(
            f'[[destinations]]\nname = "{name}"\nae_title = "{ae_title}"\nhost = "127.0.0.1"\n'
            f"port = {destination_port}"
        )
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "node.toml"
    path.write_text("\n".join(lines) + "\n")
    return path


@contextmanager
def running_node(config: Path, port: int) -> Iterator[RunningNode]:
    """Start `ich-node serve`, wait until it answers, stop it at the end with SIGTERM."""
    log, said = config.parent / "node.log", config.parent / "node.out"
    with log.open("a") as stderr, said.open("w") as stdout:
        process = subprocess.Popen(
            [sys.executable, "-m", "ich_node", "serve", "--config", str(config)],
            stdout=stdout,
            stderr=stderr,
            env={**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "2")},
        )
        node = RunningNode(config, port, log, process)
        try:
            _wait_until_ready(node, said)
            yield node
        finally:
            stop(node)


def _wait_until_ready(node: RunningNode, said: Path) -> None:
    def look() -> bool:
        if node.process.poll() is not None:
            tail = "\n".join(node.log.read_text().splitlines()[-20:])
            raise RuntimeError(f"ich-node serve ended with {node.process.returncode}:\n{tail}")
        return "ich-node ready" in said.read_text()

    wait_for(look, _START_S, "answering node")


def stop(node: RunningNode) -> None:
    """Stop a node with SIGTERM; kill it if it does not end."""
    if node.process.poll() is None:
        node.process.send_signal(signal.SIGTERM)
    try:
        node.process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        node.process.kill()
        node.process.wait()
