"""A series is complete when nothing came for a while and nobody is still sending it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ich_node.complete.quiet import quiet
from ich_node.complete.snapshot import Decision
from tests.unit.complete.stacks import head, snapshot

QUIET_S = 30.0


@pytest.mark.parametrize(
    ("elapsed", "open_associations", "complete"),
    [
        (0, 0, False),
        (29.9, 0, False),
        (30, 0, True),
        (3000, 0, True),
        (30, 1, False),
        (119.9, 1, False),
        (120, 1, True),
        (120, 5, True),
        (-10, 0, False),
    ],
)
def test_complete_after_the_quiet_time_or_four_with_an_open_association(
    elapsed: float, open_associations: int, complete: bool
) -> None:
    seen = snapshot(head(), open_associations=open_associations)
    assert (quiet(seen, 1000 + elapsed, QUIET_S) is not None) == complete


def test_evidence_says_how_long_and_whether_the_peer_is_gone() -> None:
    gone = quiet(snapshot(head()), 1030.4, QUIET_S)
    there = quiet(snapshot(head(), open_associations=1), 1121, QUIET_S)
    assert gone == Decision("quiet for 30 s, association released, 32 instances")
    assert there == Decision("quiet for 121 s, association still open, 32 instances")


@given(st.floats(0, 1e5), st.floats(0, 1e5), st.integers(0, 3), st.floats(0.1, 600))
def test_what_is_complete_stays_complete_as_time_goes_by(
    earlier: float, more: float, open_associations: int, quiet_s: float
) -> None:
    seen = snapshot(head(), open_associations=open_associations)
    if quiet(seen, 1000 + earlier, quiet_s) is not None:
        assert quiet(seen, 1000 + earlier + more, quiet_s) is not None
