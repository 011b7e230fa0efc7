"""The destination matrix: what a PACS does, and what the delivery to it comes to, without waiting.

A clock that the test moves stands for hours and days; every association is real.
"""

import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import Comprehensive3DSRStorage, SecondaryCaptureImageStorage

from deploy.demo.running import free_port
from ich_node.pipeline import again
from ich_node.states import DeliveryState, SeriesState
from ich_node.store import destinations
from tests.support.archive import archive
from tests.support.delivering import HOUR, STUDY, Site, site
from tests.support.wire import (
    accept_byte_by_byte,
    accept_then_answer_byte_by_byte,
    accept_then_half_an_answer,
    accept_then_silence,
    bare_server,
    no_reader,
    silent,
)

pytestmark = pytest.mark.usefixtures("impatient")

NO_SEG = (Comprehensive3DSRStorage, SecondaryCaptureImageStorage)


def test_one_that_refuses_seg_without_fallback_is_stopped_with_the_reason(ours: Site) -> None:
    with archive(classes=NO_SEG, commits=True) as pacs:
        ours.due(pacs.port)
        text = ours.until(DeliveryState.FAILED, attempts=1)
    assert text == "seg: the destination does not accept Segmentation Storage"
    assert list(pacs.held) == [ours.uid("sr")]


def test_one_that_refuses_seg_with_fallback_gets_the_capture_and_that_is_confirmed(
    ours: Site,
) -> None:
    with archive(classes=NO_SEG, commits=True) as pacs:
        ours.due(pacs.port, fallback="sc")
        assert ours.step() is DeliveryState.AWAITING
        assert "captures go instead" in ours.row()["text"]
        text = ours.until(DeliveryState.CONFIRMED, attempts=1)
    assert text == "2 objects confirmed by storage commitment"
    assert set(pacs.held) == {ours.uid("sr"), ours.uid("sc")}
    assert pacs.held[ours.uid("sc")] == ours.data("sc")
    assert len(destinations.refused_classes(ours.engine, "pacs")) == 1


def test_one_that_refuses_the_captures_too_is_stopped(ours: Site) -> None:
    """Nothing counts as replaced by what did not go."""
    with archive(classes=[Comprehensive3DSRStorage]) as sr_only, archive(classes=[]) as nothing:
        ours.due(sr_only.port, fallback="sc")
        ours.due(nothing.port, name="nothing", fallback="sc")
        text = ours.until(DeliveryState.FAILED, attempts=1)
        other = ours.until(DeliveryState.FAILED, name="nothing", attempts=1)
    assert text == "sc: the destination does not accept Secondary Capture Image Storage"
    assert "accepts none of the SOP classes" in other


def test_one_that_has_learnt_seg_gets_it_and_its_refusal_is_forgotten(ours: Site) -> None:
    port = free_port()
    with archive(classes=NO_SEG, port=port) as pacs:
        ours.due(port, fallback="sc")
        ours.until(DeliveryState.DELIVERED)
    with archive(port=port) as pacs:
        again.resend(ours.engine, ours.jobs, STUDY, ["pacs"])
        ours.until(DeliveryState.DELIVERED)
    assert set(pacs.held) == {ours.uid("seg"), ours.uid("sr")}
    assert destinations.refused_classes(ours.engine, "pacs") == {}


def test_a700_three_times_is_tried_again_until_it_is_taken(ours: Site) -> None:
    answers = iter([0xA700] * 6)
    with archive(answer=lambda _event: next(answers, 0x0000)) as pacs:
        ours.due(pacs.port)
        began = ours.clock.now
        states = [ours.step() for _ in range(4)]
    assert states == [DeliveryState.RETRYING] * 3 + [DeliveryState.AWAITING]
    assert ours.clock.now - began == 5 + 10 + 20
    assert len(pacs.came) == 8
    assert set(pacs.held) == {ours.uid("seg"), ours.uid("sr")}


def test_c000_stops_at_once_and_names_the_status(ours: Site) -> None:
    with archive(answer=lambda _event: 0xC000) as pacs:
        ours.due(pacs.port)
        text = ours.until(DeliveryState.FAILED, attempts=1)
    assert text.startswith("seg: refused, C000H")
    assert len(pacs.came) == 2


def test_what_is_refused_for_good_is_not_sent_again_while_the_rest_is(ours: Site) -> None:
    """Until somebody asks by `retry`."""
    busy = iter([0xA700] * 2)

    def answer(event: Any) -> int:
        if event.request.AffectedSOPClassUID == Comprehensive3DSRStorage:
            return next(busy, 0x0000)
        return 0xC000

    with archive(answer=answer) as pacs:
        ours.due(pacs.port)
        assert [ours.step(), ours.step()] == [DeliveryState.RETRYING] * 2
        text = ours.until(DeliveryState.FAILED, attempts=1)
    assert text.startswith("seg: refused, C000H")
    sent = [uid for uid, _data in pacs.came]
    assert sent == [ours.uid("seg"), *[ours.uid("sr")] * 3]


def test_one_that_aborts_is_tried_again_and_what_it_took_is_not_sent_twice(ours: Site) -> None:
    def answer(event: Any) -> int:
        if event.request.AffectedSOPClassUID == Comprehensive3DSRStorage and len(pacs.came) < 4:
            event.assoc.abort()
        return 0x0000

    with archive(answer=answer) as pacs:
        ours.due(pacs.port)
        assert ours.step() is DeliveryState.RETRYING
        ours.until(DeliveryState.AWAITING)
    sent = [uid for uid, _data in pacs.came]
    assert sent == [ours.uid("seg"), *[ours.uid("sr")] * (len(sent) - 1)]


@pytest.mark.parametrize(
    "hangs",
    [
        silent,
        accept_byte_by_byte,
        accept_then_silence,
        accept_then_half_an_answer,
        accept_then_answer_byte_by_byte,
    ],
)
def test_one_that_hangs_is_left_after_the_time_out_and_tried_again(
    ours: Site, hangs: Callable[[socket.socket], None]
) -> None:
    """Before the association, in the middle of a C-STORE, in the middle of an answer."""
    began = time.monotonic()
    with bare_server(hangs) as port, archive() as other:
        ours.due(port)
        ours.due(other.port, name="other")
        assert ours.step() is DeliveryState.RETRYING
        assert time.monotonic() - began < 25
        ours.until(DeliveryState.DELIVERED, name="other")
    assert "next attempt in 5 s" in ours.row()["text"]
    with archive(port=port) as pacs:
        ours.until(DeliveryState.DELIVERED)
    assert set(pacs.held) == {ours.uid("seg"), ours.uid("sr")}


def test_one_that_stops_reading_is_left_after_the_time_out_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the middle of a C-STORE, of more than the buffers of both sides hold."""
    large = {"EncapsulatedDocument": bytes(1 << 25)}
    with site(tmp_path / "large", monkeypatch, kinds=("seg",), **large) as ours:
        with no_reader() as port:
            ours.due(port)
            assert ours.step() is DeliveryState.RETRYING
        assert ours.row()["text"].startswith("seg: no answer: timed out or connection lost")
        with archive(port=port) as pacs:
            ours.until(DeliveryState.DELIVERED)
        assert pacs.held == {ours.uid("seg"): ours.data("seg")}


def test_one_that_is_not_there_for_an_hour_gets_everything_when_it_is_back(ours: Site) -> None:
    port = free_port()
    ours.due(port)
    began, attempts = ours.clock.now, 0
    while ours.row()["next_at"] - began < HOUR:
        assert ours.step() in (DeliveryState.RETRYING, DeliveryState.PENDING)
        attempts += 1
    with archive(port=port, commits=True) as pacs:
        ours.until(DeliveryState.CONFIRMED)
    assert attempts < 20
    assert pacs.came == [(ours.uid(kind), ours.data(kind)) for kind in ("seg", "sr")]


def test_nothing_goes_to_a_held_destination_while_the_others_go_on(ours: Site) -> None:
    """Nor is it asked for proof; released, it goes on where it stood."""
    with archive(commits=True) as held, archive(commits=True) as other:
        ours.due(held.port)
        ours.due(other.port, name="other")
        again.hold(ours.engine, ["pacs"])
        assert ours.step() is DeliveryState.PENDING
        ours.until(DeliveryState.CONFIRMED, name="other")
        assert held.came == []
        again.release(ours.engine, ours.jobs, ["pacs"])
        assert ours.step() is DeliveryState.AWAITING
        again.hold(ours.engine, ["pacs"])
        assert ours.step() is DeliveryState.AWAITING
        assert held.asked == []
        again.release(ours.engine, ours.jobs, ["pacs"])
        ours.until(DeliveryState.CONFIRMED, attempts=1)
    assert ours.series_state is SeriesState.CONFIRMED


def test_a_negative_study_lacks_a_seg_and_that_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        site(tmp_path / "negative", monkeypatch, kinds=("sr",)) as negative,
        archive(classes=[Comprehensive3DSRStorage], commits=True) as pacs,
    ):
        negative.due(pacs.port)
        assert negative.until(DeliveryState.CONFIRMED) == (
            "1 objects confirmed by storage commitment"
        )


def test_a_kept_object_that_is_not_what_was_built_does_not_leave(ours: Site) -> None:
    ours.files["seg"].write_bytes(ours.files["seg"].read_bytes() + b"\0\0")
    with archive() as pacs:
        ours.due(pacs.port)
        text = ours.until(DeliveryState.FAILED, attempts=1)
    assert "sha256 differs" in text
    assert pacs.came == []
