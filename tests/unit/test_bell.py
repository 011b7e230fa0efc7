"""A bell that rings is heard for a while, by every process."""

import os
from pathlib import Path

from ich_node.bell import HEARD_FOR_S, Bell


def test_what_rings_is_heard_for_a_while(tmp_path: Path) -> None:
    ringing, hearing = Bell(tmp_path / "bell"), Bell(tmp_path / "bell")
    assert not hearing.rung_lately(100.0)
    ringing.ring()
    assert hearing.rung_lately(101.0)
    assert hearing.rung_lately(101.0 + HEARD_FOR_S - 1.0)
    assert not hearing.rung_lately(101.0 + HEARD_FOR_S + 1.0)


def test_it_is_heard_again_whatever_the_clock_says(tmp_path: Path) -> None:
    """A clock that was set back changes the time of the file too: any change counts."""
    bell = Bell(tmp_path / "bell")
    bell.ring()
    assert bell.rung_lately(0.0)
    os.utime(bell.path, (1.0, 1.0))
    assert bell.rung_lately(1000.0)
