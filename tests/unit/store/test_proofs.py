"""What is reported of the storage commitments that we asked for, taken by Transaction UID."""

from collections.abc import Sequence

import pytest
from pydicom import Dataset

from ich_node.store import overview, proofs, revisions
from ich_node.store.engine import Engine, writing
from ich_node.store.jobs import Jobs
from tests.unit.store.conftest import FIRST

KEY = "1.2.3:1"


@pytest.fixture
def uid(engine: Engine, jobs: Jobs) -> str:
    """A transaction of the one revision that there is."""
    from ich_node.store import instances

    instances.add(engine, FIRST, priority=5, quiet_seconds=1.0)
    [found] = revisions.receiving(engine)
    assert revisions.open_revision(engine, jobs, found, "quiet") == KEY
    return proofs.begin(engine, KEY, "pacs")


def report(uid: str, stored: Sequence[str] = (), failed: Sequence[str] = ()) -> Dataset:
    told = Dataset()
    told.TransactionUID = uid
    told.ReferencedSOPSequence = [_item(one) for one in stored]
    told.FailedSOPSequence = [_item(one, 0x0112) for one in failed]
    return told


def _item(uid: str, reason: int | None = None) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = "1.2.840", uid
    if reason is not None:
        item.FailureReason = reason
    return item


def test_a_report_is_kept_with_its_failures_and_told(engine: Engine, uid: str) -> None:
    assert proofs.take(engine, 2, report(uid, ["1.1"], ["1.2"])) == 0x0000
    [asked] = proofs.of_delivery(engine, KEY, "pacs")
    assert (asked.answered, asked.stored, asked.failed) == (True, {"1.1"}, {"1.2": 0x0112})
    last = overview.show(engine, "1.2")["events"][-1]
    assert last["kind"] == "commitment_reported"
    assert last["text"] == "pacs: holds 1 objects, not 1 (0112H)"


def test_what_stands_in_both_lists_has_failed(engine: Engine, uid: str) -> None:
    proofs.take(engine, 2, report(uid, ["1.1"], ["1.1"]))
    [asked] = proofs.of_delivery(engine, KEY, "pacs")
    assert asked.stored == frozenset()


def test_the_first_report_counts_and_a_repeated_one_is_a_success(engine: Engine, uid: str) -> None:
    assert proofs.take(engine, 1, report(uid, ["1.1"])) == 0x0000
    assert proofs.take(engine, 2, report(uid, [], ["1.1"])) == 0x0000
    [asked] = proofs.of_delivery(engine, KEY, "pacs")
    assert asked.stored == {"1.1"}


def test_a_transaction_that_we_did_not_ask_for_is_an_invalid_argument(
    engine: Engine, uid: str
) -> None:
    """PS3.7 annex C: 0115H; and 0113H for an event that the service does not have."""
    before = len(overview.show(engine, "1.2")["events"])
    assert proofs.take(engine, 1, report(f"{uid}1", ["1.1"])) == 0x0115
    assert proofs.take(engine, 1, Dataset()) == 0x0115
    assert proofs.take(engine, 3, report(uid, ["1.1"])) == 0x0113
    listless = report(uid)
    listless.ReferencedSOPSequence = [Dataset()]
    assert proofs.take(engine, 1, listless) == 0x0115
    assert len(overview.show(engine, "1.2")["events"]) == before


def test_a_report_for_what_counts_no_more_is_a_success_and_changes_nothing(
    engine: Engine, uid: str
) -> None:
    with writing(engine) as connection:
        proofs.close(connection, KEY, "pacs")
    assert proofs.take(engine, 1, report(uid, ["1.1"])) == 0x0000
    assert proofs.of_delivery(engine, KEY, "pacs") == []
    assert proofs.answered(engine) == []


def test_spending_a_report_leaves_the_others_answered_or_not(engine: Engine, uid: str) -> None:
    second, third = (proofs.begin(engine, KEY, "pacs") for _ in range(2))
    for answered in (uid, second):
        proofs.take(engine, 2, report(answered, [], ["1.1"]))
    with writing(engine) as connection:
        proofs.spend(connection, [uid])
    left = proofs.of_delivery(engine, KEY, "pacs")
    assert {asked.uid: asked.answered for asked in left} == {second: True, third: False}
