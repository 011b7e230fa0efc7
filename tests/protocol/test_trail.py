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


def test_a_refusal_is_told_with_its_status(ours: Site) -> None:
    with pacs([Comprehensive3DSRStorage], answer=lambda _event: 0xA900) as there:
        ours.due(there.port, outputs=("sr",))
        assert ours.step() is DeliveryState.FAILED
    [item] = told(ours, "delivery_refused")["objects"]
    assert (item["status"], item["stored"]) == (0xA900, False)
