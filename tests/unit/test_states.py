"""The tables of states: what can happen, what cannot, and that nothing stays half-way."""

from collections.abc import Mapping
from enum import StrEnum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ich_node.states import (
    DELIVERIES,
    DUE,
    SERIES,
    UNFINISHED,
    DeliveryEvent,
    DeliveryState,
    IllegalTransition,
    SeriesEvent,
    SeriesState,
    after,
)


def reached(table: Mapping[tuple[StrEnum, StrEnum], StrEnum], start: StrEnum) -> set[StrEnum]:
    """Every state that some sequence of events leads to."""
    found, fresh = set(), {start}
    while fresh:
        found |= fresh
        fresh = {after for (state, _), after in table.items() if state in fresh} - found
    return found


def test_every_state_can_be_reached() -> None:
    assert reached(SERIES, SeriesState.RECEIVING) == set(SeriesState)
    assert reached(DELIVERIES, DeliveryState.PENDING) == set(DeliveryState)


def test_every_event_has_its_place() -> None:
    assert {event for _, event in SERIES} == set(SeriesEvent)
    assert {event for _, event in DELIVERIES} == set(DeliveryEvent)


def test_the_stages_follow_one_another() -> None:
    state = SeriesState.RECEIVING
    for event in (
        SeriesEvent.COMPLETE,
        SeriesEvent.ASSEMBLED,
        SeriesEvent.INFERRED,
        SeriesEvent.REPORTED,
        SeriesEvent.DELIVERED,
        SeriesEvent.CONFIRMED,
    ):
        state = after(SERIES, state, event)
    assert state is SeriesState.CONFIRMED


def test_only_a_proof_confirms() -> None:
    """No other event leads to `confirmed`, and none but `stored` comes before it."""
    into = {pair for pair, new in DELIVERIES.items() if new is DeliveryState.CONFIRMED}
    assert into == {(DeliveryState.AWAITING, DeliveryEvent.CONFIRMED)}
    into = {event for (_, event), new in DELIVERIES.items() if new is DeliveryState.AWAITING}
    other_attempts = {
        DeliveryEvent.ASKED,
        DeliveryEvent.ANSWERED,
        DeliveryEvent.REQUEUED,
        DeliveryEvent.RELEASED,
        DeliveryEvent.RETRY,
    }
    assert into - other_attempts == {DeliveryEvent.STORED}


@given(st.sampled_from(UNFINISHED), st.sampled_from(SeriesEvent))
def test_no_stage_is_jumped_over(state: SeriesState, event: SeriesEvent) -> None:
    """From a stage under way only its own end, a bad end, a new job or an image lead on."""
    order = [*UNFINISHED, SeriesState.REPORTED]
    try:
        new = after(SERIES, state, event)
    except IllegalTransition as error:
        assert str(state) in str(error)
        return
    if new in order and event not in (SeriesEvent.REQUEUED, SeriesEvent.DISTURBED):
        assert order.index(new) - order.index(state) in (0, 1)


@pytest.mark.parametrize("state", UNFINISHED)
def test_what_is_under_way_can_fail_and_be_queued_again(state: SeriesState) -> None:
    assert after(SERIES, state, SeriesEvent.FAILED) is SeriesState.FAILED
    assert after(SERIES, state, SeriesEvent.REQUEUED) is SeriesState.COMPLETE


@given(st.sampled_from([*SeriesEvent]), st.sampled_from([*SeriesState]))
def test_an_end_that_is_told_twice_changes_nothing(event: SeriesEvent, state: SeriesState) -> None:
    """A step whose end was entered is run again when the engine missed it."""
    ends = {SeriesEvent(str(stage)) for stage in SeriesState if str(stage) in set(SeriesEvent)}
    once = SERIES.get((state, event))
    if event in ends - {SeriesEvent.COMPLETE} and once is not None:
        assert after(SERIES, once, event) is once


@given(st.sampled_from(DeliveryState), st.sampled_from(DeliveryEvent))
def test_an_ended_delivery_moves_only_when_asked(
    state: DeliveryState, event: DeliveryEvent
) -> None:
    asked = (DeliveryEvent.RETRY, DeliveryEvent.RESEND)
    if state not in DUE and event not in asked:
        with pytest.raises(IllegalTransition):
            after(DELIVERIES, state, event)
