"""A program of this package that limits its own memory, run beside the tests."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any


def ends_of(module: str, folder: Path) -> dict[str, Any]:
    """Run a module of `tests.support` on a folder; return the JSON of its last line."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", f"tests.support.{module}", str(folder)],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])
