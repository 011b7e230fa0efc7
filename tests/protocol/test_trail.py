"""The audit trail of a delivery: what was sent where, with which status, and what proved it."""

from pydicom.uid import Comprehensive3DSRStorage

from ich_node.states import DeliveryState
from ich_node.store import trail
from tests.support.archive import archive
from tests.support.delivering import STUDY, Site
from tests.support.peers import pacs


def told(ours: Site, kind: str) -> dict:
    [entry] = [entry for entry in trail.entries(ours.engine) if entry.kind == kind]
    assert entry.study_instance_uid == STUDY
    return entry.data


def test_it_names_the_peer_each_object_its_status_and_the_proof(ours: Site) -> None:
    with archive(finds=True) as there:
        ours.due(there.port)
        ours.until(DeliveryState.CONFIRMED)
    sent = told(ours, "delivery_stored")
    assert (sent["destination"], sent["ae_title"], sent["host"], sent["port"], sent["tls"]) == (
        "pacs",
        "PACS",
        "localhost",
        there.port,
        False,
    )
    assert [(item["kind"], item["uid"], item["status"]) for item in sent["objects"]] == [
        ("seg", ours.uid("seg"), 0x0000),
        ("sr", ours.uid("sr"), 0x0000),
    ]
    assert told(ours, "delivery_confirmed")["proof"] == "C-FIND"


def test_what_goes_is_told_before_the_first_of_it_goes(ours: Site) -> None:
    """And again with each attempt that finds the destination: what it then took is told after."""
    answers, kinds = [0xA700, 0x0000], []

    def answer(_event: object) -> int:
        kinds.append([entry.kind for entry in trail.entries(ours.engine)][-1])
        return answers.pop(0)

    with pacs([Comprehensive3DSRStorage], answer=answer) as there:
        ours.due(there.port, outputs=("sr",))
        assert ours.step() is DeliveryState.RETRYING
        assert ours.step() is DeliveryState.AWAITING
    assert kinds == ["delivery_begun"] * 2
    begun = [e for e in trail.entries(ours.engine) if e.kind == "delivery_begun"]
    assert [(e.study_instance_uid, e.data["ae_title"], e.data["port"]) for e in begun] == [
        (STUDY, "PACS", there.port)
    ] * 2
    assert [item["uid"] for item in begun[0].data["objects"]] == [ours.uid("sr")]


def test_to_a_destination_that_is_away_nothing_begins_to_go(ours: Site) -> None:
    ours.due(1, outputs=("sr",))
    assert ours.step() is DeliveryState.RETRYING
    assert "delivery_begun" not in [entry.kind for entry in trail.entries(ours.engine)]


def test_each_c_find_for_proof_is_told_also_one_that_proves_nothing(ours: Site) -> None:
    with archive(finds=True, hidden=True) as there:
        ours.due(there.port, outputs=("sr",))
        assert ours.step() is DeliveryState.AWAITING
        assert ours.step() is DeliveryState.AWAITING
    assert told(ours, "delivery_asked")["queried"] == ["1.2.3"]
    assert told(ours, "delivery_stored")["queried"] == []


def test_a_refusal_is_told_with_its_status(ours: Site) -> None:
    with pacs([Comprehensive3DSRStorage], answer=lambda _event: 0xA900) as there:
        ours.due(there.port, outputs=("sr",))
        assert ours.step() is DeliveryState.FAILED
    [item] = told(ours, "delivery_refused")["objects"]
    assert (item["status"], item["stored"]) == (0xA900, False)
