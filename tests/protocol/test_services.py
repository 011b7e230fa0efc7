"""Storage commitment, instance availability and performed procedure steps, asked for by a peer."""

import queue
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from pydicom import Dataset
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MRImageStorage,
)
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import (
    InstanceAvailabilityNotification,
    ModalityPerformedProcedureStep,
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
)

from deploy.demo.running import wait_for
from ich_node.pipeline import commitment as commitment_stage
from ich_node.pipeline.commitment import report_owed
from ich_node.records import Expected
from ich_node.states import AnnouncementState
from ich_node.store import announcements, commitments
from ich_node.store.tables import announced, announcement
from tests.support.lists import commitment, notice, reference, step
from tests.support.peers import Listening, destination, incoming, sent, small_object

UIDS = [f"1.2.3.{number}" for number in range(1, 4)]


@contextmanager
def peer(
    node: Listening, sop_class: str, syntax: str = ImplicitVRLittleEndian
) -> Iterator[tuple[Association, "queue.Queue[Any]"]]:
    """An association for one service, and the reports that come in it."""
    reports: queue.Queue[Any] = queue.Queue()

    def on_report(event: Any) -> tuple[int, None]:
        reports.put((event.event_type, event.event_information))
        return 0x0000, None

    entity = AE(ae_title="SENDER")
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 10
    entity.add_requested_context(sop_class, [syntax])
    association = entity.associate(
        "127.0.0.1",
        node.receiver.port,
        ae_title="ICH_NODE",
        evt_handlers=[(evt.EVT_N_EVENT_REPORT, on_report)],
    )
    assert association.is_established
    try:
        yield association, reports
    finally:
        if association.is_established:
            association.release()


def ask(association: Association, request: Dataset, action: int = 1) -> int:
    status, _reply = association.send_n_action(
        request, action, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
    )
    return int(status.Status)


def stored(node: Listening, numbers: range = range(1, 4)) -> None:
    for number in numbers:
        assert sent(node.receiver.port, incoming(small_object(number))).Status == 0


def state(node: Listening, uid: str = "9.1") -> str:
    [row] = [row for row in node.rows(announcement) if row["uid"] == uid]
    return str(row["state"])


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian]
)
def test_a_commitment_is_answered_in_the_same_association(node: Listening, syntax: str) -> None:
    stored(node)
    with peer(node, StorageCommitmentPushModel, syntax) as (association, reports):
        assert ask(association, commitment(*map(reference, UIDS))) == 0x0000
        event_type, information = reports.get(timeout=10)
        wait_for(lambda: state(node) == "reported", 10, "confirmed report")
    assert event_type == 1
    assert information.TransactionUID == "9.1"
    assert [item.ReferencedSOPInstanceUID for item in information.ReferencedSOPSequence] == UIDS
    assert "FailedSOPSequence" not in information
    assert announcements.expected(node.engine, "1.2.3") == Expected(
        ("storage commitment",), 3, 0, 0
    )


def test_what_is_not_stored_fails_with_its_reason(node: Listening) -> None:
    """PS3.3 C.14.1.1: 0112H no such object instance, 0119H class-instance conflict."""
    stored(node, range(1, 3))
    items = [reference(UIDS[0]), reference(UIDS[1], MRImageStorage), reference(UIDS[2])]
    with peer(node, StorageCommitmentPushModel) as (association, reports):
        assert ask(association, commitment(*items)) == 0x0000
        event_type, information = reports.get(timeout=10)
    failed = {
        item.ReferencedSOPInstanceUID: item.FailureReason for item in information.FailedSOPSequence
    }
    assert event_type == 2
    assert failed == {UIDS[1]: 0x0119, UIDS[2]: 0x0112}
    assert [item.ReferencedSOPInstanceUID for item in information.ReferencedSOPSequence] == UIDS[:1]


def test_several_commitments_in_one_association_each_have_their_answer(node: Listening) -> None:
    stored(node)
    with peer(node, StorageCommitmentPushModel) as (association, reports):
        for number, uid in enumerate(UIDS):
            assert ask(association, commitment(reference(uid), transaction=f"9.{number}")) == 0
        told = [reports.get(timeout=10)[1].TransactionUID for _ in UIDS]
    assert told == ["9.0", "9.1", "9.2"]


@pytest.mark.parametrize(
    ("request_", "action", "status"),
    [
        (commitment(reference("1.2.3.1")), 2, 0x0123),
        (commitment(), 1, 0x0120),
        (commitment(reference("1.2.3.1"), transaction=""), 1, 0x0120),
        (commitment(reference("")), 1, 0x0120),
    ],
    ids=["other action", "empty list", "no transaction", "no instance"],
)
def test_a_wrong_request_is_refused_with_its_status(
    node: Listening, request_: Dataset, action: int, status: int
) -> None:
    with peer(node, StorageCommitmentPushModel) as (association, reports):
        assert ask(association, request_, action) == status
        assert association.is_established
    assert reports.empty()
    assert node.rows(announcement) == []
    assert node.still_stores()


def test_a_transaction_that_is_known_is_refused(node: Listening) -> None:
    with peer(node, StorageCommitmentPushModel) as (association, reports):
        assert ask(association, commitment(reference("1.2.3.1"))) == 0x0000
        reports.get(timeout=10)
        assert ask(association, commitment(reference("1.2.3.2"))) == 0x0131
    assert len(node.rows(announced)) == 1


def test_an_instance_availability_notification_is_kept(node: Listening) -> None:
    stored(node)
    with peer(node, InstanceAvailabilityNotification) as (association, _reports):
        for status in (0x0000, 0x0111):
            answer, _ = association.send_n_create(
                notice([*UIDS, "1.2.3.4"]), InstanceAvailabilityNotification, "8.1"
            )
            assert answer.Status == status
    found = announcements.expected(node.engine, "1.2.3")
    assert found == Expected(("instance availability notification",), 4, 1, 0)


def test_a_performed_procedure_step_lists_its_images_when_it_is_completed(
    node: Listening,
) -> None:
    stored(node)
    model = ModalityPerformedProcedureStep
    with peer(node, model) as (association, _reports):
        begun, _ = association.send_n_create(step("IN PROGRESS", []), model, "7.1")
        assert announcements.expected(node.engine, "1.2.3") is None
        again, _ = association.send_n_create(step("IN PROGRESS", []), model, "7.1")
        ended, _ = association.send_n_set(step("COMPLETED", UIDS), model, "7.1")
        changed, _ = association.send_n_set(step("IN PROGRESS", UIDS[:1]), model, "7.1")
        unknown, _ = association.send_n_set(step("COMPLETED", UIDS), model, "7.2")
        wrong, _ = association.send_n_set(step("DONE", UIDS), model, "7.1")
    found = [answer.Status for answer in (begun, again, ended, changed, unknown, wrong)]
    assert found == [0x0000, 0x0111, 0x0000, 0x0110, 0x0112, 0x0106]
    assert announcements.expected(node.engine, "1.2.3") == Expected(("MPPS",), 3, 0, 0)


@contextmanager
def modality(reports: "queue.Queue[Any]", *statuses: int) -> Iterator[int]:
    """A peer that waits for reports in associations of ours; it is the SCU of the service.

    It answers the first of them with these statuses.
    """
    answers = list(statuses)
    entity = AE(ae_title="PACS")
    entity.add_supported_context(StorageCommitmentPushModel, scu_role=False, scp_role=True)

    def on_report(event: Any) -> tuple[int, None]:
        reports.put((event.event_type, event.event_information))
        return answers.pop(0) if answers else 0x0000, None

    server = entity.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, on_report)]
    )
    try:
        yield server.server_address[1]
    finally:
        entity.shutdown()


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be reported is due again at once."""
    monkeypatch.setattr(commitment_stage, "pause_s", lambda _tries: 0.0)


@pytest.mark.usefixtures("no_pauses")
def test_a_report_that_was_not_taken_comes_in_an_association_of_ours(node: Listening) -> None:
    """The peer is found among the destinations by its AE title."""
    stored(node)
    with peer(node, StorageCommitmentPushModel) as (association, _reports):
        association.bind(evt.EVT_N_EVENT_REPORT, lambda _event: time.sleep(1) or (0x0000, None))
        assert ask(association, commitment(*map(reference, UIDS))) == 0x0000
        association.abort()
    wait_for(lambda: state(node) == "owed", 10, "owed report")
    reports: queue.Queue[Any] = queue.Queue()
    with modality(reports) as port:
        away = destination(1).model_copy(update={"ae_title": "SENDER"})
        there = destination(port).model_copy(update={"ae_title": "SENDER"})
        assert report_owed(node.engine, "ICH_NODE", [destination(port)]) == []
        assert report_owed(node.engine, "ICH_NODE", [away]) == []
        assert report_owed(node.engine, "ICH_NODE", [there]) == ["9.1"]
        assert report_owed(node.engine, "ICH_NODE", [there]) == []
    event_type, information = reports.get(timeout=10)
    assert (event_type, information.TransactionUID) == (1, "9.1")
    assert commitments.owed(node.engine) == []


@pytest.mark.usefixtures("no_pauses")
@pytest.mark.parametrize(
    ("status", "then"), [(0x0110, "owed"), (0x0213, "owed"), (0x0115, "declined")]
)
def test_a_report_that_fails_stays_owed_unless_it_will_never_be_taken(
    node: Listening, status: int, then: str
) -> None:
    """In the association of the request, and in one of ours."""
    stored(node)
    with peer(node, StorageCommitmentPushModel) as (association, _reports):
        association.bind(evt.EVT_N_EVENT_REPORT, lambda _event: (status, None))
        assert ask(association, commitment(*map(reference, UIDS))) == 0x0000
        wait_for(lambda: state(node) == then, 10, f"{then} report")
    commitments.settle(node.engine, ["9.1"], AnnouncementState.OWED)
    reports: queue.Queue[Any] = queue.Queue()
    with modality(reports, status) as port:
        there = destination(port).model_copy(update={"ae_title": "SENDER"})
        assert report_owed(node.engine, "ICH_NODE", [there]) == []
        assert state(node) == then
        again = report_owed(node.engine, "ICH_NODE", [there])
    assert again == (["9.1"] if then == "owed" else [])
    assert state(node) == ("reported" if then == "owed" else "declined")


def test_a_request_that_the_database_cannot_take_is_no_success(
    node: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError

    monkeypatch.setattr(announcements, "keep", fail)
    with peer(node, StorageCommitmentPushModel) as (association, reports):
        assert ask(association, commitment(reference("1.2.3.1"))) == 0x0110
    with suppress(queue.Empty):
        raise AssertionError(reports.get_nowait())
