"""What a command costs, whatever else the machine does."""

import resource
import subprocess
from collections.abc import Sequence
from pathlib import Path


def run_timed(command: Sequence[str], cwd: Path | None = None) -> tuple[str, float]:
    """Run a command; return what it printed and the seconds of the processor that it took.

    Where nothing else runs and nothing is waited for, these are those of the clock.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return done.stdout, spent
