"""A node that is killed, a PACS that comes and goes, senders that come back until they are told."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydicom
from pynetdicom import AE, evt
from pynetdicom.presentation import AllStoragePresentationContexts

from tests.support.peers import data_of


class FlappingPacs:
    """A PACS on one port that comes and goes; it keeps a digest of every object it took."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.away = 0
        self.received: list[tuple[str, str, str, str]] = []  # study, modality, UID, digest
        self._entity: AE | None = None

    def up(self) -> None:
        entity = AE(ae_title="PACS")
        for context in AllStoragePresentationContexts:
            entity.add_supported_context(context.abstract_syntax)
        handlers = [(evt.EVT_C_STORE, self._keep)]
        entity.start_server(("127.0.0.1", self.port), block=False, evt_handlers=handlers)
        self._entity = entity

    def down(self) -> None:
        if self._entity is not None:
            self._entity.shutdown()
            self._entity = None
            self.away += 1

    def _keep(self, event: Any) -> int:
        found = event.dataset
        digest = hashlib.sha256(event.request.DataSet.getvalue()).hexdigest()
        self.received.append(
            (str(found.StudyInstanceUID), found.Modality, str(found.SOPInstanceUID), digest)
        )
        return 0x0000


class Serving:
    """`ich-node serve` in a process group of its own, started again when all of it is killed."""

    def __init__(self, config: Path, environment: Mapping[str, str] | None = None) -> None:
        self.config = config
        self.environment = environment or {}
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self.config.parent / "node.log").open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "ich_node", "serve", "--config", str(self.config)],
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, "OMP_NUM_THREADS": "1", **self.environment},
            )

    def children(self) -> dict[str, int]:
        """Names of the running processes of `serve`, and their ids."""
        return self.of(self.process.pid) if self.process is not None else {}

    @staticmethod
    def of(pid: int) -> dict[str, int]:
        """Names of the children of one `serve`, and their ids."""
        found = {}
        with suppress(OSError):
            for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
                with suppress(OSError, IndexError):
                    name = Path(f"/proc/{child}/cmdline").read_text().split("\0")[3]
                    found[name] = int(child)
        return found

    def kill_group(self) -> None:
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.kill_group()


@dataclass
class Sent:
    """What senders were told: SOP Instance UID and the digest of the data set they sent."""

    acknowledged: dict[str, str] = field(default_factory=dict)
    guard: threading.Lock = field(default_factory=threading.Lock)


def send_until_acknowledged(port: int, paths: Sequence[Path], sent: Sent) -> None:
    """Send a study as a patient PACS does: come back until every image was answered 0000H."""
    waiting = list(paths)
    entity = AE(ae_title="SENDER")
    first = pydicom.dcmread(paths[0], stop_before_pixels=True)
    entity.add_requested_context(first.SOPClassUID, first.file_meta.TransferSyntaxUID)
    entity.connection_timeout = entity.acse_timeout = entity.dimse_timeout = 10
    while waiting:
        association = entity.associate("127.0.0.1", port, ae_title="ICH_NODE")
        while waiting and association.is_established:
            try:
                status = association.send_c_store(waiting[0])
            except (RuntimeError, ValueError):
                break
            if "Status" not in status or status.Status != 0:
                break
            path = waiting.pop(0)
            with sent.guard:
                uid = str(pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID)
                sent.acknowledged[uid] = hashlib.sha256(data_of(path)).hexdigest()
        if association.is_established:
            association.release()
        elif waiting:
            time.sleep(0.2)  # a pause between two attempts of a peer, not a wait for a state
