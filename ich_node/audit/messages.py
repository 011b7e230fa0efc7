"""What the entries of the trail are as audit messages (PS3.15 A.5.3); most kinds are none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from pydicom import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import ImplicitVRLittleEndian

from ich_node.audit import vocabulary as v
from ich_node.audit.message import (
    CREATE,
    DELETE,
    EXECUTE,
    MINOR_FAILURE,
    READ,
    SERIOUS_FAILURE,
    SUCCESS,
    UPDATE,
    WITHHELD,
    Happened,
    Participant,
    Thing,
    build,
    log,
    node,
    patient,
    study,
)
from ich_node.audit.vocabulary import Code
from ich_node.settings import Settings
from ich_node.store.trail import Entry

# How an attempt of a delivery can end.
_OUTCOMES = ("stored", "postponed", "refused", "asked", "confirmed", "lost", "unprovable")
_STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
_MOST_DETAILS = 50


@dataclass(frozen=True)
class Reporter:
    """The node that reports: AE title, machine, where its trail is, and its choice of identity."""

    ae_title: str
    host: str
    trail: str
    with_patient_id: bool

    def itself(self, role: Code | None = None, *, requestor: bool = False) -> Participant:
        """Return this node as a participant."""
        return Participant(
            self.ae_title, role, requestor, self.host, alternative=f"AETITLES={self.ae_title}"
        )


def reporter(settings: Settings, host: str) -> Reporter:
    """Return the node of a configuration on the machine of this name."""
    path = settings.storage.data_dir.absolute()
    return Reporter(settings.dicom.ae_title, host, path.as_uri(), settings.audit.patient_id)


def messages(entry: Entry, by: Reporter) -> list[str]:
    """Return an entry as audit messages, each an XML document on one line."""
    told = _KINDS.get(entry.kind)
    return list(told(entry, by)) if told is not None else []


def _about(entry: Entry, by: Reporter, *studies: Thing) -> list[Thing]:
    """Return a study and its patient; whoever has no number is there all the same."""
    number = (entry.patient_id or "") if by.with_patient_id else ""
    return [*(studies or (study(entry.study_instance_uid or ""),)), patient(number or WITHHELD)]


def _user(entry: Entry) -> Participant:
    return Participant(str(entry.data.get("user") or WITHHELD), requestor=True)


def _started(entry: Entry, by: Reporter) -> Iterable[str]:
    yield _activity(entry, by, v.APPLICATION_START)
    if entry.data.get("configuration_changed"):
        yield _alert(entry, by, v.SOFTWARE_CONFIGURATION, SUCCESS, by.ae_title)


def _stopped(entry: Entry, by: Reporter) -> Iterable[str]:
    yield _activity(entry, by, v.APPLICATION_STOP)


def _activity(entry: Entry, by: Reporter, kind: Code) -> str:
    happened = Happened(v.APPLICATION_ACTIVITY, EXECUTE, entry.at, kind)
    user = Participant(str(entry.data.get("user") or WITHHELD), v.LAUNCHER, requestor=True)
    return build(happened, [by.itself(v.APPLICATION), user], by.ae_title, [])


def _alert(entry: Entry, by: Reporter, kind: Code, outcome: str, about: str) -> str:
    happened = Happened(v.SECURITY_ALERT, EXECUTE, entry.at, kind, outcome)
    reporting = [by.itself(requestor=True)]
    if "user" in entry.data:
        reporting.append(Participant(str(entry.data["user"])))
    if "address" in entry.data:
        who, address = str(entry.data["calling_ae"]), str(entry.data["address"])
        reporting.append(Participant(who or address, address=address))
    return build(happened, reporting, by.ae_title, [node(about, entry.text)])


def _rejected(entry: Entry, by: Reporter) -> Iterable[str]:
    about = str(entry.data["calling_ae"] or entry.data["address"] or WITHHELD)
    yield _alert(entry, by, v.NODE_AUTHENTICATION, MINOR_FAILURE, about)


def _asked(entry: Entry, by: Reporter) -> Iterable[str]:
    """What a user asked for about a study is access to it; all else is a restricted function."""
    if entry.study_instance_uid is None:
        yield _alert(entry, by, v.RESTRICTED_FUNCTION, SUCCESS, by.ae_title)
    else:
        action = READ if entry.data.get("command") == "resend" else UPDATE
        yield _accessed(entry, by, action, {"Command": entry.text})


def _pruned(entry: Entry, by: Reporter) -> Iterable[str]:
    yield _alert(entry, by, v.RESTRICTED_FUNCTION, SUCCESS, by.ae_title)


def _rebuilt(entry: Entry, by: Reporter) -> Iterable[str]:
    """The trail begins anew: what was in it, and not yet told, is lost."""
    yield _alert(entry, by, v.RECORDING_STARTED, SERIOUS_FAILURE, by.trail)


def _accessed(entry: Entry, by: Reporter, action: str, details: Mapping[str, str]) -> str:
    happened = Happened(v.INSTANCES_ACCESSED, action, entry.at)
    who = [_user(entry), by.itself()] if "user" in entry.data else [by.itself(requestor=True)]
    about = study(entry.study_instance_uid or "", details=details)
    return build(happened, who, by.ae_title, _about(entry, by, about))


def _inferred(entry: Entry, by: Reporter) -> Iterable[str]:
    model = entry.data.get("model") or {}
    details = {f"Model {name}": str(value) for name, value in model.items()}
    yield _accessed(entry, by, READ, details)


def _reported(entry: Entry, by: Reporter) -> Iterable[str]:
    built = entry.data.get("objects") or []
    if built:
        details = {f"{one['kind']} {one['uid']}": f"sha256 {one['sha256']}" for one in built}
        yield _accessed(entry, by, CREATE, _some(details))


def _results_deleted(entry: Entry, by: Reporter) -> Iterable[str]:
    yield _accessed(entry, by, DELETE, {"Cause": entry.text})


def _apart_deleted(entry: Entry, by: Reporter) -> Iterable[str]:
    """Copies of a database hold the trail; of files that no study owns nothing else can be said."""
    return (_pruned if entry.study_instance_uid is None else _results_deleted)(entry, by)


def _originals_deleted(entry: Entry, by: Reporter) -> Iterable[str]:
    happened = Happened(v.STUDY_DELETED, DELETE, entry.at)
    yield build(happened, [by.itself(requestor=True)], by.ae_title, _about(entry, by))


def _read(entry: Entry, by: Reporter) -> Iterable[str]:
    happened = Happened(v.AUDIT_LOG_USED, READ, entry.at)
    yield build(happened, [_user(entry), by.itself()], by.ae_title, [log(by.trail)])


def _begun(entry: Entry, by: Reporter) -> Iterable[str]:
    happened = Happened(v.BEGIN_TRANSFERRING, EXECUTE, entry.at)
    yield build(happened, _to_us(entry, by), by.ae_title, _about(entry, by))


def _sending(entry: Entry, by: Reporter) -> Iterable[str]:
    """What is about to leave, to be compared with what then did (PS3.15 A.5.3.3)."""
    happened = Happened(v.BEGIN_TRANSFERRING, EXECUTE, entry.at)
    classes = Counter(one["sop_class_uid"] for one in entry.data["objects"])
    about = study(entry.study_instance_uid or "", classes)
    yield build(happened, _to_them(entry, by), by.ae_title, _about(entry, by, about))


def _transferred(entry: Entry, by: Reporter) -> Iterable[str]:
    happened = Happened(v.INSTANCES_TRANSFERRED, CREATE, entry.at)
    about = study(entry.study_instance_uid or "", entry.data["classes"])
    yield build(happened, _to_us(entry, by), by.ae_title, _about(entry, by, about))


def _to_us(entry: Entry, by: Reporter) -> list[Participant]:
    calling, address = str(entry.data["calling_ae"]), str(entry.data["address"])
    return [
        Participant(calling, v.SOURCE, requestor=True, address=address),
        by.itself(v.DESTINATION),
    ]


def _sent(entry: Entry, by: Reporter) -> Iterable[str]:
    """One message of what a destination took, one of what it did not (PS3.15 A.5.2)."""
    objects = entry.data.get("objects") or []
    for stored, outcome in ((True, SUCCESS), (False, MINOR_FAILURE)):
        meant = [one for one in objects if one["stored"] is stored]
        if not meant:
            continue
        text = "" if stored else entry.text
        happened = Happened(v.INSTANCES_TRANSFERRED, READ, entry.at, outcome=outcome, text=text)
        about = study(
            entry.study_instance_uid or "",
            Counter(one["sop_class_uid"] for one in meant),
            _some({one["uid"]: _status(one) for one in meant}),
        )
        yield build(happened, _to_them(entry, by), by.ae_title, _about(entry, by, about))


def _some(details: Mapping[str, str]) -> dict[str, str]:
    """Return so many details that a message stays within what every server takes (PS3.15 A.6)."""
    if len(details) <= _MOST_DETAILS:
        return dict(details)
    more = f"{len(details) - _MOST_DETAILS} objects more are in the trail"
    return {**dict(islice(details.items(), _MOST_DETAILS)), "More": more}


def _status(one: Mapping[str, Any]) -> str:
    return "no answer" if one["status"] is None else f"{one['status']:04X}H"


def _to_them(entry: Entry, by: Reporter) -> list[Participant]:
    called, host = str(entry.data.get("ae_title", "")), str(entry.data.get("host", ""))
    return [
        by.itself(v.SOURCE, requestor=True),
        Participant(called, v.DESTINATION, address=host),
    ]


def _ended(entry: Entry, by: Reporter) -> Iterable[str]:
    """An attempt of a delivery: what it sent, and what it asked for to have it proven."""
    yield from _sent(entry, by)
    # An entry of an older version says only that C-FIND confirmed.
    unnamed = [""] if entry.data.get("proof") == "C-FIND" else []
    for series in entry.data.get("queried", unnamed):
        yield _query(entry, by, "IMAGE", str(series))


def _queried(entry: Entry, by: Reporter) -> Iterable[str]:
    """C-FIND for the number of instances of a series."""
    yield _query(entry, by, "SERIES", entry.series_instance_uid or "")


def _query(entry: Entry, by: Reporter, level: str, series: str) -> str:
    happened = Happened(v.QUERY, EXECUTE, entry.at)
    keys = identifier(level, entry.study_instance_uid or "", series)
    syntax = {"TransferSyntax": str(ImplicitVRLittleEndian)}
    asked = Thing(_STUDY_ROOT_FIND, v.SOP_CLASS_UID, query=keys, details=syntax)
    return build(happened, _to_them(entry, by), by.ae_title, [asked])


def identifier(level: str, study_instance_uid: str, series_instance_uid: str) -> bytes:
    """Return the keys of a C-FIND as the data set that asks them, in Implicit VR Little Endian."""
    keys = Dataset()
    keys.QueryRetrieveLevel = level
    keys.StudyInstanceUID = study_instance_uid
    keys.SeriesInstanceUID = series_instance_uid
    buffer = DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = True, True
    write_dataset(buffer, keys)
    return bytes(buffer.getvalue())


_KINDS: Mapping[str, Callable[[Entry, Reporter], Iterable[str]]] = {
    "started": _started,
    "stopped": _stopped,
    "asked": _asked,
    "trail_read": _read,
    "trail_pruned": _pruned,
    "database_rebuilt": _rebuilt,
    "association_rejected": _rejected,
    "transfer_begun": _begun,
    "transferred": _transferred,
    "inferred": _inferred,
    "reported": _reported,
    "delivery_begun": _sending,
    **{f"delivery_{event}": _ended for event in _OUTCOMES},
    "queried": _queried,
    "originals_deleted": _originals_deleted,
    "results_deleted": _results_deleted,
    "apart_deleted": _apart_deleted,
}
