"""The destination matrix: what a PACS does, and what the delivery to it comes to, without waiting.

A clock that the test moves stands for hours and days; every association is real.
"""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import Comprehensive3DSRStorage, SecondaryCaptureImageStorage

from deploy.demo.running import free_port
from ich_node import faults
from ich_node.deliver import proof as proof_scu
from ich_node.deliver import query, scu
from ich_node.pipeline import again, reconcile
from ich_node.states import DeliveryState, SeriesState
from ich_node.store import destinations, proofs
from tests.support.archive import archive
from tests.support.delivering import STUDY, Site, site
from tests.support.peers import Listening, bare_server, receiver_on

HOUR = 3600.0


@pytest.fixture
def ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with site(tmp_path / "ours", monkeypatch) as made:
        yield made


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait two seconds where it would be minutes."""
    for name in ("_CONNECT_S", "_ACSE_S", "_DIMSE_S", "_NETWORK_S"):
        monkeypatch.setattr(scu, name, 2.0)
    monkeypatch.setattr(query, "_ANSWER_S", 2.0)
    monkeypatch.setattr(proof_scu, "_REPORT_S", 20.0)  # a report that is to come here ends it


def test_one_that_commits_in_the_same_association_confirms(ours: Site) -> None:
    with archive(commits=True) as pacs:
        ours.due(pacs.port)
        assert ours.step() is DeliveryState.AWAITING
        assert ours.series_state is SeriesState.DELIVERED
        text = ours.until(DeliveryState.CONFIRMED, attempts=1)
    assert text == "2 objects confirmed by storage commitment"
    assert ours.row()["proof"] == "storage commitment"
    assert ours.series_state is SeriesState.CONFIRMED
    assert pacs.statuses == [0x0000]
    listed = {item.ReferencedSOPInstanceUID for item in pacs.asked[0].ReferencedSOPSequence}
    assert listed == {ours.uid("seg"), ours.uid("sr")}


def test_one_that_offers_only_c_find_confirms_by_it(ours: Site) -> None:
    with archive(finds=True) as pacs:
        ours.due(pacs.port)
        ours.step()
        text = ours.until(DeliveryState.CONFIRMED, attempts=1)
    assert text == "2 objects found by C-FIND"
    assert ours.row()["proof"] == "C-FIND"


def test_one_that_offers_neither_stays_delivered_and_why_is_said(ours: Site) -> None:
    with archive() as pacs:
        ours.due(pacs.port)
        ours.step()
        text = ours.until(DeliveryState.DELIVERED, attempts=1)
    assert text == "stored, not proven: it offers no way to prove it"
    assert ours.series_state is SeriesState.DELIVERED
    assert ours.row()["next_at"] is None


def test_where_commitment_is_off_nothing_is_asked(ours: Site) -> None:
    with archive(commits=True, finds=True) as pacs:
        ours.due(pacs.port, commitment="off")
        ours.step()
        text = ours.until(DeliveryState.DELIVERED, attempts=1)
    assert 'commitment = "off"' in text
    assert pacs.asked == []


def test_where_commitment_is_required_c_find_confirms_nothing(ours: Site) -> None:
    with archive(finds=True) as pacs:
        ours.due(pacs.port, commitment="require")
        ours.step()
        text = ours.until(DeliveryState.FAILED, attempts=1)
    assert 'commitment = "require"' in text
    assert "ich-node retry" in text
    assert ours.row()["proof"] is None
    assert ours.series_state is SeriesState.REPORTED, "what has failed is not delivered"


def test_a_required_commitment_that_is_there_later_confirms_by_retry_and_nothing_is_sent_twice(
    ours: Site,
) -> None:
    port = free_port()
    with archive(port=port) as pacs:
        ours.due(port, commitment="require")
        ours.until(DeliveryState.FAILED)
    with archive(port=port, commits=True, held=pacs.held) as pacs:
        assert again.retry(ours.engine, ours.jobs, STUDY) == ["series 1.2.3: sent again to pacs"]
        ours.until(DeliveryState.CONFIRMED)
    assert pacs.came == []
    assert ours.series_state is SeriesState.CONFIRMED


def test_a_report_may_come_in_an_association_to_our_scp(
    ours: Site, node: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The receiver takes it by its Transaction UID; the deliverer need not ask again."""
    monkeypatch.setattr(proof_scu, "_REPORT_S", 0.0)
    with archive(commits=True, later=True) as pacs:
        ours.due(pacs.port)
        ours.step()
        assert ours.step() is DeliveryState.AWAITING
        ours.clock.now += 3 * HOUR
        [request] = pacs.asked
        with receiver_on(node.settings, ours.engine) as port:
            assert pacs.report_to(port, request) == 0x0000
            assert pacs.report_to(port, request) == 0x0000
        assert reconcile.hasten(ours.engine, ours.jobs) == []  # it is due anyhow
        ours.until(DeliveryState.CONFIRMED, attempts=1)
        assert pacs.report_to(node.receiver.port, request) == 0x0115
    assert len(pacs.asked) == 1


def test_a_report_that_comes_early_is_read_at_once(
    ours: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proof_scu, "_REPORT_S", 0.0)
    with archive(commits=True, later=True) as pacs:
        ours.due(pacs.port)
        ours.step()
        ours.step()
        attempt = ours.row()["attempt"]
        assert reconcile.hasten(ours.engine, ours.jobs) == []
        assert proofs.take(ours.engine, *pacs.tell(pacs.asked[0])) == 0x0000
        assert reconcile.hasten(ours.engine, ours.jobs) == ["1.2.3:1"]
        assert reconcile.hasten(ours.engine, ours.jobs) == []
        assert ours.row()["attempt"] == attempt + 1
        ours.until(DeliveryState.CONFIRMED, attempts=1)


@pytest.mark.parametrize("another", [True, False])
def test_a_report_that_comes_while_an_attempt_ends_is_read_by_the_next(
    ours: Site, monkeypatch: pytest.MonkeyPatch, another: bool
) -> None:
    """Whether the attempt has just read another report, a failure, or none."""
    monkeypatch.setattr(proof_scu, "_REPORT_S", 0.0)
    with archive(commits=True, later=True, failure=0x0110) as pacs:
        ours.due(pacs.port)
        for _ in range(3):
            ours.step()
        assert len(pacs.asked) == 2
        if another:
            held, pacs.held = pacs.held, {}
            assert proofs.take(ours.engine, *pacs.tell(pacs.asked[0])) == 0x0000
            pacs.held = held

        def come(point: str, _key: str) -> None:
            if point == "deliver.sent":
                assert proofs.take(ours.engine, *pacs.tell(pacs.asked[1])) == 0x0000

        with monkeypatch.context() as between:
            between.setattr(faults, "point", come)
            assert ours.step() is DeliveryState.AWAITING
        assert reconcile.hasten(ours.engine, ours.jobs) == ["1.2.3:1"]
        ours.until(DeliveryState.CONFIRMED, attempts=1)
    assert len(pacs.asked) == (2 if another else 3)


def test_a_commitment_that_is_never_reported_is_asked_for_again_at_growing_pauses(
    ours: Site, monkeypatch: Any
) -> None:
    """Hours later one report is enough, and it may be on the first request."""
    monkeypatch.setattr(proof_scu, "_REPORT_S", 0.0)
    with archive(commits=True, later=True) as pacs:
        ours.due(pacs.port)
        began = ours.clock.now
        ours.step()
        asked_at = []
        while len(asked_at) < 5:
            assert ours.step() is DeliveryState.AWAITING
            if len(pacs.asked) > len(asked_at):
                asked_at.append(ours.clock.now - began)
        assert asked_at == [0.0, 600.0, 1800.0, 4200.0, 9000.0]
        assert proofs.take(ours.engine, *pacs.tell(pacs.asked[0])) == 0x0000
        ours.until(DeliveryState.CONFIRMED, attempts=1)


def test_an_offered_commitment_that_is_not_reported_leaves_c_find_to_confirm(
    ours: Site, monkeypatch: Any
) -> None:
    monkeypatch.setattr(proof_scu, "_REPORT_S", 0.0)
    with archive(commits=True, finds=True, later=True) as pacs:
        ours.due(pacs.port)
        ours.step()
        assert ours.step() is DeliveryState.AWAITING
        assert ours.until(DeliveryState.CONFIRMED, attempts=1) == "2 objects found by C-FIND"
    assert len(pacs.asked) == 1


def test_a_refused_request_leaves_c_find_to_confirm(ours: Site) -> None:
    with archive(commits=True, finds=True, action=0x0110) as pacs:
        ours.due(pacs.port)
        ours.step()
        ours.until(DeliveryState.CONFIRMED, attempts=1)
    assert ours.row()["proof"] == "C-FIND"
    assert proofs.of_delivery(ours.engine, "1.2.3:1", "pacs") == []


@pytest.mark.parametrize("commitment", ["auto", "require"])
@pytest.mark.parametrize("action", [0x0110, 0x0213, 0xA700])
def test_a_request_that_is_refused_for_now_is_made_again(
    ours: Site, action: int, commitment: str
) -> None:
    with archive(commits=True, action=action) as pacs:
        ours.due(pacs.port, commitment=commitment)
        ours.step()
        assert [ours.step() for _ in range(3)] == [DeliveryState.AWAITING] * 3
        assert f"refused with {action:04X}H" in ours.row()["text"]
        assert ours.series_state is SeriesState.DELIVERED
        pacs.action = 0x0000
        ours.until(DeliveryState.CONFIRMED, attempts=1)
    assert ours.row()["proof"] == "storage commitment"


@pytest.mark.parametrize(
    ("commitment", "state"),
    [("auto", DeliveryState.DELIVERED), ("require", DeliveryState.FAILED)],
)
@pytest.mark.parametrize("action", [0x0112, 0x0118, 0x0119, 0x0122, 0x0123, 0x0124, 0x0211, 0x0212])
def test_a_request_that_will_never_be_taken_is_no_way_to_prove_it(
    ours: Site, action: int, commitment: str, state: DeliveryState
) -> None:
    with archive(commits=True, action=action) as pacs:
        ours.due(pacs.port, commitment=commitment)
        ours.step()
        assert f"refused with {action:04X}H" in ours.until(state, attempts=1)


def test_one_that_aborts_at_the_request_leaves_c_find_to_confirm(ours: Site) -> None:
    """As Orthanc does to an AE title that it does not know."""
    with archive(commits=True, finds=True, action=-1) as pacs:
        ours.due(pacs.port)
        ours.step()
        ours.until(DeliveryState.CONFIRMED, attempts=1)
    assert ours.row()["proof"] == "C-FIND"


def test_after_a_week_without_proof_it_stays_delivered(
    ours: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proof_scu, "_REPORT_S", 0.0)
    with archive(commits=True, later=True) as pacs:
        ours.due(pacs.port)
        began = ours.clock.now
        text = ours.until(DeliveryState.DELIVERED)
    assert "no proof within 7 days" in text
    assert 7 <= (ours.clock.now - began) / 86400 < 8


def test_one_that_was_held_for_longer_than_a_week_has_its_first_request_waited_for_once(
    ours: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proof_scu, "_REPORT_S", 0.0)
    with archive(commits=True, later=True) as pacs:
        ours.due(pacs.port)
        ours.step()
        again.hold(ours.engine, ["pacs"])
        ours.clock.now += 8 * 24 * HOUR
        again.release(ours.engine, ours.jobs, ["pacs"])
        assert ours.step() is DeliveryState.AWAITING
        assert ours.row()["next_at"] == ours.clock.now + 600
        ours.until(DeliveryState.DELIVERED, attempts=1)


def test_retry_asks_again_for_the_proof_that_could_not_be_had(
    ours: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long ago that was; nothing is sent again."""
    port = free_port()
    with archive(port=port) as pacs:
        ours.due(port)
        ours.until(DeliveryState.DELIVERED)
    ours.clock.now += 8 * 24 * HOUR
    monkeypatch.setattr(proof_scu, "_REPORT_S", 0.0)
    with archive(port=port, commits=True, later=True, held=pacs.held) as pacs:
        said = again.retry(ours.engine, ours.jobs, STUDY)
        assert said == ["series 1.2.3: proof asked for again from pacs"]
        assert ours.step() is DeliveryState.AWAITING
        assert proofs.take(ours.engine, *pacs.tell(pacs.asked[0])) == 0x0000
        ours.until(DeliveryState.CONFIRMED, attempts=1)
    assert pacs.came == []
    assert ours.series_state is SeriesState.CONFIRMED


def test_one_that_accepts_and_forgets_is_found_by_commitment_and_gets_it_again_byte_for_byte(
    ours: Site,
) -> None:
    with archive(commits=True) as pacs:
        ours.due(pacs.port)
        ours.step()
        del pacs.held[ours.uid("seg")]
        assert ours.step() is DeliveryState.RETRYING
        assert "0112H" in ours.row()["text"]
        assert ours.series_state is SeriesState.REPORTED
        ours.until(DeliveryState.CONFIRMED)
    assert pacs.came == [
        (ours.uid("seg"), ours.data("seg")),
        (ours.uid("sr"), ours.data("sr")),
        (ours.uid("seg"), ours.data("seg")),
    ]
    assert ours.series_state is SeriesState.CONFIRMED


def test_one_that_accepts_and_forgets_is_found_by_c_find_after_a_grace(ours: Site) -> None:
    """A PACS may take minutes to list what it stored; after ten it is lost."""
    with archive(finds=True) as pacs:
        ours.due(pacs.port)
        ours.step()
        stored_at = ours.clock.now
        pacs.held.clear()
        ours.until(DeliveryState.RETRYING)
        assert ours.clock.now - stored_at >= 600
        ours.until(DeliveryState.CONFIRMED)
    assert [uid for uid, _data in pacs.came] == [ours.uid("seg"), ours.uid("sr")] * 2


@pytest.mark.parametrize("listed", [(), ("1.2.3", "1.2.9")])
def test_one_that_hides_what_it_holds_from_us_gets_nothing_again(
    ours: Site, listed: tuple[str, ...]
) -> None:
    """Nothing of the study is listed, or our series, but no object: that is no loss."""
    with archive(finds=True, hidden=True, listed=listed) as pacs:
        ours.due(pacs.port)
        ours.step()
        text = ours.until(DeliveryState.DELIVERED)
    assert "lost or hidden from our AE title" in text
    assert len(pacs.came) == 2
    assert ours.series_state is SeriesState.DELIVERED


def test_one_that_hides_what_it_holds_from_us_is_waited_for_while_it_may_report(
    ours: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proof_scu, "_REPORT_S", 0.0)
    with archive(commits=True, finds=True, later=True, hidden=True, listed=()) as pacs:
        ours.due(pacs.port)
        stored_at = ours.clock.now
        while ours.clock.now - stored_at < HOUR:
            assert ours.step() is DeliveryState.AWAITING
        assert proofs.take(ours.engine, *pacs.tell(pacs.asked[0])) == 0x0000
        ours.until(DeliveryState.CONFIRMED, attempts=1)
    assert len(pacs.came) == 2


def test_one_that_always_forgets_is_given_up(ours: Site) -> None:
    with archive(commits=True) as pacs:
        ours.due(pacs.port)
        began = ours.clock.now
        while ours.step() not in (DeliveryState.FAILED, DeliveryState.CONFIRMED):
            pacs.held.clear()
    assert "given up after 5 times" in ours.row()["text"]
    assert ours.series_state is SeriesState.REPORTED, "what is known to be lost is not delivered"
    assert len(pacs.came) == 10
    assert ours.clock.now - began > 2 * HOUR
    assert again.retry(ours.engine, ours.jobs, STUDY) == ["series 1.2.3: sent again to pacs"]


def test_a_failure_that_is_no_loss_is_asked_again_and_nothing_is_sent_twice(ours: Site) -> None:
    """0110H, processing failure: it may hold the objects and not have secured them yet."""
    with archive(commits=True, failure=0x0110) as pacs:
        ours.due(pacs.port)
        ours.step()
        held, pacs.held = pacs.held, {}
        assert ours.step() is DeliveryState.AWAITING
        assert "0110H" in ours.row()["text"]
        pacs.held = held
        ours.until(DeliveryState.CONFIRMED)
    assert len(pacs.came) == 2


def test_retry_asks_for_the_proof_now(ours: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when the PACS has learnt only now where it is to report to."""
    monkeypatch.setattr(proof_scu, "_REPORT_S", 0.0)
    with archive(commits=True, later=True) as pacs:
        ours.due(pacs.port)
        ours.step()
        ours.step()
        began = ours.clock.now
        said = again.retry(ours.engine, ours.jobs, STUDY)
        assert said == ["series 1.2.3: proof asked for again from pacs"]
        assert ours.step() is DeliveryState.AWAITING
        assert (len(pacs.asked), ours.clock.now) == (2, began)


def test_one_that_is_away_when_it_is_to_prove_is_asked_when_it_is_back(ours: Site) -> None:
    port = free_port()
    with archive(port=port, commits=True) as pacs:
        ours.due(port)
        ours.step()
    assert [ours.step() for _ in range(3)] == [DeliveryState.AWAITING] * 3
    with archive(port=port, commits=True, held=pacs.held):
        ours.until(DeliveryState.CONFIRMED, attempts=1)


def test_resend_asks_for_the_proof_anew_and_sends_the_same_bytes(ours: Site) -> None:
    with archive(commits=True) as pacs:
        ours.due(pacs.port)
        ours.until(DeliveryState.CONFIRMED)
        again.resend(ours.engine, ours.jobs, STUDY, ["pacs"])
        assert ours.series_state is SeriesState.REPORTED
        ours.until(DeliveryState.CONFIRMED)
    assert pacs.came[2:] == pacs.came[:2]
    assert len(pacs.asked) == 2


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


def test_one_that_hangs_is_left_after_the_time_out_and_tried_again(ours: Site) -> None:
    with bare_server(_silent) as port:
        ours.due(port)
        assert [ours.step(), ours.step()] == [DeliveryState.RETRYING] * 2
    assert "next attempt in 10 s" in ours.row()["text"]


def _silent(connection: socket.socket) -> None:
    while connection.recv(65536):
        pass


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
