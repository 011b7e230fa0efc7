"""What peers say that there is: requests of the services that carry lists of instances."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydicom import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import UID, CTImageStorage

from ich_node.receive import command, services

INSTANCES = tuple(f"1.2.3.{number}" for number in range(1, 4))


@dataclass(frozen=True)
class Asked:
    """A request of a service: its name, its command set, and its data set."""

    name: str
    sop_class: str
    command: Mapping[int, bytes]
    dataset: Dataset


def requests() -> tuple[Asked, ...]:
    """Return a sound request of each kind."""
    whole, instance = services.COMMITMENT, services.COMMITMENT_INSTANCE
    step_, notice_ = services.PERFORMED_STEP, services.AVAILABILITY
    items = [reference(uid) for uid in INSTANCES]
    report = commitment(*items[:2])
    report.FailedSOPSequence = items[2:]
    report.FailedSOPSequence[0].FailureReason = 0x0112
    action = {command.ACTION_TYPE: b"\x01\0"}
    event = {command.EVENT_TYPE: b"\x02\0"}
    begun = step("IN PROGRESS", [])
    return (
        Asked("ask", whole, _requested(whole, 0x0130, instance) | action, commitment(*items)),
        Asked("report", whole, _affected(whole, 0x0100, instance) | event, report),
        Asked("notice", notice_, _affected(notice_, 0x0140, "8.1"), notice(INSTANCES)),
        Asked("begin", step_, _affected(step_, 0x0140, "7.1"), begun),
        Asked("end", step_, _requested(step_, 0x0120, "7.1"), step("COMPLETED", INSTANCES)),
    )


def _affected(sop_class: str, kind: int, instance: str) -> dict[int, bytes]:
    return _common(kind) | {
        command.AFFECTED_SOP_CLASS: _even(sop_class),
        command.AFFECTED_SOP_INSTANCE: _even(instance),
    }


def _requested(sop_class: str, kind: int, instance: str) -> dict[int, bytes]:
    return _common(kind) | {
        command.REQUESTED_SOP_CLASS: _even(sop_class),
        command.REQUESTED_SOP_INSTANCE: _even(instance),
    }


def _common(kind: int) -> dict[int, bytes]:
    numbers = {command.COMMAND_FIELD: kind, command.MESSAGE_ID: 1, command.DATA_SET_TYPE: 1}
    return {element: value.to_bytes(2, "little") for element, value in numbers.items()}


def _even(uid: str) -> bytes:
    return uid.encode() + b"\0" * (len(uid) % 2)


def reference(uid: str, sop_class: str = CTImageStorage) -> Dataset:
    """An item that names an instance."""
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, uid
    return item


def commitment(*items: Dataset, transaction: str = "9.1") -> Dataset:
    """A request for storage commitment (PS3.4 table J.3-1)."""
    found = Dataset()
    found.TransactionUID, found.ReferencedSOPSequence = transaction, list(items)
    return found


def notice(uids: Sequence[str]) -> Dataset:
    """An instance availability notification (PS3.3 table C.30.3-1)."""
    found, series = Dataset(), Dataset()
    found.StudyInstanceUID, found.ReferencedPerformedProcedureStepSequence = "1.2", []
    series.SeriesInstanceUID, series.ReferencedSOPSequence = "1.2.3", list(map(reference, uids))
    found.ReferencedSeriesSequence = [series]
    return found


def step(status: str, uids: Sequence[str]) -> Dataset:
    """A performed procedure step (PS3.4 table F.7.2-1)."""
    found, series = Dataset(), Dataset()
    found.PerformedProcedureStepStatus = status
    series.SeriesInstanceUID, series.ReferencedImageSequence = "1.2.3", list(map(reference, uids))
    series.ReferencedNonImageCompositeSOPInstanceSequence = []
    found.PerformedSeriesSequence = [series] if uids else []
    return found


def encoded(dataset: Dataset, syntax: str) -> bytes:
    """The bytes of a data set in a transfer syntax."""
    uid, buffer = UID(syntax), DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = uid.is_implicit_VR, uid.is_little_endian
    write_dataset(buffer, dataset)
    return buffer.getvalue()
