"""Services that say what instances there are: storage commitment, availability, performed steps.

A storage commitment request (PS3.4 annex J) is answered by what is true now: an instance is safe
here once C-STORE answered success, until `[retention]` deletes it. A report on one that the
deliverer asked for is taken by its Transaction UID, whoever brings it. Instance availability
notifications (annex R) and modality performed procedure steps (annex F) are taken for their lists
of instances.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO

from pydicom import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset
from pydicom.uid import UID

from ich_node import bounds
from ich_node.receive import command
from ich_node.receive.spool import is_uid
from ich_node.receive.wire import Message
from ich_node.records import Announcement, Referenced
from ich_node.states import AnnouncementState
from ich_node.store import announcements, proofs
from ich_node.store.commitments import Commitment
from ich_node.store.engine import Engine

COMMITMENT = "1.2.840.10008.1.20.1"
COMMITMENT_INSTANCE = "1.2.840.10008.1.20.1.1"
AVAILABILITY = "1.2.840.10008.5.1.4.33"
PERFORMED_STEP = "1.2.840.10008.3.1.2.3.3"
CLASSES = frozenset({COMMITMENT, AVAILABILITY, PERFORMED_STEP})
REQUESTS = frozenset(
    {command.N_ACTION_RQ, command.N_CREATE_RQ, command.N_SET_RQ, command.N_EVENT_REPORT_RQ}
)

# PS3.7 annex C.
SUCCESS, INVALID_VALUE, PROCESSING_FAILURE = 0x0000, 0x0106, 0x0110
DUPLICATE_INSTANCE, NO_SUCH_INSTANCE, CLASS_CONFLICT = 0x0111, 0x0112, 0x0119
MISSING_ATTRIBUTE, NO_SUCH_ACTION, DUPLICATE_TRANSACTION = 0x0120, 0x0123, 0x0131
RESOURCE_LIMITATION = 0x0213
# A list of some 30,000 instances, bytes. Read, it takes many times as much memory, and one that is
# nothing but empty items or elements hundreds of times: so few at once are enough. An item of a
# list has two elements.
_LONGEST_LIST, _MOST_ITEMS = 4 << 20, 50_000
_MOST_ELEMENTS = 3 * _MOST_ITEMS  # and items
_ITEM_TAGS = (b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00")  # in either byte order
_reading = threading.Lock()
_STATES = {
    "IN PROGRESS": AnnouncementState.IN_PROGRESS,
    "COMPLETED": AnnouncementState.COMPLETED,
    "DISCONTINUED": AnnouncementState.DISCONTINUED,
}


@dataclass(frozen=True)
class Served:
    """What a request came to: a DIMSE status, and the transaction whose report is owed now."""

    status: int
    owes: str | None = None


class _Wrong(Exception):
    """A data set that is not what the service asks for; ``status`` says so."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def serve(engine: Engine, message: Message, transfer_syntax_uid: str, calling_ae: str) -> Served:
    """Take a request of one of `CLASSES`; the lists in it are committed before it is answered.

    Raises
    ------
    command.Unreadable
        The command set lacks its command field.
    Exception
        The database; nothing was taken.
    """
    kind = command.number(message.command, command.COMMAND_FIELD)
    sop_class = command.uid(message.command, command.AFFECTED_SOP_CLASS) or command.uid(
        message.command, command.REQUESTED_SOP_CLASS
    )
    service = _SERVICES.get((sop_class, kind))
    if service is None:
        return Served(command.UNRECOGNISED_OPERATION)
    try:
        with _reading:
            dataset = _decode(message, transfer_syntax_uid)
            return service(engine, message.command, dataset, calling_ae)
    except _Wrong as wrong:
        return Served(wrong.status)


def _decode(message: Message, transfer_syntax_uid: str) -> Dataset:
    if not message.fits or len(message.data) > _LONGEST_LIST:
        raise _Wrong(RESOURCE_LIMITATION)
    syntax, data = UID(transfer_syntax_uid), bytes(message.data)
    if max(data.count(tag) for tag in _ITEM_TAGS) > _MOST_ITEMS or _is_excessive(data, syntax):
        raise _Wrong(RESOURCE_LIMITATION)
    try:
        return read_dataset(BytesIO(data), syntax.is_implicit_VR, syntax.is_little_endian)
    except Exception as error:  # whatever a parser raises
        raise _Wrong(PROCESSING_FAILURE) from error


def _is_excessive(data: bytes, syntax: str) -> bool:
    try:
        return bounds.check(data, syntax) > _MOST_ELEMENTS
    except bounds.Excessive:
        return True


def _commit(
    engine: Engine, request: Mapping[int, bytes], dataset: Dataset, calling_ae: str
) -> Served:
    """N-ACTION, Request Storage Commitment (PS3.4 J.3.2)."""
    if _type(request, command.ACTION_TYPE) != 1:
        raise _Wrong(NO_SUCH_ACTION)
    if command.uid(request, command.REQUESTED_SOP_INSTANCE) != COMMITMENT_INSTANCE:
        raise _Wrong(NO_SUCH_INSTANCE)
    members = tuple(_members(_items(dataset, "ReferencedSOPSequence"), None))
    if not members:
        raise _Wrong(MISSING_ATTRIBUTE)
    uid = _uid(dataset, "TransactionUID")
    asked = AnnouncementState.ASKED
    found = Announcement(uid, "storage commitment", asked, calling_ae, members)
    if not announcements.keep(engine, found):
        raise _Wrong(DUPLICATE_TRANSACTION)
    return Served(SUCCESS, owes=uid)


def _reported(
    engine: Engine, request: Mapping[int, bytes], dataset: Dataset, _calling_ae: str
) -> Served:
    """N-EVENT-REPORT on a storage commitment that we asked for (PS3.4 J.3.3)."""
    if command.uid(request, command.AFFECTED_SOP_INSTANCE) != COMMITMENT_INSTANCE:
        raise _Wrong(NO_SUCH_INSTANCE)
    return Served(proofs.take(engine, _type(request, command.EVENT_TYPE), dataset))


def _notice(
    engine: Engine, request: Mapping[int, bytes], dataset: Dataset, calling_ae: str
) -> Served:
    """N-CREATE of an Instance Availability Notification (PS3.4 R.3.2)."""
    found = Announcement(
        _instance(request, command.AFFECTED_SOP_INSTANCE),
        "instance availability notification",
        AnnouncementState.COMPLETED,
        calling_ae,
        tuple(_by_series(dataset, "ReferencedSeriesSequence", ("ReferencedSOPSequence",))),
    )
    return Served(SUCCESS if announcements.keep(engine, found) else DUPLICATE_INSTANCE)


def _begin_step(
    engine: Engine, request: Mapping[int, bytes], dataset: Dataset, calling_ae: str
) -> Served:
    """N-CREATE of a Modality Performed Procedure Step (PS3.4 F.7.2.1)."""
    found = _step(_instance(request, command.AFFECTED_SOP_INSTANCE), dataset, calling_ae)
    if found.state is not AnnouncementState.IN_PROGRESS:
        raise _Wrong(INVALID_VALUE)
    return Served(SUCCESS if announcements.keep(engine, found) else DUPLICATE_INSTANCE)


def _change_step(
    engine: Engine, request: Mapping[int, bytes], dataset: Dataset, calling_ae: str
) -> Served:
    """N-SET of a Modality Performed Procedure Step (PS3.4 F.7.2.2); one that ended stays."""
    uid = _instance(request, command.REQUESTED_SOP_INSTANCE)
    before = announcements.amend(engine, _step(uid, dataset, calling_ae))
    if before is None:
        return Served(NO_SUCH_INSTANCE)
    return Served(SUCCESS if before is AnnouncementState.IN_PROGRESS else PROCESSING_FAILURE)


def _step(uid: str, dataset: Dataset, calling_ae: str) -> Announcement:
    status = _text(dataset, "PerformedProcedureStepStatus") or "IN PROGRESS"
    if status not in _STATES:
        raise _Wrong(INVALID_VALUE)
    lists = ("ReferencedImageSequence", "ReferencedNonImageCompositeSOPInstanceSequence")
    members = tuple(_by_series(dataset, "PerformedSeriesSequence", lists))
    return Announcement(uid, "MPPS", _STATES[status], calling_ae, members)


_Service = Callable[[Engine, Mapping[int, bytes], Dataset, str], Served]
_SERVICES: Mapping[tuple[str, int], _Service] = {
    (COMMITMENT, command.N_ACTION_RQ): _commit,
    (COMMITMENT, command.N_EVENT_REPORT_RQ): _reported,
    (AVAILABILITY, command.N_CREATE_RQ): _notice,
    (PERFORMED_STEP, command.N_CREATE_RQ): _begin_step,
    (PERFORMED_STEP, command.N_SET_RQ): _change_step,
}


def _by_series(dataset: Dataset, series: str, lists: Iterable[str]) -> Iterator[Referenced]:
    for item in _items(dataset, series):
        uid = _uid(item, "SeriesInstanceUID")
        for keyword in lists:
            yield from _members(_items(item, keyword), uid)


def _members(items: Iterable[Dataset], series_instance_uid: str | None) -> Iterator[Referenced]:
    for item in items:
        yield Referenced(
            _uid(item, "ReferencedSOPClassUID"),
            _uid(item, "ReferencedSOPInstanceUID"),
            series_instance_uid,
        )


def _items(dataset: Dataset, keyword: str) -> list[Dataset]:
    try:
        return list(dataset.get(keyword) or [])
    except Exception as error:  # an element that cannot be decoded
        raise _Wrong(INVALID_VALUE) from error


def _uid(dataset: Dataset, keyword: str) -> str:
    value = _text(dataset, keyword)
    if not value:
        raise _Wrong(MISSING_ATTRIBUTE)
    if not is_uid(value):
        raise _Wrong(INVALID_VALUE)
    return value


def _text(dataset: Dataset, keyword: str) -> str:
    try:
        return str(dataset.get(keyword) or "").strip()
    except Exception as error:  # an element that cannot be decoded
        raise _Wrong(INVALID_VALUE) from error


def _instance(request: Mapping[int, bytes], element: int) -> str:
    uid = command.uid(request, element)
    if not is_uid(uid):
        raise _Wrong(INVALID_VALUE)
    return uid


def _type(request: Mapping[int, bytes], element: int) -> int:
    """Return the kind of action or event; 0, which is none, where it cannot be read."""
    try:
        return command.number(request, element)
    except command.Unreadable:
        return 0


def report(truth: Commitment, transfer_syntax_uid: str, message_id: int) -> tuple[bytes, bytes]:
    """Return command set and data set of the N-EVENT-REPORT that answers a storage commitment.

    Parameters
    ----------
    truth
        What is stored and what is not.
    transfer_syntax_uid
        Of the presentation context.
    message_id
        Of the request.
    """
    syntax = UID(transfer_syntax_uid)
    buffer = DicomBytesIO()
    buffer.is_implicit_VR = syntax.is_implicit_VR
    buffer.is_little_endian = syntax.is_little_endian
    write_dataset(buffer, truth.event_information())
    request = command.event_report(COMMITMENT, COMMITMENT_INSTANCE, truth.event_type, message_id)
    return request, buffer.getvalue()
