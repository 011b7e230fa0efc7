"""What a command costs, whatever else the machine does."""

import resource
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

# What every command stands on. A quick command costs at most twice their import: it is one and a
# half times where they take 0.4 s, and on a machine where they take 0.5 s no second is enough.
_LIBRARIES = "import click, pydantic_settings, rich.console, rich.live, rich.table, sqlalchemy"
_QUICK_S = 1.0


def run_timed(command: Sequence[str], cwd: Path | None = None) -> tuple[str, float]:
    """Run a command; return what it printed and the seconds of the processor that it took.

    Where nothing else runs and nothing is waited for, these are those of the clock.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return done.stdout, spent


@cache
def _libraries_s() -> float:
    return min(run_timed([sys.executable, "-c", _LIBRARIES])[1] for _ in range(5))


def assert_quick(command: Sequence[str], cwd: Path | None = None) -> str:
    """Run `ich-node` with these arguments; return what it printed.

    It must take under a second with the start of Python and all imports, or, on a slow machine, at
    most twice what the libraries below it take alone; the best of five, for a cold disk costs too.
    """
    took = []
    for _ in range(5):
        said, spent = run_timed([sys.executable, "-m", "ich_node", *command], cwd)
        took.append(spent)
        if spent < _QUICK_S:
            break
    print(f"ich-node {' '.join(command)}: {min(took):.2f} s, libraries {_libraries_s():.2f} s")
    assert min(took) < max(_QUICK_S, 2 * _libraries_s())
    return said
