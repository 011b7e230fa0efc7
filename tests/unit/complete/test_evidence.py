"""Evidence decides before the quiet time, and never on the beginning of a series."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ich_node.complete.evidence import against, decide, may_ask
from ich_node.complete.snapshot import Count
from ich_node.records import Arrival, Expected
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
    seen = snapshot(with_counts(21, 21), ends_outside=None)
    found = decide(seen, 1001.1, QUIET_S)
    assert found is not None
    assert found.evidence == "Images in Acquisition says 21 images, all came"


def test_images_in_acquisition_say_nothing_of_the_first_group_of_a_head() -> None:
    """The next acquisition may come in the next association."""
    seen = snapshot(with_counts(12, 12), ends_outside=None)
    assert decide(seen, 1299.0, QUIET_S) is None
    assert against(seen, 1010.0) == []
    assert decide(seen, 1300.0, QUIET_S) is not None


def test_a_scanner_that_made_more_images_speaks_against_geometry() -> None:
    seen = snapshot(with_counts(30, 32))
    assert decide(seen, 1299.0, QUIET_S) is None
    [opinion] = against(seen, 1002.0)
    assert opinion.text == "Images in Acquisition says 32 images, 30 came"
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


def counts(*answers: tuple[float, int]) -> tuple[Count, ...]:
    return tuple(Count(1000.0 + at, number) for at, number in answers)


@pytest.mark.parametrize(
    ("answers", "complete"),
    [
        ([(0.1, 30)], False),
        ([(0.1, 30), (0.4, 30)], False),
        ([(0.1, 30), (0.6, 30)], True),
        ([(0.1, 30), (0.3, 30), (0.6, 30)], True),
        ([(0.1, 29), (0.6, 30)], False),
        ([(0.1, 29), (0.5, 30), (1.0, 30)], True),
        ([(0.1, 30), (0.5, 31)], False),
        ([(0.1, 30), (0.5, 29), (1.0, 30)], False),
        ([(0.1, 0), (0.5, 0)], False),
    ],
)
def test_the_pacs_must_have_as_many_twice_in_a_row_0_4_s_apart(
    answers: list[tuple[float, int]], complete: bool
) -> None:
    seen = snapshot(head(30), counts=counts(*answers), ends_outside=None)
    found = decide(seen, 1001.0, QUIET_S)
    assert (found is not None) is complete
    if found is not None:
        assert found.evidence == "C-FIND counts 30 instances in the PACS, all came"


def test_a_pacs_that_sends_on_what_it_still_receives_is_not_taken_for_the_end() -> None:
    """It has as many as it has sent, whenever it is asked; its pace tells."""
    seen = snapshot(
        head(10), counts=counts((0.1, 10), (0.6, 10)), longest_pause_s=2.0, ends_outside=None
    )
    for after in (0.7, 2.0, 3.9):
        assert decide(seen, 1000.0 + after, QUIET_S) is None
    found = decide(seen, 1004.1, QUIET_S)
    assert found is not None
    assert found.evidence == "C-FIND counts 10 instances in the PACS, all came"


def test_an_equal_count_decides_nothing_where_slices_are_missing() -> None:
    """The PACS may be fed in parallel, and lack the same slice."""
    seen = snapshot([item for item in head() if item.number != 16], counts=counts((0, 31), (1, 31)))
    assert decide(seen, 1299.0, QUIET_S) is None
    [opinion] = against(seen, 1002.0)
    assert opinion.text == (
        "C-FIND counts 31 instances in the PACS and as many came, but there is "
        "a gap of 10.0 mm beside steps of 5.0 mm"
    )


@pytest.mark.parametrize("number", [33, 31])
def test_a_pacs_with_another_number_speaks_against_geometry(number: int) -> None:
    seen = snapshot(head(), counts=counts((0.1, number), (0.6, number)))
    assert decide(seen, 1299.0, QUIET_S) is None
    assert decide(seen, 1300.0, QUIET_S) is not None


def test_a_pacs_that_does_not_know_the_series_leaves_it_to_geometry() -> None:
    assert decide(snapshot(head(), counts=counts((0.1, 0))), 1002.0, QUIET_S) is not None


def test_a_pacs_is_asked_when_the_sender_seems_done() -> None:
    assert may_ask(snapshot(head()), 1000.0)
    assert not may_ask(snapshot(head(), open_associations=1), 1004.0)
    assert may_ask(snapshot(head(), open_associations=1), 1005.0)


@pytest.mark.parametrize(
    ("expected", "complete"),
    [
        (Expected(("MPPS",), 32, 0, 0), True),
        (Expected(("MPPS",), 34, 2, 0), False),
        (Expected(("MPPS",), 30, 0, 2), False),
    ],
)
def test_a_list_must_name_all_that_is_here_and_nothing_else(
    expected: Expected, complete: bool
) -> None:
    seen = snapshot(head(), expected=expected, ends_outside=None, open_associations=1)
    assert (decide(seen, 1001.1, QUIET_S) is not None) is complete


def test_a_list_says_what_has_not_come_and_no_count_or_geometry_helps() -> None:
    expected = Expected(("storage commitment",), 34, 2, 0)
    seen = snapshot(head(), expected=expected, counts=counts((0, 32), (1, 32)))
    assert decide(seen, 1299.0, QUIET_S) is None
    [opinion] = against(seen, 1010.0)
    assert opinion.text == "storage commitment lists 34 instances, 2 of them have not come"


@pytest.mark.parametrize(
    ("arrivals", "against_it"),
    [
        (with_counts(20, 40), "Images in Acquisition says 40 images, 20 came"),
        (
            [item for item in head(17) if not 8 < (item.number or 0) < 13],
            "storage commitment lists 13 instances and all came, but there is "
            "a gap of 25.0 mm beside steps of 5.0 mm",
        ),
    ],
    ids=["first burst", "gap"],
)
def test_a_commitment_for_a_part_is_not_taken_for_the_end(
    arrivals: list[Arrival], against_it: str
) -> None:
    expected = Expected(("storage commitment",), len(arrivals), 0, 0)
    seen = snapshot(arrivals, expected=expected)
    assert decide(seen, 1299.0, QUIET_S) is None
    assert against_it in [opinion.text for opinion in against(seen, 1010.0)]
    assert decide(seen, 1300.0, QUIET_S) is not None


def test_a_commitment_for_each_image_is_not_taken_for_the_end() -> None:
    """The list grows with the series: the sender's own pace tells that it goes on."""
    seen = snapshot(head(20), expected=Expected(("storage commitment",), 20, 0, 0))
    slow = replace(seen, longest_pause_s=2.0)
    assert decide(slow, 1002.0, QUIET_S) is None
