"""The parts of an audit message, as the schema of PS3.15 A.5.1 wants them, and their XML."""

from __future__ import annotations

import base64
import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from ich_node.audit import vocabulary
from ich_node.audit.vocabulary import Code

# Event Action Codes and Event Outcome Indicators (PS3.15 A.5.1).
CREATE, READ, UPDATE, DELETE, EXECUTE = "C", "R", "U", "D", "E"
SUCCESS, MINOR_FAILURE, SERIOUS_FAILURE = "0", "4", "8"
# Stands where the schema wants a name and this node gives none.
WITHHELD = "withheld"

_MACHINE_NAME, _IP_ADDRESS = "1", "2"
_PERSON, _SYSTEM = "1", "2"
_PATIENT, _REPORT, _SECURITY = "1", "3", "13"
_APPLICATION_SERVER = "4"
# What XML 1.0 cannot hold: an AE title comes from whoever calls.
_NOT_XML = re.compile(r"[^\t\n\r\x20-\uD7FF\uE000-\uFFFD\U00010000-\U0010FFFF]")
# Of any text, so that a message stays within what every server takes (PS3.15 A.6); of a Patient ID
# what its VR allows, which is LO.
_MOST_CHARACTERS, _MOST_OF_A_NUMBER = 1024, 64


@dataclass(frozen=True)
class Participant:
    """Who takes part: AE title or user, its address where it has one, its role."""

    user_id: str
    role: Code | None = None
    requestor: bool = False
    address: str = ""
    alternative: str = ""


@dataclass(frozen=True)
class Thing:
    """What it is about; ``details`` are facts, ``classes`` instances of each SOP Class UID."""

    id: str
    id_type: Code
    type: str = _SYSTEM
    role: str = _REPORT
    name: str = WITHHELD
    query: bytes | None = None
    details: Mapping[str, str] = field(default_factory=dict)
    classes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Happened:
    """What happened; ``at`` is epoch, s; ``text`` says why it did not succeed."""

    id: Code
    action: str
    at: float
    type: Code | None = None
    outcome: str = SUCCESS
    text: str = ""


def study(
    uid: str, classes: Mapping[str, int] | None = None, details: Mapping[str, str] | None = None
) -> Thing:
    """Return a study, with how many instances of each SOP class are meant, and with facts."""
    return Thing(uid, vocabulary.STUDY_UID, details=details or {}, classes=classes or {})


def patient(number: str) -> Thing:
    """Return a patient by Patient ID (0010,0020); never by name."""
    return Thing(number[:_MOST_OF_A_NUMBER], vocabulary.PATIENT_NUMBER, type=_PERSON, role=_PATIENT)


def log(uri: str) -> Thing:
    """Return the audit trail itself."""
    return Thing(uri, vocabulary.URI, role=_SECURITY, name="Security Audit Log")


def node(name: str, text: str) -> Thing:
    """Return a node of the network that gave an alert, and what the alert says."""
    details = {"Alert Description": text}
    return Thing(name, vocabulary.NODE_ID, role=_SECURITY, details=details)


def build(
    happened: Happened, participants: Sequence[Participant], source: str, things: Sequence[Thing]
) -> str:
    """Return an audit message as XML on one line.

    Parameters
    ----------
    source
        AE title of who reports it.
    """
    root = ET.Element("AuditMessage")
    _event(root, happened)
    for participant in participants:
        _participant(root, participant)
    reporter = ET.SubElement(root, "AuditSourceIdentification", AuditSourceID=_clean(source))
    ET.SubElement(reporter, "AuditSourceTypeCode", {"csd-code": _APPLICATION_SERVER})
    for thing in things:
        _thing(root, thing)
    return ET.tostring(root, encoding="unicode")


def moment(at: float) -> str:
    """Return a time (epoch, s) as xsd:dateTime in UTC, to the millisecond."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _event(root: ET.Element, happened: Happened) -> None:
    attributes = {
        "EventActionCode": happened.action,
        "EventDateTime": moment(happened.at),
        "EventOutcomeIndicator": happened.outcome,
    }
    found = ET.SubElement(root, "EventIdentification", attributes)
    _coded(found, "EventID", happened.id)
    if happened.type is not None:
        _coded(found, "EventTypeCode", happened.type)
    if happened.text:
        ET.SubElement(found, "EventOutcomeDescription").text = _clean(happened.text)


def _participant(root: ET.Element, who: Participant) -> None:
    attributes = {
        "UserID": _clean(who.user_id) or WITHHELD,
        "UserIsRequestor": str(who.requestor).lower(),
    }
    if who.alternative:
        attributes["AlternativeUserID"] = _clean(who.alternative)
    if who.address:
        attributes["NetworkAccessPointID"] = _clean(who.address)
        is_number = re.fullmatch(r"[0-9.]+|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*", who.address)
        kind = _IP_ADDRESS if is_number else _MACHINE_NAME
        attributes["NetworkAccessPointTypeCode"] = kind
    found = ET.SubElement(root, "ActiveParticipant", attributes)
    if who.role is not None:
        _coded(found, "RoleIDCode", who.role)


def _thing(root: ET.Element, thing: Thing) -> None:
    attributes = {
        "ParticipantObjectID": _clean(thing.id),
        "ParticipantObjectTypeCode": thing.type,
        "ParticipantObjectTypeCodeRole": thing.role,
    }
    found = ET.SubElement(root, "ParticipantObjectIdentification", attributes)
    _coded(found, "ParticipantObjectIDTypeCode", thing.id_type)
    if thing.query is None:
        ET.SubElement(found, "ParticipantObjectName").text = thing.name
    else:
        ET.SubElement(found, "ParticipantObjectQuery").text = _base64(thing.query)
    for name, value in thing.details.items():
        pair = {"type": name, "value": _base64(value[:_MOST_CHARACTERS].encode(errors="replace"))}
        ET.SubElement(found, "ParticipantObjectDetail", pair)
    if thing.classes:
        described = ET.SubElement(found, "ParticipantObjectDescription")
        for uid, number in thing.classes.items():
            counted = {"UID": uid, "NumberOfInstances": str(number)}
            ET.SubElement(described, "SOPClass", counted)


def _coded(parent: ET.Element, tag: str, code: Code) -> None:
    attributes = {
        "csd-code": code.value,
        "codeSystemName": code.system,
        "originalText": code.meaning,
    }
    ET.SubElement(parent, tag, attributes)


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")


def _clean(text: str) -> str:
    return " ".join(_NOT_XML.sub("?", text[:_MOST_CHARACTERS]).split())
