"""What happens to one received object, without the network: stored, known, or refused."""

from __future__ import annotations

import hashlib
import shutil
import threading
import zlib
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import pydicom
from pydicom import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_file_meta_info
from pydicom.multival import MultiValue
from pydicom.uid import UID

from ich_node import logs
from ich_node.receive import spool
from ich_node.receive.compare import Difference, Kind, compare
from ich_node.receive.whole import is_cut
from ich_node.records import Received
from ich_node.settings import Settings, Source
from ich_node.store import events, instances
from ich_node.store.engine import Engine
from ich_node.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

_log = logs.get(__name__)

PREAMBLE = b"\0" * 128 + b"DICM"
PRODUCT = "ich-node"
# PS3.4 B.2.3 and table GG.4-1.
SUCCESS, OUT_OF_RESOURCES = 0x0000, 0xA700
WRONG_CLASS, CANNOT_UNDERSTAND, CONFLICT = 0xA900, 0xC000, 0xC001


@dataclass(frozen=True)
class Incoming:
    """A C-STORE request: its UIDs, and its data set as it was sent."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    data: bytes
    source: Source
    calling_ae: str


@dataclass(frozen=True)
class Answer:
    """DIMSE status, Error Comment (LO, 64 characters at most), and the series it belongs to."""

    status: int
    comment: str = ""
    series_instance_uid: str | None = None


class Refused(Exception):
    """An object that is not taken; nothing of it stays in the spool."""

    def __init__(self, status: int, comment: str) -> None:
        super().__init__(comment)
        self.answer = Answer(status, _short(comment))


@dataclass(frozen=True)
class Intake:
    """Where objects go. A UID's lock lets one object of it in at a time."""

    engine: Engine
    settings: Settings
    locks: tuple[threading.Lock, ...] = field(
        default_factory=lambda: tuple(threading.Lock() for _ in range(64))
    )

    def lock_of(self, uid: str) -> threading.Lock:
        """Return the lock that a UID shares with one UID in 64."""
        return self.locks[zlib.crc32(uid.encode()) % len(self.locks)]


def take(intake: Intake, incoming: Incoming) -> Answer:
    """Store one object, or say why not.

    Success is answered only when the bytes are synced under their name and the row is committed.

    Raises
    ------
    OSError
        The disk; nothing was acknowledged.
    Exception
        The database; the file may lie in the spool, and sending again succeeds.
    """
    try:
        header = _header(incoming)
        _check(incoming, header)
        if _is_ours(intake, incoming, header):
            return _drop(intake, header)
        with intake.lock_of(incoming.sop_instance_uid):
            known = instances.find(intake.engine, incoming.sop_instance_uid)
            if known is None:
                return _store(intake, incoming, header)
            return _again(intake, incoming, known)
    except Refused as refused:
        return refused.answer


def _header(incoming: Incoming) -> Dataset:
    """Read the header without pixels.

    Raises
    ------
    Refused
        It cannot be read, or is not all there.
    """
    if not (spool.is_uid(incoming.sop_class_uid) and spool.is_uid(incoming.sop_instance_uid)):
        raise Refused(CANNOT_UNDERSTAND, "the request names no UID")
    try:
        header = pydicom.dcmread(_file(incoming), stop_before_pixels=True)
        cut = is_cut(incoming.data, incoming.transfer_syntax_uid)
    except Exception as error:  # whatever a parser raises
        text = f"the data set cannot be read ({type(error).__name__})"
        raise Refused(CANNOT_UNDERSTAND, text) from error
    if cut:
        raise Refused(CANNOT_UNDERSTAND, "the data set is cut short; send it again")
    return header


def _check(incoming: Incoming, header: Dataset) -> None:
    """Hold the header against the request.

    Raises
    ------
    Refused
        A UID is missing, or is another than the request names.
    """
    for keyword in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID"):
        if not spool.is_uid(_text(header, keyword)):
            raise Refused(CANNOT_UNDERSTAND, f"{keyword} is missing or not a UID")
    if _text(header, "SOPClassUID") != incoming.sop_class_uid:
        raise Refused(WRONG_CLASS, "SOP Class UID differs from the request's")
    if _text(header, "SOPInstanceUID") != incoming.sop_instance_uid:
        raise Refused(WRONG_CLASS, "SOP Instance UID differs from the request's")


def _write(intake: Intake, path: Path, incoming: Incoming) -> None:
    """Write an object if that leaves the room that must stay free.

    Raises
    ------
    Refused
        It does not.
    OSError
        The disk.
    """
    storage = intake.settings.storage
    free = shutil.disk_usage(storage.data_dir).free - len(incoming.data)
    if free < storage.min_free_gb * 1e9:
        _log.error(
            "the disk is below storage.min_free_gb; nothing more is taken until room is made",
            free_gb=round(free / 1e9, 1),
            min_free_gb=storage.min_free_gb,
        )
        raise Refused(OUT_OF_RESOURCES, "the disk is below its limit of free space")
    spool.write(path, PREAMBLE, _meta(incoming), incoming.data)


def _is_ours(intake: Intake, incoming: Incoming, header: Dataset) -> bool:
    """A result that came back: by our own table, or by the model name we write (after a loss)."""
    if instances.is_own_result(intake.engine, incoming.sop_instance_uid):
        return True
    return _text(header, "ManufacturerModelName") == PRODUCT and _text(header, "Modality") in (
        "SEG",
        "SR",
    )


def _drop(intake: Intake, header: Dataset) -> Answer:
    events.add(
        intake.engine,
        "own_result",
        "a result of this node came back and was dropped",
        study=_text(header, "StudyInstanceUID"),
        series=_text(header, "SeriesInstanceUID"),
    )
    return Answer(SUCCESS)


def _store(intake: Intake, incoming: Incoming, header: Dataset) -> Answer:
    study, series = _text(header, "StudyInstanceUID"), _text(header, "SeriesInstanceUID")
    path = intake.settings.spool_dir / study / series / f"{incoming.sop_instance_uid}.dcm"
    _write(intake, path, incoming)
    received = Received(
        sop_class_uid=incoming.sop_class_uid,
        sop_instance_uid=incoming.sop_instance_uid,
        study_instance_uid=study,
        series_instance_uid=series,
        modality=_text(header, "Modality")[:16],
        transfer_syntax_uid=incoming.transfer_syntax_uid,
        number=_integer(header, "InstanceNumber"),
        path=path,
        sha256=hashlib.sha256(incoming.data).hexdigest(),
        size=len(incoming.data),
        source=incoming.source.name,
        calling_ae=incoming.calling_ae,
        patient_id=_text(header, "PatientID"),
        study_date=_text(header, "StudyDate")[:8],
        series_description=_text(header, "SeriesDescription"),
    )
    quiet = incoming.source.quiet_seconds or intake.settings.completion.quiet_seconds
    instances.add(intake.engine, received, priority=incoming.source.priority, quiet_seconds=quiet)
    return Answer(SUCCESS, series_instance_uid=series)


def _again(intake: Intake, incoming: Incoming, known: Received) -> Answer:
    """The same SOP Instance UID once more."""
    digest = hashlib.sha256(incoming.data).hexdigest()
    success = Answer(SUCCESS, series_instance_uid=known.series_instance_uid)
    if digest == known.sha256 and incoming.transfer_syntax_uid == known.transfer_syntax_uid:
        if not known.path.exists():  # a disk was restored from an older copy than the database
            _write(intake, known.path, incoming)
        return success
    difference = _difference(incoming, known)
    if difference.kind is Kind.DUPLICATE:
        return success
    _keep_beside(intake, incoming, known, difference, digest)
    if difference.kind is Kind.CORRECTION:
        return success
    return Answer(CONFLICT, _short(f"UID known with other {', '.join(difference.keywords)}"))


def _difference(incoming: Incoming, known: Received) -> Difference:
    try:
        return compare(pydicom.dcmread(known.path), pydicom.dcmread(_file(incoming)))
    except Exception:  # what cannot be compared cannot be called the same
        return Difference(Kind.CONFLICT, ("PixelData",))


def _keep_beside(
    intake: Intake, incoming: Incoming, known: Received, difference: Difference, digest: str
) -> None:
    root = intake.settings.storage.data_dir / f"{difference.kind}"
    path = root / f"{known.sop_instance_uid}.{digest[:16]}.dcm"
    if not path.exists():
        _write(intake, path, incoming)
    text = (
        f"{known.sop_instance_uid} came again with other {', '.join(difference.keywords)}; "
        f"kept apart as {path.relative_to(intake.settings.storage.data_dir)}"
    )
    events.add(
        intake.engine,
        str(difference.kind),
        text,
        study=known.study_instance_uid,
        series=known.series_instance_uid,
        data={"keywords": list(difference.keywords)},
    )
    _log.warning(str(difference.kind), text=text)


def _file(incoming: Incoming) -> BytesIO:
    return BytesIO(PREAMBLE + _meta(incoming) + incoming.data)


def _meta(incoming: Incoming) -> bytes:
    """Return the file meta information (PS3.10 7.1) of a received object."""
    meta = pydicom.dataset.FileMetaDataset()
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID = UID(incoming.sop_class_uid)
    meta.MediaStorageSOPInstanceUID = UID(incoming.sop_instance_uid)
    meta.TransferSyntaxUID = UID(incoming.transfer_syntax_uid)
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    meta.SourceApplicationEntityTitle = incoming.calling_ae
    buffer = DicomBytesIO()
    write_file_meta_info(buffer, meta, enforce_standard=True)
    return bytes(buffer.getvalue())


def _text(header: Dataset, keyword: str) -> str:
    """Return a value as text that every database takes; empty where it is missing or damaged."""
    try:
        value = header.get(keyword)
    except Exception:  # whatever a damaged element raises when it is decoded
        return ""
    if value is None:
        return ""
    text = "\\".join(str(item) for item in value) if isinstance(value, MultiValue) else str(value)
    return text.replace("\0", "").encode("utf-8", "replace").decode()


def _integer(header: Dataset, keyword: str) -> int | None:
    """Return an IS value; None where it is missing or beyond its 32 bits (PS3.5 6.2)."""
    try:
        value = int(_text(header, keyword))
    except ValueError:
        return None
    return value if -(2**31) <= value < 2**31 else None


def _short(comment: str) -> str:
    """Fit an Error Comment (0000,0902) to its VR, LO: 64 characters."""
    return comment if len(comment) <= 64 else f"{comment[:61]}..."
