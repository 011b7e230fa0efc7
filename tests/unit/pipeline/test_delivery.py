"""Whether an attempt follows is decided here, from what the destination answered."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from ich_node.pipeline import delivery
from ich_node.pipeline.delivery import judge, pause_s, step_down
from ich_node.records import Verdict
from ich_node.states import DeliveryEvent, DeliveryState

STORED = Verdict("seg", "1", 0, True, False, "stored")
LATER = Verdict("sr", "2", 0xA700, False, True, "refused, A700H")
NEVER = Verdict("sr", "3", 0xA900, False, False, "refused, A900H")


def test_delivered_only_when_everything_is_stored() -> None:
    ended = judge([STORED, STORED], 1)
    assert (ended.event, ended.text) == (DeliveryEvent.STORED, "2 objects stored")


def test_a_transient_refusal_is_tried_again_and_shown() -> None:
    ended = judge([STORED, LATER], 1)
    assert ended.event is DeliveryEvent.POSTPONED
    assert ended.text == "sr: refused, A700H; next attempt in 5 s"
    assert ended.next_in_s == 5.0


def test_a_permanent_refusal_stops_and_is_shown() -> None:
    ended = judge([STORED, NEVER], 1)
    assert (ended.event, ended.text) == (DeliveryEvent.REFUSED, "sr: refused, A900H")


def test_what_may_still_be_stored_keeps_the_delivery_alive() -> None:
    assert judge([LATER, NEVER], 1).event is DeliveryEvent.POSTPONED


def test_only_a_refusal_of_the_object_itself_is_final() -> None:
    assert NEVER.final
    assert not any(one.final for one in (STORED, LATER, NO_SEG, CAPTURE))


def test_it_gives_up_after_days_and_says_so() -> None:
    ended = judge([LATER], 150)
    assert ended.event is DeliveryEvent.REFUSED
    assert "given up after 150 attempts" in ended.text
    assert 2 < sum(pause_s(n) for n in range(1, 150)) / 86_400 < 4


NO_SEG = Verdict("seg", "4", None, False, False, "does not accept SEG", class_refused=True)
NO_SC = Verdict("sc", "5", None, False, False, "does not accept SC", class_refused=True)
CAPTURE = Verdict("sc", "6", 0, True, False, "stored")


def test_without_fallback_a_class_that_is_not_accepted_stops_the_delivery() -> None:
    ended = judge(step_down([NO_SEG, STORED], "", built=False), 1)
    assert (ended.event, ended.text) == (DeliveryEvent.REFUSED, "seg: does not accept SEG")


def test_with_fallback_the_captures_stand_for_what_is_not_accepted() -> None:
    ended = judge(step_down([NO_SEG, STORED, CAPTURE], "sc", built=True), 1)
    assert ended.event is DeliveryEvent.STORED
    assert ended.text == "2 objects stored; seg: does not accept SEG; captures go instead"


def test_captures_do_not_stand_for_a_presentation_state() -> None:
    no_pr = replace(NO_SEG, kind="pr", text="does not accept PR")
    ended = judge(step_down([STORED, no_pr], "sc", built=True), 1)
    assert (ended.event, ended.text) == (DeliveryEvent.REFUSED, "pr: does not accept PR")


def test_a_fallback_that_was_never_built_replaces_nothing() -> None:
    ended = judge(step_down([NO_SEG, STORED], "sc", built=False), 1)
    assert ended.event is DeliveryEvent.REFUSED
    assert "no capture was built" in ended.text


def test_a_refused_capture_is_replaced_by_nothing() -> None:
    ended = judge(step_down([NO_SEG, STORED, NO_SC], "sc", built=True), 1)
    assert (ended.event, ended.text) == (DeliveryEvent.REFUSED, "sc: does not accept SC")


@given(st.integers(1, 10_000))
def test_pauses_grow_to_half_an_hour(attempt: int) -> None:
    assert 5 <= pause_s(attempt) <= pause_s(attempt + 1) <= 1800


def test_a_disk_that_cannot_be_read_now_stops_no_delivery() -> None:
    """What may pass is tried again; a kept object that is gone, or another, is not."""
    busy, gone = OSError(24, "Too many open files"), FileNotFoundError(2, "No such file")
    send = delivery._unread(DeliveryState.RETRYING, 3, busy)
    assert (send.event, send.next_in_s) == (DeliveryEvent.POSTPONED, 20.0)
    prove = delivery._unread(DeliveryState.AWAITING, 1, busy)
    assert (prove.event, prove.next_in_s) == (DeliveryEvent.ASKED, 5.0)
    assert delivery._unread(DeliveryState.RETRYING, 1, gone).event is DeliveryEvent.REFUSED
