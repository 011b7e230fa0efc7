"""What a few megabytes make of a series does not fill the worker: it is refused, and told.

All of it runs in one process with a limit of memory: choosing, assembling, and the report of why
nothing was analysed.
"""

from typing import Any

import pytest

from ich_node.errors import Reason
from tests.support.filling import CASES, SLICES
from tests.support.limited import ends_of

SAID = {
    "deflated": (Reason.TOO_LARGE, "6 of 6 files have 1200 MB already, not deflated"),
    "plain": (Reason.TOO_LARGE, "4 of 6 files have 1200 MB already"),
    "elements": (Reason.UNREADABLE, "6 of 6 files have 1200360 elements already"),
}


@pytest.fixture(scope="module")
def ends(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return ends_of("filling", tmp_path_factory.mktemp("filling"))


@pytest.mark.parametrize("case", CASES)
def test_a_series_that_would_fill_the_memory_is_refused_and_reported(
    ends: dict[str, Any], case: str
) -> None:
    reason, text = SAID[case]
    end = ends[case]
    assert (end["reason"], end["facts"], end["report"]) == (reason, SLICES, True)
    assert text in end["text"]
