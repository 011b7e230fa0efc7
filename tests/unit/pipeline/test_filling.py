"""What a few megabytes make of a series does not fill the worker: it is refused, and told.

All of it runs in one process with a limit of memory: choosing, assembling, and the report of why
nothing was analysed.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ich_node.errors import Reason
from tests.support.filling import CASES, SLICES

SAID = {
    "deflated": (Reason.TOO_LARGE, "6 of 6 files have 1200 MB already, not deflated"),
    "plain": (Reason.TOO_LARGE, "4 of 6 files have 1200 MB already"),
    "elements": (Reason.UNREADABLE, "6 of 6 files have 1200360 elements already"),
}


@pytest.fixture(scope="module")
def ends(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("filling")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.support.filling", str(folder)],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=Path(__file__).parents[3],
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("case", CASES)
def test_a_series_that_would_fill_the_memory_is_refused_and_reported(
    ends: dict[str, Any], case: str
) -> None:
    reason, text = SAID[case]
    end = ends[case]
    assert (end["reason"], end["facts"], end["report"]) == (reason, SLICES, True)
    assert text in end["text"]
