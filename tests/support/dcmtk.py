"""DCMTK's own programs, by their full path: pynetdicom installs others of the same names."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path


def storescu(
    port: int,
    paths: Sequence[Path],
    *,
    calling: str = "SENDER",
    called: str = "ICH_NODE",
    options: Sequence[str] = ("-R",),
) -> subprocess.CompletedProcess[str]:
    """Send files with one association; without TCP_NODELAY every image would wait 40 ms."""
    peer = ["-aet", calling, "-aec", called, "127.0.0.1", str(port)]
    return subprocess.run(
        ["/usr/bin/storescu", *options, *peer, *(str(path) for path in paths)],
        env={**os.environ, "TCP_NODELAY": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
