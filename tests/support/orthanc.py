"""A real Orthanc on loopback ports of its own, read back by its REST interface."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.demo.running import free_port, wait_for

PROGRAM = "/usr/sbin/Orthanc"
AE_TITLE = "ORTHANC"


@dataclass(frozen=True)
class Orthanc:
    """A running Orthanc."""

    dicom_port: int
    http_port: int

    def get(self, path: str) -> Any:
        """Return what the REST interface gives as JSON."""
        return json.loads(self.get_bytes(path))

    def get_bytes(self, path: str) -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}{path}", timeout=30) as got:
            return bytes(got.read())

    def instances(self) -> list[dict[str, Any]]:
        """Return the main tags of every instance, with those of its series and study."""
        found = []
        for name in self.get("/instances"):
            tags = self.get(f"/instances/{name}/simplified-tags")
            found.append({"orthanc_id": name, **tags})
        return found

    def file(self, orthanc_id: str, path: Path) -> Path:
        """Write an instance's DICOM file."""
        path.write_bytes(self.get_bytes(f"/instances/{orthanc_id}/file"))
        return path


@contextmanager
def running_orthanc(
    folder: Path, reports_to: int | None = None, **more: object
) -> Iterator[Orthanc]:
    """Start Orthanc with a fresh data folder and more keys of its own; end it afterwards.

    It commits storage to a node ICH_NODE on the port `reports_to`, by associations of its own.
    """
    folder.mkdir(parents=True, exist_ok=True)
    orthanc = Orthanc(free_port(), free_port())
    config = {
        "Name": "test",
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "DicomAet": AE_TITLE,
        "DicomPort": orthanc.dicom_port,
        "HttpPort": orthanc.http_port,
        "AuthenticationEnabled": False,
        "RemoteAccessAllowed": False,
        "DicomServerEnabled": True,
        "DicomAlwaysAllowFind": True,
        "Plugins": [],
        "DicomModalities": {"node": ["ICH_NODE", "127.0.0.1", reports_to]} if reports_to else {},
        **more,
    }
    path = folder / "orthanc.json"
    path.write_text(json.dumps(config))
    with (folder / "orthanc.log").open("w") as log:
        process = subprocess.Popen([PROGRAM, str(path)], stdout=log, stderr=log)
        try:
            wait_for(lambda: _answers(orthanc, process), 60, "answering Orthanc")
            yield orthanc
        finally:
            process.terminate()
            process.wait(30)


def _answers(orthanc: Orthanc, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, "Orthanc ended; see orthanc.log"
    try:
        return bool(orthanc.get("/system"))
    except OSError:
        return False
