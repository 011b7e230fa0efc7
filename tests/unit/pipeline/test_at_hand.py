"""What is at hand is known, and for how long."""

import threading

import pytest

from ich_node.pipeline.at_hand import LIMITS_S, AtHand


def test_a_stage_is_overdue_after_its_limit_and_named() -> None:
    at_hand = AtHand()
    with at_hand.stage("infer", "1.2.3:1"):
        [stage] = at_hand.stages.values()
        assert at_hand.overdue(stage.began + LIMITS_S["infer"] - 1) is None
        told = at_hand.overdue(stage.began + LIMITS_S["infer"] + 1)
    assert told == "stage 'infer' of 1.2.3:1 takes longer than 1800 s"
    assert at_hand.overdue(stage.began + 1e9) is None


def test_each_thread_has_its_own() -> None:
    """Deliveries to several destinations run side by side."""
    at_hand = AtHand()
    inside, leave = threading.Barrier(2), threading.Event()

    def work() -> None:
        with at_hand.stage("send", "b"):
            inside.wait(10)
            leave.wait(10)

    other = threading.Thread(target=work)
    other.start()
    with at_hand.stage("send", "a"):
        inside.wait(10)
        assert sorted(stage.about for stage in at_hand.stages.values()) == ["a", "b"]
    leave.set()
    other.join()
    assert at_hand.stages == {}


def test_jobs_and_stages_end_with_an_error_too() -> None:
    at_hand = AtHand()
    with pytest.raises(OSError), at_hand.job("study:1"), at_hand.stage("infer", "1"):
        assert at_hand.jobs == {"study:1"}
        raise OSError
    assert (at_hand.jobs, at_hand.stages) == (set(), {})
