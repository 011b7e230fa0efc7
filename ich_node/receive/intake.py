"""What happens to one received object, without the network: stored, known, or refused."""

from __future__ import annotations

import os
import struct
import threading
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from ich_node import bounds, faults, logs
from ich_node.receive import header, inflate, spool
from ich_node.receive.compare import Difference, Encoded, Kind, TooMuch, compare
from ich_node.receive.room import Room
from ich_node.receive.together import Together
from ich_node.receive.whole import Buffer, Cut
from ich_node.records import Placing, Received, Sender
from ich_node.settings import Settings, Source
from ich_node.store import events, instances
from ich_node.store.engine import Engine, may_pass
from ich_node.store.instances import Entry, Standing
from ich_node.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

_log = logs.get(__name__)

PREAMBLE = b"\0" * 128 + b"DICM"
PRODUCT = "ich-node"
_LOCKS = 1024
_MOST_NAMED = 20  # of the elements that differ
# PS3.4 B.2.3 and table GG.4-1.
SUCCESS, OUT_OF_RESOURCES = 0x0000, 0xA700
WRONG_CLASS, CANNOT_UNDERSTAND, CONFLICT = 0xA900, 0xC000, 0xC001


@dataclass(frozen=True)
class Incoming:
    """A C-STORE request: its UIDs, and its data set as it was sent.

    ``sender`` is None for what was found in the spool; ``lies_at`` is the file that it was found
    in.
    """

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    data: Buffer
    source: Source
    calling_ae: str
    sender: Sender | None = None
    lies_at: Path | None = None


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


class Intake:
    """Where objects go. A UID's lock lets one object of it in at a time."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self.engine = engine
        self.settings = settings
        self.room = Room(settings.storage)
        self._entering = Together[Entry](partial(instances.add_all, engine))
        self._locks = tuple(threading.Lock() for _ in range(_LOCKS))

    def lock_of(self, uid: str) -> threading.Lock:
        """Return the lock that a UID shares with few others."""
        return self._locks[zlib.crc32(uid.encode()) % len(self._locks)]

    def enter(self, entry: Entry) -> None:
        """Commit the row of an object, with those that other threads bring meanwhile.

        Raises
        ------
        Exception
            Of the database.
        """
        self._entering.do(entry)


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
    faults.point("receive.begun", incoming.sop_instance_uid)
    try:
        values = _header(incoming)
        _check(incoming, values)
        with intake.lock_of(incoming.sop_instance_uid):
            standing = instances.standing(intake.engine, incoming.sop_instance_uid)
            if standing is Standing.OWN_RESULT or _names_us(values):
                return _drop(intake, values)
            known = None
            if standing is not Standing.NEW:
                known = instances.find(intake.engine, incoming.sop_instance_uid)
            if known is None:
                return _store(intake, incoming, values)
            if standing is Standing.DELETED and _is_of(known, values):
                return _restore(intake, incoming, values)
            return _again(intake, incoming, values, known)
    except Refused as refused:
        return refused.answer


def _header(incoming: Incoming) -> Mapping[str, str]:
    """Read the header without pixels.

    Raises
    ------
    Refused
        It cannot be read, or is not all there.
    """
    if not (spool.is_uid(incoming.sop_class_uid) and spool.is_uid(incoming.sop_instance_uid)):
        raise Refused(CANNOT_UNDERSTAND, "the request names no UID")
    try:
        return header.read(incoming.data, incoming.transfer_syntax_uid, partial(_meta, incoming))
    except header.Unreadable as error:
        text = f"the data set cannot be read ({type(error.__cause__).__name__})"
        raise Refused(CANNOT_UNDERSTAND, text) from error
    except bounds.Excessive as error:
        raise Refused(CANNOT_UNDERSTAND, str(error)) from error
    except Cut as error:
        raise Refused(CANNOT_UNDERSTAND, "the data set is cut short; send it again") from error


def _plain(intake: Intake, incoming: Incoming) -> Incoming:
    """Return the same, not deflated."""
    if incoming.transfer_syntax_uid != DeflatedExplicitVRLittleEndian:
        return incoming
    data = inflate.onto_disk(incoming.data, intake.settings.storage.data_dir, intake.room)
    return replace(incoming, data=data, transfer_syntax_uid=ExplicitVRLittleEndian)


def _check(incoming: Incoming, values: Mapping[str, str]) -> None:
    """Hold the header against the request.

    Raises
    ------
    Refused
        A UID is missing, or is another than the request names.
    """
    for keyword in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID"):
        if not spool.is_uid(values[keyword]):
            raise Refused(CANNOT_UNDERSTAND, f"{keyword} is missing or not a UID")
    if values["SOPClassUID"] != incoming.sop_class_uid:
        raise Refused(WRONG_CLASS, "SOP Class UID differs from the request's")
    if values["SOPInstanceUID"] != incoming.sop_instance_uid:
        raise Refused(WRONG_CLASS, "SOP Instance UID differs from the request's")


def _write(intake: Intake, path: Path, incoming: Incoming) -> str:
    """Write an object if that leaves the room that must stay free; return its data's SHA-256.

    What lies there already takes no room.

    Raises
    ------
    Refused
        It does not.
    OSError
        The disk.
    """
    if path == incoming.lies_at:
        spool.sync(path)
        return spool.digest(incoming.data)
    if not intake.room.holds(len(incoming.data)):
        raise Refused(OUT_OF_RESOURCES, "the disk is below its limit of free space")
    return spool.write(path, _meta(incoming), incoming.data)


def _names_us(values: Mapping[str, str]) -> bool:
    """Tell a result that came back, by the model name we write: our own table may be lost."""
    return values["ManufacturerModelName"] == PRODUCT and values["Modality"] in ("SEG", "SR")


def _drop(intake: Intake, values: Mapping[str, str]) -> Answer:
    events.add(
        intake.engine,
        "own_result",
        "a result of this node came back and was dropped",
        study=values["StudyInstanceUID"],
        series=values["SeriesInstanceUID"],
    )
    return Answer(SUCCESS)


def _store(intake: Intake, incoming: Incoming, values: Mapping[str, str]) -> Answer:
    received = _keep(intake, incoming, values)
    quiet = incoming.source.quiet_seconds or intake.settings.completion.quiet_seconds
    intake.enter(Entry(received, incoming.source.priority, quiet, incoming.sender))
    faults.point("receive.committed", incoming.sop_instance_uid)
    return Answer(SUCCESS, series_instance_uid=received.series_instance_uid)


def _restore(intake: Intake, incoming: Incoming, values: Mapping[str, str]) -> Answer:
    """Keep an object whose file was here before; after a crash on the way the audit goes on."""
    received = _keep(intake, incoming, values)
    instances.restore(intake.engine, received)
    return Answer(SUCCESS, series_instance_uid=received.series_instance_uid)


def _keep(intake: Intake, incoming: Incoming, values: Mapping[str, str]) -> Received:
    """Write an object to its place in the spool, as `_write`; return what its row will say."""
    study, series = values["StudyInstanceUID"], values["SeriesInstanceUID"]
    path = intake.settings.spool_dir / study / series / f"{incoming.sop_instance_uid}.dcm"
    sha256 = _write(intake, path, incoming)
    return Received(
        sop_class_uid=incoming.sop_class_uid,
        sop_instance_uid=incoming.sop_instance_uid,
        study_instance_uid=values["StudyInstanceUID"],
        series_instance_uid=values["SeriesInstanceUID"],
        modality=values["Modality"][:16],
        transfer_syntax_uid=incoming.transfer_syntax_uid,
        number=_integer(values["InstanceNumber"]),
        path=path,
        sha256=sha256,
        size=len(incoming.data),
        source=incoming.source.name,
        calling_ae=incoming.calling_ae,
        patient_id=values["PatientID"],
        study_date=values["StudyDate"][:8],
        series_description=values["SeriesDescription"],
        placing=Placing(
            image_type=values["ImageType"],
            position=values["ImagePositionPatient"],
            orientation=values["ImageOrientationPatient"],
            acquisition=_integer(values["AcquisitionNumber"]),
            in_acquisition=_integer(values["ImagesInAcquisition"]),
        ),
    )


def _is_of(known: Received, values: Mapping[str, str]) -> bool:
    """Tell whether a header is of the study, series and SOP class of a known object."""
    return (
        known.study_instance_uid == values["StudyInstanceUID"]
        and known.series_instance_uid == values["SeriesInstanceUID"]
        and known.sop_class_uid == values["SOPClassUID"]
    )


def _again(
    intake: Intake, incoming: Incoming, values: Mapping[str, str], known: Received
) -> Answer:
    """The same SOP Instance UID once more."""
    success = Answer(SUCCESS, series_instance_uid=known.series_instance_uid)
    sha256 = spool.digest(incoming.data)
    if sha256 == known.sha256 and incoming.transfer_syntax_uid == known.transfer_syntax_uid:
        if not known.path.exists():  # the disk lost it, or was restored from an older copy
            return _restore(intake, incoming, values)
        return success
    difference = _difference(intake, incoming, known)
    if difference.kind is Kind.DUPLICATE:
        return success
    _keep_beside(intake, incoming, known, difference, sha256)
    if difference.kind is Kind.CORRECTION:
        return success
    return Answer(CONFLICT, _short(f"UID known with other {_named(difference.keywords)}"))


def _difference(intake: Intake, incoming: Incoming, known: Received) -> Difference:
    """Compare an object with the one that is kept.

    Raises
    ------
    OSError
        The disk; another time it succeeds.
    """
    try:
        _meta_of_kept, data = spool.read(known.path)
        kept = replace(incoming, data=data, transfer_syntax_uid=known.transfer_syntax_uid)
        return compare(_encoded(intake, kept), _encoded(intake, incoming))
    except TooMuch:
        return Difference(Kind.CONFLICT, ())
    except Exception as error:  # what cannot be compared cannot be called the same
        if may_pass(error):
            raise
        return Difference(Kind.CONFLICT, ("PixelData",))


def _encoded(intake: Intake, incoming: Incoming) -> Encoded:
    plain = _plain(intake, incoming)
    return Encoded(_meta(plain), memoryview(plain.data), plain.transfer_syntax_uid)


def _keep_beside(
    intake: Intake, incoming: Incoming, known: Received, difference: Difference, sha256: str
) -> None:
    root = intake.settings.storage.data_dir / f"{difference.kind}"
    path = root / f"{known.sop_instance_uid}.{sha256[:16]}.dcm"
    _put(intake, path, incoming)
    keywords = difference.keywords[:_MOST_NAMED]
    rest = len(difference.keywords) - len(keywords)
    more = f" and {rest} elements more" if rest else ""
    text = (
        f"{known.sop_instance_uid} came again with other {_named(keywords)}{more}; "
        f"kept apart as {path.relative_to(intake.settings.storage.data_dir)}"
    )
    events.add(
        intake.engine,
        str(difference.kind),
        text,
        study=known.study_instance_uid,
        series=known.series_instance_uid,
        data={"keywords": list(keywords)},
    )
    _put(intake, path, incoming)  # its time may have been over until it came again
    _log.warning(str(difference.kind), text=text)


def _named(keywords: Sequence[str]) -> str:
    return ", ".join(keywords) or "content, too much to compare"


def _put(intake: Intake, path: Path, incoming: Incoming) -> None:
    """Write a file that is kept apart; one that lies there is kept as long as a new one."""
    try:
        os.utime(path)
    except FileNotFoundError:
        _write(intake, path, incoming)


def _meta(incoming: Incoming) -> bytes:
    """Return preamble and file meta information (PS3.10 7.1) of a received object."""
    elements = (
        _element(0x01, b"OB", b"\x00\x01"),
        _element(0x02, b"UI", incoming.sop_class_uid.encode()),
        _element(0x03, b"UI", incoming.sop_instance_uid.encode()),
        _element(0x10, b"UI", incoming.transfer_syntax_uid.encode()),
        _element(0x12, b"UI", IMPLEMENTATION_CLASS_UID.encode()),
        _element(0x13, b"SH", IMPLEMENTATION_VERSION_NAME.encode()),
        _element(0x16, b"AE", incoming.calling_ae.encode("ascii", "replace")),
    )
    meta = b"".join(elements)
    return PREAMBLE + _element(0x00, b"UL", len(meta).to_bytes(4, "little")) + meta


def _element(element: int, vr: bytes, value: bytes) -> bytes:
    """Encode an element of group 0002H, which is always Explicit VR Little Endian."""
    value += (b"\0" if vr == b"UI" else b" ") * (len(value) % 2)
    length = struct.pack("<2xL" if vr == b"OB" else "<H", len(value))
    return struct.pack("<HH", 2, element) + vr + length + value


def _integer(text: str) -> int | None:
    """Return an IS value; None where it is missing or beyond its 32 bits (PS3.5 6.2)."""
    try:
        value = int(text)
    except ValueError:
        return None
    return value if -(2**31) <= value < 2**31 else None


def _short(comment: str) -> str:
    """Fit an Error Comment (0000,0902) to its VR, LO: 64 characters."""
    return comment if len(comment) <= 64 else f"{comment[:61]}..."
