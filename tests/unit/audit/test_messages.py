"""Audit messages: each fits the schema of PS3.15 A.5.1 and says what A.5.3 asks of its kind."""

import base64
import xml.etree.ElementTree as ET
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom.filereader import read_dataset

from ich_node.audit import vocabulary as v
from ich_node.audit.message import (
    EXECUTE,
    MINOR_FAILURE,
    Happened,
    Participant,
    build,
    node,
    patient,
)
from ich_node.audit.messages import _KINDS, Reporter, messages
from ich_node.store.trail import Entry

SCHEMA = Path(__file__).parents[2] / "support" / "audit-message.rng"
BY = Reporter("ICH_NODE", "node-1", "file:///var/lib/ich-node", with_patient_id=True)
SENDER = {"association": "a1", "calling_ae": "PACS", "address": "10.1.2.3", "source": "pacs"}
PEER = {"destination": "pacs", "ae_title": "PACS", "host": "pacs.example", "port": 104}
CT = "1.2.840.10008.5.1.4.1.1.2"
SEG = "1.2.840.10008.5.1.4.1.1.66.4"
TAKEN = {"kind": "seg", "sop_class_uid": SEG, "uid": "1.9", "status": 0, "stored": True}
REFUSED = {**TAKEN, "uid": "1.8", "status": 0xA900, "stored": False}
MODEL = {"name": "m", "version": "1", "sha256": "ab", "device": "cpu", "precision": "fp32"}
# Of each kind that is a message: its facts, and EventID, EventTypeCode, action and outcome.
SAMPLES: list[tuple[str, dict[str, Any], list[tuple[str, str, str, str]]]] = [
    ("started", {"user": "root"}, [("110100", "110120", "E", "0")]),
    (
        "started",
        {"user": "root", "configuration_changed": True},
        [("110100", "110120", "E", "0"), ("110113", "110131", "E", "0")],
    ),
    ("stopped", {"user": "root"}, [("110100", "110121", "E", "0")]),
    ("asked", {"user": "anna", "command": "retry"}, [("110103", "", "U", "0")]),
    ("asked", {"user": "anna", "command": "resend"}, [("110103", "", "R", "0")]),
    ("trail_read", {"user": "anna"}, [("110101", "", "R", "0")]),
    ("database_rebuilt", {}, [("110113", "110134", "E", "8")]),
    ("trail_pruned", {"entries": 7, "days": 30}, [("110113", "110132", "E", "0")]),
    (
        "association_rejected",
        {"address": "10.9.9.9", "calling_ae": "X", "called_ae": "ICH_NODE", "cause": "no"},
        [("110113", "110126", "E", "4")],
    ),
    (
        "association_rejected",
        {"address": "", "calling_ae": "", "called_ae": "", "cause": "too many"},
        [("110113", "110126", "E", "4")],
    ),
    ("transfer_begun", SENDER, [("110102", "", "E", "0")]),
    ("transferred", {**SENDER, "classes": {CT: 32}}, [("110104", "", "C", "0")]),
    ("inferred", {"model": MODEL}, [("110103", "", "R", "0")]),
    (
        "reported",
        {"objects": [{"kind": "sr", "uid": "1.9", "sha256": "cd"}]},
        [("110103", "", "C", "0")],
    ),
    ("reported", {"objects": []}, []),
    ("delivery_begun", {**PEER, "objects": [TAKEN, REFUSED]}, [("110102", "", "E", "0")]),
    ("delivery_stored", {**PEER, "objects": [TAKEN]}, [("110104", "", "R", "0")]),
    (
        "delivery_refused",
        {**PEER, "objects": [TAKEN, REFUSED]},
        [("110104", "", "R", "0"), ("110104", "", "R", "4")],
    ),
    (
        "delivery_postponed",
        {**PEER, "objects": [{**REFUSED, "status": None}]},
        [("110104", "", "R", "4")],
    ),
    *[
        (kind, {**PEER, "objects": [], "queried": ["1.5", "1.6"]}, [("110112", "", "E", "0")] * 2)
        for kind in (
            "delivery_asked",
            "delivery_confirmed",
            "delivery_lost",
            "delivery_unprovable",
            "delivery_refused",
        )
    ],
    ("delivery_confirmed", {**PEER, "objects": [], "queried": []}, []),
    ("delivery_confirmed", {**PEER, "objects": [], "proof": "C-FIND"}, [("110112", "", "E", "0")]),
    ("queried", PEER, [("110112", "", "E", "0")]),
    ("originals_deleted", {}, [("110105", "", "D", "0")]),
    ("results_deleted", {}, [("110103", "", "D", "0")]),
    ("apart_deleted", {"kind": "conflict"}, [("110103", "", "D", "0")]),
    ("assembled", {"slices": 32}, []),
]


def entry(kind: str, data: dict[str, Any], **values: Any) -> Entry:
    made = Entry(7, 1_770_000_000.25, kind, "1.2", "1.2.3", "said & <done>", data, "P-1")
    return replace(made, **values)


def root(text: str) -> ET.Element:
    return ET.fromstring(text)  # noqa: S314  what we wrote ourselves


def parts(text: str, tag: str) -> list[ET.Element]:
    return root(text).findall(tag)


def things(text: str) -> dict[str, ET.Element]:
    """What a message is about, by the code that tells the kind of its identifier."""
    found = parts(text, "ParticipantObjectIdentification")
    return {one.find("ParticipantObjectIDTypeCode").attrib["csd-code"]: one for one in found}


def details(thing: ET.Element) -> dict[str, str]:
    found = thing.findall("ParticipantObjectDetail")
    return {one.attrib["type"]: base64.b64decode(one.attrib["value"]).decode() for one in found}


def test_the_samples_are_every_kind() -> None:
    assert set(_KINDS) <= {kind for kind, _data, _expected in SAMPLES}


@pytest.mark.parametrize(("kind", "data", "expected"), SAMPLES)
def test_each_kind_is_the_event_that_the_standard_has_for_it(
    kind: str, data: dict[str, Any], expected: list[tuple[str, str, str, str]]
) -> None:
    found = []
    for text in messages(entry(kind, data), BY):
        [event] = parts(text, "EventIdentification")
        kinds = [one.attrib["csd-code"] for one in event.findall("EventTypeCode")]
        found.append(
            (
                event.find("EventID").attrib["csd-code"],
                "".join(kinds),
                event.attrib["EventActionCode"],
                event.attrib["EventOutcomeIndicator"],
            )
        )
        assert event.attrib["EventDateTime"] == "2026-02-02T02:40:00.250Z"
    assert found == expected


@pytest.mark.parametrize("changes", [{}, {"patient_id": None}, {"text": "\x00\x1b[0m\ud800 &<"}])
def test_every_message_fits_the_schema(changes: dict[str, Any]) -> None:
    etree = pytest.importorskip("lxml.etree", reason="lxml is missing: pip install '.[dev]'")
    schema = etree.RelaxNG(etree.parse(SCHEMA))
    for kind, data, _expected in SAMPLES:
        for text in messages(entry(kind, data, **changes), BY):
            assert "\n" not in text
            schema.assertValid(etree.fromstring(text.encode()))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("EventDateTime", "EventTime"),
        ('EventActionCode="C"', 'EventActionCode="X"'),
        ("<ParticipantObjectName>withheld</ParticipantObjectName>", ""),
        ('UserIsRequestor="true"', 'UserIsRequestor="perhaps"'),
        (' NumberOfInstances="32"', ""),
    ],
)
def test_the_schema_refuses_what_does_not_fit(old: str, new: str) -> None:
    etree = pytest.importorskip("lxml.etree", reason="lxml is missing: pip install '.[dev]'")
    schema = etree.RelaxNG(etree.parse(SCHEMA))
    [text] = messages(entry("transferred", {**SENDER, "classes": {CT: 32}}), BY)
    assert schema.validate(etree.fromstring(text))
    assert old in text
    assert not schema.validate(etree.fromstring(text.replace(old, new)))


def test_what_came_names_source_destination_study_patient_and_numbers() -> None:
    [text] = messages(entry("transferred", {**SENDER, "classes": {CT: 32}}), BY)
    source, destination = parts(text, "ActiveParticipant")
    assert source.find("RoleIDCode").attrib["csd-code"] == "110153"
    assert source.attrib["UserID"] == "PACS"
    assert source.attrib["NetworkAccessPointID"] == "10.1.2.3"
    assert source.attrib["NetworkAccessPointTypeCode"] == "2"
    assert destination.find("RoleIDCode").attrib["csd-code"] == "110152"
    assert destination.attrib["AlternativeUserID"] == "AETITLES=ICH_NODE"
    assert destination.attrib["NetworkAccessPointTypeCode"] == "1"
    about = things(text)
    assert about["110180"].attrib["ParticipantObjectID"] == "1.2"
    counted = about["110180"].find("ParticipantObjectDescription/SOPClass").attrib
    assert counted == {"UID": CT, "NumberOfInstances": "32"}
    assert about["2"].attrib["ParticipantObjectID"] == "P-1"


def test_what_begins_to_leave_is_told_as_what_left_is_so_that_the_two_can_be_compared() -> None:
    """PS3.15 A.5.3.3: the same source, destination and study, and how many of each SOP class."""
    [begun] = messages(entry("delivery_begun", {**PEER, "objects": [TAKEN]}), BY)
    [left] = messages(entry("delivery_stored", {**PEER, "objects": [TAKEN]}), BY)
    who = [[one.attrib for one in parts(text, "ActiveParticipant")] for text in (begun, left)]
    assert who[0] == who[1]
    assert [one["UserID"] for one in who[0]] == ["ICH_NODE", "PACS"]
    assert [one["UserIsRequestor"] for one in who[0]] == ["true", "false"]
    for text in (begun, left):
        counted = things(text)["110180"].find("ParticipantObjectDescription/SOPClass").attrib
        assert counted == {"UID": SEG, "NumberOfInstances": "1"}


def test_what_left_tells_the_status_of_each_object_and_why_one_did_not_arrive() -> None:
    taken, refused = messages(entry("delivery_refused", {**PEER, "objects": [TAKEN, REFUSED]}), BY)
    assert details(things(taken)["110180"]) == {"1.9": "0000H"}
    assert details(things(refused)["110180"]) == {"1.8": "A900H"}
    [event] = parts(refused, "EventIdentification")
    assert event.find("EventOutcomeDescription").text == "said & <done>"


@pytest.mark.parametrize(
    ("kind", "level", "series"),
    [("queried", "SERIES", "1.2.3"), ("delivery_asked", "IMAGE", "1.5")],
)
def test_a_query_is_told_as_the_data_set_that_asks_it(kind: str, level: str, series: str) -> None:
    """PS3.15 A.5.3.10: with the UID of its transfer syntax."""
    [text] = messages(entry(kind, {**PEER, "objects": [], "queried": ["1.5"]}), BY)
    asked = things(text)["110181"]
    keys = base64.b64decode(asked.find("ParticipantObjectQuery").text)
    found = read_dataset(BytesIO(keys), is_implicit_VR=True, is_little_endian=True)
    assert details(asked) == {"TransferSyntax": "1.2.840.10008.1.2"}
    assert (found.QueryRetrieveLevel, found.StudyInstanceUID) == (level, "1.2")
    assert found.SeriesInstanceUID == series


def test_the_model_is_named_with_its_hash() -> None:
    [text] = messages(entry("inferred", {"model": MODEL}), BY)
    told = details(things(text)["110180"])
    assert (told["Model name"], told["Model sha256"]) == ("m", "ab")


def test_the_patient_is_named_by_number_only_where_the_site_wants_it_and_never_by_name() -> None:
    silent = replace(BY, with_patient_id=False)
    for kind, data, _expected in SAMPLES:
        for text in messages(entry(kind, data), silent):
            assert "P-1" not in text
        for text in messages(entry(kind, data), BY):
            names = [one.text for one in root(text).iter("ParticipantObjectName")]
            assert set(names) <= {"withheld", "Security Audit Log"}


def test_a_message_of_many_objects_is_no_longer_than_every_server_takes() -> None:
    """32,768 octets (PS3.15 A.6); captures of a study may be hundreds. Their number is told."""
    uids = [f"2.25.{10**38 + number}" for number in range(600)]
    many = [{**TAKEN, "uid": uid, "sha256": "0" * 64} for uid in uids]
    for kind in ("reported", "delivery_stored"):
        [text] = messages(entry(kind, {**PEER, "objects": many}), BY)
        assert len(text.encode()) < 32_000
        told = details(things(text)["110180"])
        assert told["More"] == "550 objects more are in the trail"


def test_no_value_makes_a_message_longer_than_a_server_takes() -> None:
    """A trail may hold what came before values were cut."""
    long = "X" * (1 << 20)
    at = node(long, long)
    happened = Happened(v.SECURITY_ALERT, EXECUTE, 0.0, outcome=MINOR_FAILURE, text=long)
    [told] = [build(happened, [Participant(long, address=long)], long, [at, patient(long)])]
    assert len(told) < 10_000
    assert f'"{"X" * 64}"' in told
