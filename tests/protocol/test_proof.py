"""What proves that a destination holds its results: storage commitment, or C-FIND, or nothing.

A clock that the test moves stands for hours and days; every association is real.
"""

from typing import Any

import pytest

from deploy.demo.running import free_port
from ich_node import faults
from ich_node.deliver import proof as proof_scu
from ich_node.pipeline import again, reconcile
from ich_node.states import DeliveryState, SeriesState
from ich_node.store import proofs
from tests.support.archive import archive
from tests.support.delivering import HOUR, STUDY, Site
from tests.support.peers import Listening, receiver_on

pytestmark = pytest.mark.usefixtures("impatient")


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
