"""Whether an attempt follows is decided here, from what the destination answered."""

from hypothesis import given
from hypothesis import strategies as st

from ich_node.pipeline.delivery import judge, pause_s
from ich_node.records import Verdict
from ich_node.states import DeliveryEvent

STORED = Verdict("seg", "1", 0, True, False, "stored")
LATER = Verdict("sr", "2", 0xA700, False, True, "refused, A700H")
NEVER = Verdict("sr", "3", 0xA900, False, False, "refused, A900H")


def test_delivered_only_when_everything_is_stored() -> None:
    assert judge([STORED, STORED], 1) == (DeliveryEvent.STORED, "2 objects stored")


def test_a_transient_refusal_is_tried_again_and_shown() -> None:
    event, text = judge([STORED, LATER], 1)
    assert event is DeliveryEvent.POSTPONED
    assert text == "sr: refused, A700H"


def test_a_permanent_refusal_stops_and_is_shown() -> None:
    assert judge([STORED, NEVER], 1) == (DeliveryEvent.REFUSED, "sr: refused, A900H")


def test_what_may_still_be_stored_keeps_the_delivery_alive() -> None:
    assert judge([LATER, NEVER], 1)[0] is DeliveryEvent.POSTPONED


def test_it_gives_up_after_days_and_says_so() -> None:
    event, text = judge([LATER], 150)
    assert event is DeliveryEvent.REFUSED
    assert "given up after 150 attempts" in text
    assert 2 < sum(pause_s(n) for n in range(1, 150)) / 86_400 < 4


@given(st.integers(1, 10_000))
def test_pauses_grow_to_half_an_hour(attempt: int) -> None:
    assert 5 <= pause_s(attempt) <= pause_s(attempt + 1) <= 1800
