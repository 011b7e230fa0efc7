"""Evidence decides before the quiet time, and never on the beginning of a series."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ich_node.complete.evidence import against, decide
from ich_node.records import Arrival
from tests.unit.complete.stacks import arrival, head, snapshot

QUIET_S = 300.0


def with_counts(number: int, said: int) -> list[Arrival]:
    return [arrival(n, 5.0 * n, acquisition=1, in_acquisition=said) for n in range(1, number + 1)]


def test_a_whole_head_is_complete_a_second_after_its_last_image() -> None:
    assert decide(snapshot(head()), 1000.9, QUIET_S) is None
    found = decide(snapshot(head()), 1001.1, QUIET_S)
    assert found is not None
    assert found.evidence == (
        "geometry: 32 instances numbered 1 to 32, 155 mm without a gap from the skull base to "
        "above the vertex, association released"
    )


@pytest.mark.parametrize(
    "values",
    [
        {"open_associations": 1},
        {"ends_outside": False},
        {"ends_outside": None},
        {"longest_pause_s": 2.0},
    ],
)
def test_geometry_waits_for_release_ends_and_the_senders_own_pace(values) -> None:
    assert decide(snapshot(head(), **values), 1002.2, QUIET_S) is None


@pytest.mark.parametrize(
    "arrivals",
    [
        head(19),  # 90 mm: a part of a head
        head()[1:],  # its first image is to come
        [item for item in head() if item.number != 16],
        [arrival(n, None) for n in range(1, 33)],
    ],
)
def test_geometry_says_nothing_of_what_is_no_whole_head(arrivals: list[Arrival]) -> None:
    assert decide(snapshot(arrivals), 1299.0, QUIET_S) is None
    found = decide(snapshot(arrivals), 1300.0, QUIET_S)
    assert found is not None
    assert found.evidence.startswith("quiet for 300 s")


@given(st.integers(2, 40), st.floats(0.5, 20), st.floats(0.01, 1.0))
def test_an_even_pace_is_never_taken_for_the_end(images: int, pause: float, part: float) -> None:
    """One association per image: at any moment before the next image is due, nothing decides."""
    seen = snapshot(head(images), longest_pause_s=pause)
    assert decide(seen, 1000.0 + part * pause, QUIET_S) is None


def test_images_in_acquisition_decide_without_a_look_at_pixels() -> None:
    seen = snapshot(with_counts(12, 12), ends_outside=None)
    found = decide(seen, 1001.1, QUIET_S)
    assert found is not None
    assert found.evidence == "Images in Acquisition says 12 images, all came"


def test_a_scanner_that_made_more_images_speaks_against_geometry() -> None:
    seen = snapshot(with_counts(30, 32))
    assert decide(seen, 1299.0, QUIET_S) is None
    assert against(seen, 1002.0) == ["Images in Acquisition says 32 images, 30 came"]
    assert decide(seen, 1300.0, QUIET_S) is not None


@given(st.floats(0, 400), st.floats(0, 400), st.booleans(), st.integers(0, 1))
def test_what_is_complete_stays_complete_as_time_goes_by(
    earlier: float, more: float, ends: bool, open_associations: int
) -> None:
    seen = snapshot(head(), ends_outside=ends, open_associations=open_associations)
    if decide(seen, 1000 + earlier, 90.0) is not None:
        assert decide(seen, 1000 + earlier + more, 90.0) is not None


def test_series_without_instances_is_never_complete() -> None:
    assert decide(snapshot([]), 1e9, QUIET_S) is None
