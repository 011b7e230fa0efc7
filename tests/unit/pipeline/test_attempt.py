"""What an attempt comes to where a kept object cannot be read: where it stops, where not."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.errors import InvalidDicomError

from ich_node.errors import CheckFailed
from ich_node.pipeline import delivery, proof
from ich_node.pipeline.delivery import Deliverer, make_attempt
from ich_node.states import DeliveryEvent, DeliveryState
from ich_node.store import deliveries, overview, proofs, revisions
from ich_node.store.deliveries import DeliveryRow, Ended
from ich_node.store.engine import writing
from tests.support.delivering import KEY, STUDY, Site, site
from tests.unit.store.test_proofs import report

PASSING = [errno.EIO, errno.ENOSPC, errno.EMFILE, errno.EACCES, errno.ESTALE]


@pytest.fixture
def ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with site(tmp_path, monkeypatch, ("sr",)) as made:
        made.due(1)
        yield made


def events(ours: Site) -> list[dict[str, Any]]:
    return list(overview.show(ours.engine, STUDY)["events"])


def raising(error: Exception):
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


def stored(ours: Site) -> None:
    """The destination has taken everything; the proof is due."""
    ended = delivery.judge([], 1)
    deliveries.record(ours.engine, ours.jobs, KEY, "pacs", 1, ended)


@pytest.mark.parametrize("number", PASSING, ids=errno.errorcode.get)
def test_a_fault_of_the_system_is_tried_again(
    ours: Site, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    fault = OSError(number, os.strerror(number), "/results/sr.dcm")
    monkeypatch.setattr(delivery, "send", raising(fault))
    assert ours.step() is DeliveryState.RETRYING
    row = ours.row()
    assert "a kept object cannot be read" in row["text"]
    assert os.strerror(number) in row["text"]
    assert row["next_at"] == ours.clock.now + delivery.pause_s(1)
    monkeypatch.setattr(proof, "attempt", raising(fault))
    with monkeypatch.context() as healed:
        healed.setattr(delivery, "send", lambda *_, **__: [])
        assert ours.step() is DeliveryState.AWAITING
    assert ours.step() is DeliveryState.AWAITING, "it is stored, whatever is read afterwards"
    assert ours.row()["next_at"] > ours.clock.now


def second_revision(ours: Site) -> str:
    """Another report of the series is due at the same destination."""
    with writing(ours.engine) as connection:
        key = revisions.reopen(connection, ours.jobs, "1.2.3", "asked for")
        deliveries.open_deliveries(connection, ours.jobs, key, ["pacs"])
    return key


def attempt(ours: Site, key: str) -> DeliveryRow:
    """Make the attempt of a revision that is due; return what stands then."""
    deliverer = Deliverer(ours.engine, ours.jobs, "ICH_NODE", ours.destinations)
    make_attempt(deliverer, key, "pacs", found(ours, key).attempt)
    return found(ours, key)


def found(ours: Site, key: str) -> DeliveryRow:
    row = deliveries.find(ours.engine, key, "pacs")
    assert row is not None
    return row


def test_a_later_revision_waits_for_an_earlier_one_that_is_still_to_be_sent(
    ours: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an outage no superseded report comes after the one that takes its place."""
    monkeypatch.setattr(delivery, "send", raising(OSError(errno.EIO, "Input/output error")))
    assert attempt(ours, KEY).state is DeliveryState.RETRYING
    monkeypatch.setattr(delivery, "send", lambda *_, **__: [])
    later = second_revision(ours)
    assert attempt(ours, later).state is DeliveryState.RETRYING
    [said] = [e["text"] for e in events(ours) if "goes first" in e["text"]]
    assert said == "pacs: revision 1 of the series goes first; next attempt in 5 s"
    assert attempt(ours, KEY).state is DeliveryState.AWAITING
    assert attempt(ours, later).state is DeliveryState.AWAITING


@pytest.mark.parametrize("ends", ["refused", "never"])
def test_a_later_revision_does_not_wait_for_ever(
    ours: Site, monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    later = second_revision(ours)
    monkeypatch.setattr(delivery, "_LETS_FIRST", 2)
    if ends == "refused":
        monkeypatch.setattr(delivery, "send", raising(CheckFailed("altered")))
        assert attempt(ours, KEY).state is DeliveryState.FAILED
    else:
        assert [attempt(ours, later).state for _ in range(2)] == [DeliveryState.RETRYING] * 2
    monkeypatch.setattr(delivery, "send", lambda *_, **__: [])
    assert attempt(ours, later).state is DeliveryState.AWAITING


@pytest.mark.parametrize(
    "error",
    [FileNotFoundError(2, "gone"), CheckFailed("altered"), InvalidDicomError(), ValueError()],
    ids=lambda error: type(error).__name__,
)
def test_an_object_that_is_gone_or_damaged_stops_the_delivery(
    ours: Site, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(delivery, "send", raising(error))
    assert ours.step() is DeliveryState.FAILED
    assert "a kept object cannot be read" in ours.row()["text"]


def test_a_fault_that_stays_is_given_up_after_days(
    ours: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "_MAX_ATTEMPTS", 3)
    monkeypatch.setattr(delivery, "send", raising(OSError(errno.EIO, "Input/output error")))
    seen = [ours.step() for _ in range(3)]
    assert seen == [DeliveryState.RETRYING, DeliveryState.RETRYING, DeliveryState.FAILED]


@pytest.mark.parametrize(
    "event", [DeliveryEvent.UNPROVABLE, DeliveryEvent.REFUSED, DeliveryEvent.LOST]
)
@pytest.mark.parametrize("comes", [True, False])
def test_a_report_that_comes_before_the_end_is_kept_is_read_first(
    ours: Site, event: DeliveryEvent, comes: bool
) -> None:
    """Between the last look at the reports and the transaction that closes them."""
    stored(ours)
    uid = proofs.begin(ours.engine, KEY, "pacs")
    attempt = ours.row()["attempt"]
    if comes:
        assert proofs.take(ours.engine, 1, report(uid, [ours.uid("sr")])) == 0x0000
    pause = 0.0 if event is DeliveryEvent.LOST else None
    ended = Ended(event, "no proof came", next_in_s=pause, blind=True)
    state = deliveries.record(ours.engine, ours.jobs, KEY, "pacs", attempt, ended)
    unread = [asked.uid for asked in proofs.of_delivery(ours.engine, KEY, "pacs")]
    if comes:
        assert (state, unread) == (DeliveryState.AWAITING, [uid])
        assert (ours.row()["attempt"], ours.row()["next_at"]) == (attempt + 1, ours.clock.now)
    else:
        assert state is not DeliveryState.AWAITING
        assert unread == []
