"""For every transfer syntax that is decoded: a bomb ends in a status and a reason, and no memory.

All of it runs in one process with a limit of memory, which takes and reads a sound series at last.
"""

import re
from typing import Any

import pytest
from pydicom.uid import UID

from ich_node.errors import Reason
from ich_node.receive.contexts import DECODABLE
from tests.support.bombing import CASES
from tests.support.limited import ends_of

STORED, KEPT_APART = 0x0000, 0xC001
# Implicit VR reads the text -5 as another number, which is too much for the pixels that there are.
SAID = r"Rows is (0|-5),|30000 x 30000 are|65535 x 65535 are|has 30000 rows|\(ValueError\)"


@pytest.fixture(scope="module")
def ends(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return ends_of("bombing", tmp_path_factory.mktemp("bombs"))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("syntax", sorted(DECODABLE), ids=lambda uid: UID(uid).keyword)
def test_a_bomb_ends_in_a_status_and_a_reason(ends: dict[str, Any], syntax: str, case: str) -> None:
    end = ends[f"{syntax} {case}"]
    assert (end["first"], end["again"]) == (STORED, KEPT_APART)
    assert end["reason"] in {Reason.UNREADABLE, Reason.TOO_LARGE}, end
    assert re.search(
        r"Rows is (0|-5),|30000 x 30000 are|65535 x 65535 are|has 30000|Value", end["text"]
    )


def test_what_is_sound_is_stored_and_read_after_all_of_them(ends: dict[str, Any]) -> None:
    assert ends["sound"] == {"first": 0, "again": 0, "reason": "", "text": ""}
