"""Destinations that lost or hide what they stored, and asking them again.

A clock that the test moves stands for hours and days; every association is real.
"""

import pytest

from deploy.demo.running import free_port
from ich_node.deliver import proof as proof_scu
from ich_node.pipeline import again
from ich_node.states import DeliveryState, SeriesState
from ich_node.store import proofs
from tests.support.archive import archive
from tests.support.delivering import HOUR, STUDY, Site

pytestmark = pytest.mark.usefixtures("impatient")


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
