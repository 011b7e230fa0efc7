"""What a C-STORE status means for an object: stored, try again, or never (PS3.4 B.2.3, PS3.7 C)."""

from pathlib import Path

import pytest
from pydicom import Dataset

from ich_node.deliver.scu import Outgoing, _judge

SEG = Outgoing(
    "seg", Path("seg.dcm"), "1.2.840.10008.5.1.4.1.1.66.4", "1.2.3", "1.2.840.10008.1.2.1"
)


def answer(status: int | None, comment: str = "") -> Dataset:
    found = Dataset()
    if status is not None:
        found.Status = status
    if comment:
        found.ErrorComment = comment
    return found


@pytest.mark.parametrize("status", [0x0000, 0x0001, 0x0107, 0x0116, 0xB000, 0xB006, 0xB007, 0xB123])
def test_success_and_warnings_mean_stored(status: int) -> None:
    verdict = _judge(SEG, answer(status))
    assert (verdict.status, verdict.stored, verdict.transient) == (status, True, False)


def test_an_object_that_the_destination_has_already_is_stored() -> None:
    verdict = _judge(SEG, answer(0x0111))
    assert verdict.stored
    assert "stored earlier" in verdict.text


@pytest.mark.parametrize("status", [0xA700, 0xA701, 0xA7FF, 0x0110, 0x0210, 0x0213, 0xFE00])
def test_a_passing_trouble_is_worth_another_attempt(status: int) -> None:
    verdict = _judge(SEG, answer(status))
    assert (verdict.status, verdict.stored, verdict.transient) == (status, False, True)


WRONG_OBJECT = (0xA900, 0xA9FF, 0xA800, 0xAA00, 0xC000, 0xC001, 0xCFFF)
WRONG_REQUEST = (0x0105, 0x0106, 0x0112, 0x0115, 0x0117, 0x0118, 0x0119, 0x0120, 0x0122, 0x0124)


@pytest.mark.parametrize("status", [*WRONG_OBJECT, *WRONG_REQUEST, 0x0211])
def test_a_refusal_of_the_object_itself_is_for_good(status: int) -> None:
    verdict = _judge(SEG, answer(status))
    assert (verdict.status, verdict.stored, verdict.transient) == (status, False, False)


def test_no_answer_is_worth_another_attempt() -> None:
    verdict = _judge(SEG, answer(None))
    assert (verdict.status, verdict.stored, verdict.transient) == (None, False, True)


def test_the_destinations_own_words_are_kept() -> None:
    verdict = _judge(SEG, answer(0xA700, "archive is full"))
    assert verdict.text.startswith("refused, A700H archive is full: ")
    assert (verdict.kind, verdict.sop_instance_uid) == ("seg", "1.2.3")


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (0xA701, "make room"),
        (0xA900, "not of its SOP class"),
        (0xC123, "cannot understand"),
        (0x0122, "set fallback"),
        (0x0124, "allow our AE title"),
        (0x0117, "does not take the object"),
        (0xA600, "does not take the object"),
        (0x0110, "failed for now"),
    ],
)
def test_the_administrator_reads_the_status_in_hex_and_what_to_do(status: int, words: str) -> None:
    text = _judge(SEG, answer(status)).text
    assert f"{status:04X}H" in text
    assert words in text


def test_no_status_is_both_stored_and_to_be_tried_again() -> None:
    for status in range(0x10000):
        verdict = _judge(SEG, answer(status))
        assert not (verdict.stored and verdict.transient)
