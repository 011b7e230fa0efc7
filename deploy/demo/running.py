"""A real `ich-node serve` that can be asked, for the demonstration, the bench and tests."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ich_node.selftest.running import (
    StartedNode,
    configuration,
    free_port,
    started_node,
    wait_for,
    wait_until_ready,
)

__all__ = ["RunningNode", "configuration", "free_port", "running_node", "wait_for"]


@dataclass(frozen=True)
class RunningNode(StartedNode):
    """A node that answers on ``port`` of the loopback address."""

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


@contextmanager
def running_node(config: Path, port: int) -> Iterator[RunningNode]:
    """Start `ich-node serve`, wait until it answers, stop it at the end with SIGTERM."""
    with started_node(config, port) as node:
        wait_until_ready(node)
        yield RunningNode(node.config, node.port, node.log, node.process)
