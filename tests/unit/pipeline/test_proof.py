"""What confirms a delivery, what is lost, when it is asked again: decided from what is known."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ich_node.deliver.proof import Look
from ich_node.pipeline import proof
from ich_node.pipeline.proof import GIVE_UP_S, GRACE_S, judge, read_reports, wait_s
from ich_node.states import DeliveryEvent, DeliveryState
from ich_node.store.deliveries import DeliveryRow, Ended
from ich_node.store.proofs import Asked

BOTH = frozenset({"1", "2"})


def row(tries: int = 0, lost: int = 0) -> DeliveryRow:
    return DeliveryRow(DeliveryState.AWAITING, 2, tries, BOTH, 0.0, lost)


def judged(seen: Look, age_s: float = 0.0, *, required: bool = False, requests: int = 1) -> Ended:
    return judge(row(), seen, requests=requests, age_s=age_s, required=required)


def reported(
    stored: set[str] = frozenset(), failed: dict[str, int] | None = None, lost: int = 0
) -> Ended | None:
    return read_reports(row(lost=lost), [Asked("9.1", 0.0, True, frozenset(stored), failed or {})])


def test_a_report_confirms_only_what_it_lists() -> None:
    whole = reported({"1", "2", "3"})
    assert whole is not None
    assert (whole.event, whole.proof) == (DeliveryEvent.CONFIRMED, "storage commitment")
    part = reported({"1"})
    assert part is not None
    assert part.event is DeliveryEvent.ASKED
    assert "for 1 of 2 objects (no word)" in part.text


def test_reports_on_several_requests_confirm_together() -> None:
    asked = [Asked(f"9.{uid}", 0.0, True, frozenset({uid}), {}) for uid in BOTH]
    ended = read_reports(row(), asked)
    assert ended is not None
    assert ended.event is DeliveryEvent.CONFIRMED


def test_an_older_failure_does_not_speak_against_a_later_success() -> None:
    asked = [
        Asked("9.1", 0.0, True, frozenset({"1"}), {"2": 0x0112}),
        Asked("9.2", 1.0, True, frozenset({"2"}), {}),
    ]
    ended = read_reports(row(), asked)
    assert ended is not None
    assert ended.event is DeliveryEvent.CONFIRMED


def test_a_request_without_a_report_says_nothing() -> None:
    assert read_reports(row(), [Asked("9.1", 0.0, False, frozenset(), {})]) is None


def test_only_no_such_object_is_a_loss() -> None:
    gone = reported({"1"}, {"2": 0x0112})
    assert gone is not None
    assert (gone.event, set(gone.lost), gone.next_in_s) == (DeliveryEvent.LOST, {"2"}, 0.0)
    busy = reported({"1"}, {"2": 0x0213})
    assert busy is not None
    assert (busy.event, set(busy.lost)) == (DeliveryEvent.ASKED, set())
    assert "0213H" in busy.text


def test_what_is_lost_goes_out_again_at_growing_pauses_and_not_for_ever() -> None:
    ends = [reported(failed={"1": 0x0112}, lost=lost) for lost in range(5)]
    assert [ended.next_in_s for ended in ends if ended] == [0.0, 300.0, 1800.0, 7200.0, None]
    assert ends[-1] is not None
    assert ends[-1].event is DeliveryEvent.REFUSED
    assert ends[-1].lost == {"1"}, "`retry` has to send it"


def test_what_c_find_does_not_find_is_lost_only_after_a_grace() -> None:
    seen = Look(found=frozenset({"1"}), text="C-FIND was asked")
    assert judged(seen, GRACE_S - 1).event is DeliveryEvent.ASKED
    ended = judged(seen, GRACE_S)
    assert (ended.event, set(ended.lost)) == (DeliveryEvent.LOST, {"2"})


def test_what_lists_nothing_at_all_has_lost_nothing() -> None:
    """A PACS may hide from an AE title what it holds; what else can tell is waited for."""
    silent = Look(found=frozenset(), text="C-FIND was asked")
    assert judged(silent, GRACE_S - 1).event is DeliveryEvent.ASKED
    ended = judged(silent, GRACE_S)
    assert ended.event is DeliveryEvent.UNPROVABLE
    assert "lost or hidden from our AE title" in ended.text
    for waiting in (replace(silent, asked=True), replace(silent, fault="refused with 0213H")):
        assert judged(waiting, GRACE_S).event is DeliveryEvent.ASKED
    assert judged(silent, GRACE_S, requests=2).event is DeliveryEvent.ASKED
    assert judged(silent, GIVE_UP_S, requests=2).event is DeliveryEvent.UNPROVABLE


def test_what_lists_the_study_without_them_has_lost_them_all() -> None:
    ended = judged(Look(found=frozenset(), lists_study=True), GRACE_S)
    assert (ended.event, set(ended.lost)) == (DeliveryEvent.LOST, BOTH)


@pytest.mark.parametrize(
    ("required", "event"), [(False, DeliveryEvent.UNPROVABLE), (True, DeliveryEvent.REFUSED)]
)
def test_without_any_way_to_prove_it_the_setting_decides(
    required: bool, event: DeliveryEvent
) -> None:
    assert judged(Look(), required=required).event is event
    away = Look(fault="not reachable")
    assert judged(away, GIVE_UP_S - 1, required=required).event is DeliveryEvent.ASKED
    ended = judged(away, GIVE_UP_S, required=required)
    assert ended.event is event
    assert "no proof within 7 days: not reachable" in ended.text


def test_only_a_first_request_is_waited_for_after_the_last_day() -> None:
    seen = Look(asked=True, text="storage commitment was asked for")
    first = judged(seen, GIVE_UP_S, requests=1)
    assert (first.event, first.next_in_s) == (DeliveryEvent.ASKED, wait_s(1))
    assert judged(seen, GIVE_UP_S, requests=2).event is DeliveryEvent.UNPROVABLE


@given(st.integers(1, 1000))
def test_waits_for_a_report_grow_to_six_hours(requests: int) -> None:
    asked = judged(Look(asked=True), requests=requests)
    assert asked.event is DeliveryEvent.ASKED
    assert asked.next_in_s == wait_s(requests)
    assert 600 <= wait_s(requests) <= wait_s(requests + 1) <= 21600


@given(
    st.builds(
        Look,
        fault=st.sampled_from(["", "away"]),
        asked=st.booleans(),
        found=st.none() | st.frozensets(st.sampled_from(["1", "2", "3"])),
        lists_study=st.booleans(),
    ),
    st.floats(0, 2 * GIVE_UP_S),
    st.booleans(),
)
def test_nothing_but_a_find_of_every_object_confirms_without_a_report(
    seen: Look, age_s: float, required: bool
) -> None:
    ended = judged(seen, age_s, required=required)
    found_all = seen.found is not None and seen.found >= BOTH
    assert (ended.event is DeliveryEvent.CONFIRMED) == found_all
    assert (ended.proof == proof.QUERY) == found_all
    assert (ended.next_in_s is None) == (
        ended.event not in (DeliveryEvent.ASKED, DeliveryEvent.LOST)
    )
