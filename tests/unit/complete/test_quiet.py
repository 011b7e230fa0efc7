"""A series is complete when nothing came for a while and nobody is still sending it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ich_node.complete import quiet
from ich_node.complete.quiet import Decision, SeriesSnapshot, decide

QUIET_S = 30.0


def snapshot(instances: int = 32, last: float = 1000.0, open_associations: int = 0):
    return SeriesSnapshot(instances, last, open_associations)


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
    found = decide(snapshot(open_associations=open_associations), 1000 + elapsed, QUIET_S)
    assert (found is not None) == complete


def test_evidence_says_how_long_and_whether_the_peer_is_gone() -> None:
    gone = decide(snapshot(), 1030.4, QUIET_S)
    there = decide(snapshot(open_associations=1), 1121, QUIET_S)
    assert gone == Decision("quiet for 30 s, association released, 32 instances")
    assert there == Decision("quiet for 121 s, association still open, 32 instances")


def test_series_without_instances_is_never_complete() -> None:
    assert decide(snapshot(instances=0), 1e9, QUIET_S) is None


@given(st.floats(0, 1e5), st.floats(0, 1e5), st.integers(0, 3), st.floats(0.1, 600))
def test_what_is_complete_stays_complete_as_time_goes_by(
    earlier: float, more: float, open_associations: int, quiet_s: float
) -> None:
    seen = snapshot(last=0.0, open_associations=open_associations)
    if decide(seen, earlier, quiet_s) is not None:
        assert decide(seen, earlier + more, quiet_s) is not None


def test_stronger_evidence_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = Decision("32 of 32 instances by C-FIND")
    monkeypatch.setattr(quiet, "EVIDENCE", (lambda *_: counted, *quiet.EVIDENCE))
    assert decide(snapshot(), 5000, QUIET_S) == counted
    monkeypatch.setattr(quiet, "EVIDENCE", (lambda *_: None, *quiet.EVIDENCE[1:]))
    assert decide(snapshot(), 5000, QUIET_S) == Decision(
        "quiet for 4000 s, association released, 32 instances"
    )
