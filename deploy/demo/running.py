"""A real `ich-node serve` that can be asked, for the demonstration, the bench and tests."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ich_node.common import open_database
from ich_node.errors import StoreError
from ich_node.selftest.running import (
    StartedNode,
    configuration,
    free_port,
    started_node,
    wait_for,
    wait_until_ready,
)
from ich_node.settings import load_settings
from ich_node.store import overview
from ich_node.store.engine import DatabaseError, Engine

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
        return list(self._told(overview.studies) or [])

    def show(self, study_instance_uid: str) -> dict[str, Any] | None:
        """What `ich-node show STUDY --json` says; None for a study it does not know."""
        found: dict[str, Any] | None = self._told(
            lambda engine: overview.show(engine, study_instance_uid)
        )
        return found

    def _told(self, ask: Callable[[Engine], Any]) -> Any:  # noqa: ANN401  whatever JSON can hold
        """Ask as the commands do, without the half second of computing that each of them costs."""
        try:
            engine = open_database(load_settings(self.config))
        except StoreError:
            return None
        try:
            return json.loads(json.dumps(ask(engine), default=str))
        except (StoreError, DatabaseError):
            return None
        finally:
            engine.dispose()


@contextmanager
def running_node(config: Path, port: int) -> Iterator[RunningNode]:
    """Start `ich-node serve`, wait until it answers, stop it at the end with SIGTERM."""
    with started_node(config, port) as node:
        wait_until_ready(node)
        yield RunningNode(node.config, node.port, node.log, node.process)
