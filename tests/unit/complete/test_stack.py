"""What headers say of a stack: without gaps, numbered from 1 on, placed."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ich_node.complete.stack import stack_of
from ich_node.records import Arrival
from tests.unit.complete.stacks import AXIAL, arrival, head


def test_a_whole_head_is_placed_numbered_and_without_a_gap() -> None:
    stack = stack_of(head())
    assert (stack.slices, stack.worth_reading, stack.placed, stack.numbered) == (32, *[True] * 3)
    assert (stack.gap, stack.height_mm) == ("", 155.0)
    assert stack.ends == ("1.2.1", "1.2.20", "1.2.32")


@given(st.permutations(head(12)))
def test_the_order_of_arrival_does_not_matter(arrivals: list[Arrival]) -> None:
    assert stack_of(arrivals) == stack_of(head(12))


def test_feet_first_numbers_do_not_turn_the_ends_round() -> None:
    turned = [replace(item, number=33 - (item.number or 0)) for item in head()]
    assert stack_of(turned).ends == ("1.2.1", "1.2.20", "1.2.32")
    assert stack_of(turned).numbered


@given(st.integers(1, 30))
def test_every_missing_slice_within_is_a_gap(missing: int) -> None:
    stack = stack_of([item for index, item in enumerate(head()) if index != missing])
    assert stack.gap == "a gap of 10.0 mm beside steps of 5.0 mm"
    assert not stack.numbered


def test_another_spacing_that_stays_is_no_gap() -> None:
    """2.5 mm through the skull base and 5 mm above; a real scanner's odd step between two."""
    mixed = [*range(0, 40, 4), *(40 + 8 * step for step in range(12))]
    assert stack_of([arrival(n, z) for n, z in enumerate(mixed, 1)]).gap == ""
    odd = [0.0, 4.22, 8.44, 12.66, 13.8, 21.18, 28.56, 35.94]
    assert stack_of([arrival(n, z) for n, z in enumerate(odd, 1)]).gap == ""


@pytest.mark.parametrize(
    "changed",
    [
        arrival(3, None),
        arrival(3, 10.0, orientation=""),
        arrival(3, 10.0, orientation="0\\1\\0\\0\\0\\-1"),
        arrival(3, 10.0, position="a\\b\\c"),
        arrival(3, 10.0, position="0\\0\\nan"),
        arrival(3, 10.0, position="0\\0"),
    ],
)
def test_slices_that_do_not_say_where_they_lie_are_not_placed(changed: Arrival) -> None:
    stack = stack_of([changed if item.number == 3 else item for item in head()])
    assert (stack.placed, stack.ends, stack.gap) == (False, (), "")


def test_a_second_acquisition_that_is_not_all_here_is_not_placed() -> None:
    """Its first images lie where others lie already, and more must come."""
    again = [replace(item, sop_instance_uid=f"2.{item.number}") for item in head()]
    assert not stack_of([*head(), *again[:5]]).placed
    assert stack_of([*head(), *again]).placed


@pytest.mark.parametrize("numbers", [[0, 1, 2], [1, 2, 2], [1, 2, None], [2, 3, 4], [1, 2, 4]])
def test_numbers_that_are_not_1_to_n_are_not_believed(numbers: list[int | None]) -> None:
    arrivals = [arrival(n, 5.0 * at, name=at) for at, n in enumerate(numbers)]
    assert not stack_of(arrivals).numbered


def test_localizers_lie_in_no_stack_and_have_their_numbers() -> None:
    scout = arrival(1, 0.0, name=99, image_type="ORIGINAL\\PRIMARY\\LOCALIZER", orientation=AXIAL)
    slices = [replace(item, number=(item.number or 0) + 1) for item in head()]
    stack = stack_of([scout, *slices])
    assert (stack.slices, stack.numbered, stack.placed) == (32, True, True)


def test_few_slices_are_not_worth_reading_but_multiframe_ct_is() -> None:
    assert not stack_of(head(7)).worth_reading
    enhanced = replace(arrival(1, None), sop_class_uid="1.2.840.10008.5.1.4.1.1.2.1")
    assert stack_of([enhanced]).worth_reading


@pytest.mark.parametrize(
    ("said", "total"),
    [
        ([(1, 4)] * 4, 4),
        ([(1, 4)] * 3, 4),
        ([(1, 2)] * 2 + [(2, 2)] * 2, 4),
        ([(1, 4)] * 2 + [(2, 2)] * 2, 6),
        ([(1, 4)] * 3 + [(1, 5)], None),
        ([(1, 2)] * 4, None),
        ([(1, 4)] * 3 + [(1, None)], None),
        ([(None, None)] * 4, None),
        ([(1, 0)] * 4, None),
    ],
)
def test_images_in_acquisition_are_added_up_where_they_agree(
    said: list[tuple[int | None, int | None]], total: int | None
) -> None:
    arrivals = [
        arrival(n, 5.0 * n, acquisition=acquisition, in_acquisition=images)
        for n, (acquisition, images) in enumerate(said, 1)
    ]
    assert stack_of(arrivals).in_acquisition == total
