"""A node whose processes are struck at named points, and its PACS."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom

from deploy.demo.running import configuration, free_port, wait_for
from ich_node.settings import load_settings
from ich_node.store import overview
from ich_node.store.engine import DatabaseError, Engine, open_engine
from tests import identity
from tests.faults.actors import FlappingPacs, Sent, Serving, send_until_acknowledged

INJECT = Path(__file__).parent / "inject"
DEADLINE_S = 200.0


@dataclass(frozen=True)
class Rule:
    """Strike `times` times at a point, when it is about what begins with `about`.

    ``act`` is one of ``kill``, ``kill_group``, ``stop``, ``crash``, ``lose_device``,
    ``hang``.
    """

    point: str
    act: str
    about: str = ""
    times: int = 1


@dataclass
class Struck:
    """A running node under rules."""

    folder: Path
    serving: Serving
    pacs: FlappingPacs
    engine: Engine
    port: int
    sent: Sent

    def send(self, paths: Sequence[Path]) -> str:
        """Send a study until everything is acknowledged; return its UID."""
        send_until_acknowledged(self.port, paths, self.sent)
        return str(pydicom.dcmread(paths[0], stop_before_pixels=True).StudyInstanceUID)

    def state(self, study: str) -> str | None:
        try:
            listed = {item["study_instance_uid"]: item for item in overview.studies(self.engine)}
        except DatabaseError:
            return None
        return listed[study]["series"][0]["state"] if study in listed else None

    def wait_for(self, study: str, *states: str) -> str:
        """Wait until a study is in one of these states and everything due was delivered."""

        def look() -> str | None:
            state = self.state(study)
            return state if state in states and self._delivered(study) else None

        return wait_for(look, DEADLINE_S, f"state of {states}; log: {self.folder / 'node.log'}")

    def _delivered(self, study: str) -> bool:
        revisions = self.story(study)["series"][0]["revisions"]
        return all(
            item["state"] == "delivered" for found in revisions for item in found["deliveries"]
        )

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `ich-node` with this node's configuration."""
        command = [sys.executable, "-m", "ich_node", *arguments]
        return identity.heard(
            subprocess.run(
                [*command, "--config", str(self.serving.config)],
                capture_output=True,
                text=True,
                timeout=120,
            )
        )

    def story(self, study: str) -> dict[str, Any]:
        return overview.show(self.engine, study)

    def objects(self, study: str) -> dict[str, int]:
        """How many different objects of each modality the PACS took for a study."""
        mine = {(m, uid, digest) for owner, m, uid, digest in self.pacs.received if owner == study}
        return dict(Counter(modality for modality, _, _ in mine))

    def used(self) -> int:
        """How often a rule has struck."""
        return len(list(self.folder.glob("rules.json.*")))


def environment_of(
    folder: Path,
    rules: Sequence[Rule],
    patience_s: float | None = None,
    limit_s: float | None = None,
    period_s: float | None = None,
) -> dict[str, str]:
    """Return what a node under rules is started with; ``period_s`` is that of regular duties."""
    path = folder / "rules.json"
    told = {"rules": [vars(rule) for rule in rules]}
    times = {"patience_s": patience_s, "limit_s": limit_s, "period_s": period_s}
    path.write_text(json.dumps({**told, **times}))
    paths = os.pathsep.join(filter(None, (str(INJECT), os.environ.get("PYTHONPATH", ""))))
    return {"PYTHONPATH": paths, "TEST_FAULTS": str(path)}


@contextmanager
def struck_node(
    folder: Path,
    bundle: Path,
    rules: Sequence[Rule],
    patience_s: float | None = None,
    limit_s: float | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Struck]:
    """Run a node under rules; its log is `node.log` in the folder.

    ``patience_s`` replaces the watchdog's time, ``limit_s`` the limit of every stage;
    ``environment`` is that of a layer over its disk.
    """
    pacs, port = FlappingPacs(free_port()), free_port()
    config = configuration(
        folder, port, [("pacs", "PACS", pacs.port)], bundle=str(bundle), quiet_seconds=3.0
    )
    rules_of_it = environment_of(folder, rules, patience_s, limit_s)
    serving = Serving(config, {**rules_of_it, **(environment or {})})
    engine = open_engine(load_settings(config).database_url)
    over = threading.Event()
    keeper = threading.Thread(target=_keep_up, args=(serving, over))
    pacs.up()
    serving.start()
    keeper.start()
    try:
        yield Struck(folder, serving, pacs, engine, port, Sent())
    finally:
        over.set()
        keeper.join()
        serving.stop()
        pacs.down()
        engine.dispose()


def _keep_up(serving: Serving, over: threading.Event) -> None:
    """Start the node again whenever all of it was killed, as an init system does."""
    while not over.wait(0.2):
        if serving.process is not None and serving.process.poll() is not None:
            serving.start()
