"""A node's settings, objects as peers send them, and peers that keep to the standard."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import sqlalchemy as sa
from pydicom import Dataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode, split_dataset
from pynetdicom.sop_class import Verification

from deploy.demo.running import wait_for
from ich_node.receive.intake import Incoming
from ich_node.receive.scp import Receiver, start_receiver
from ich_node.selftest.series import save
from ich_node.settings import Destination, Dicom, Settings, Source, Storage, Tls
from ich_node.store.engine import Engine, migrate, open_engine
from tests import identity

SENDER = Source(name="sender", ae_title="SENDER", hosts=("127.0.0.1",), quiet_seconds=2)


def node_settings(
    folder: Path, sources: tuple[Source, ...] = (SENDER,), tls: Tls | None = None, **dicom: Any
) -> Settings:
    """Settings of a node on a free port of the loopback address, with its folders made."""
    made = Settings(
        dicom=Dicom(host="127.0.0.1", **dicom).model_copy(update={"port": 0}),
        storage=Storage(data_dir=folder / "data", min_free_gb=0),
        sources=sources,
        tls=tls or Tls(),
    )
    made.spool_dir.mkdir(parents=True)
    return made


def destination(port: int) -> Destination:
    """A destination on the loopback address."""
    return Destination(name="pacs", ae_title="PACS", host="127.0.0.1", port=port)


def small_object(number: int = 1, sop_class: str = CTImageStorage, **values: Any) -> Dataset:
    """A data set of any class without pixels: series 1.2.3 of study 1.2."""
    found = Dataset()
    found.SOPClassUID = sop_class
    found.SOPInstanceUID = f"1.2.3.{number}"
    found.StudyInstanceUID = "1.2"
    found.SeriesInstanceUID = "1.2.3"
    found.Modality = "CT"
    found.PatientID = "SIMULATED-1"
    found.PatientName = "SIMULATED^HEAD"
    found.InstanceNumber = number
    for keyword, value in values.items():
        setattr(found, keyword, value)
    return found


def encoded(dataset: Dataset, syntax: str = ExplicitVRLittleEndian) -> bytes:
    """The data set's bytes in a transfer syntax, as a C-STORE carries them."""
    identity.register(dataset)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "object.dcm"
        save(dataset, path, syntax)
        return data_of(path)


def plain(dataset: Dataset, syntax: str = ExplicitVRLittleEndian) -> bytes:
    """Encode, without compression, also what could not be saved as a file: its UIDs may be none."""
    uid = UID(syntax)
    return encode(dataset, uid.is_implicit_VR, uid.is_little_endian) or b""


def data_of(path: Path) -> bytes:
    """The bytes of a file behind its file meta information."""
    return path.read_bytes()[split_dataset(path)[1] :]


def incoming(dataset: Dataset, syntax: str = ExplicitVRLittleEndian, **changes: Any) -> Incoming:
    """A C-STORE request for a data set; `changes` make it say otherwise."""
    values: dict[str, Any] = {
        "sop_class_uid": str(dataset.SOPClassUID),
        "sop_instance_uid": str(dataset.SOPInstanceUID),
        "transfer_syntax_uid": str(syntax),
        "source": SENDER,
        "calling_ae": SENDER.ae_title,
    } | changes
    return Incoming(data=values.pop("data", None) or encoded(dataset, syntax), **values)


def request_of(path: Path, source: Source = SENDER) -> Incoming:
    """The C-STORE request that carries a file."""
    header = pydicom.dcmread(path, stop_before_pixels=True)
    return Incoming(
        sop_class_uid=str(header.SOPClassUID),
        sop_instance_uid=str(header.SOPInstanceUID),
        transfer_syntax_uid=str(header.file_meta.TransferSyntaxUID),
        data=data_of(path),
        source=source,
        calling_ae=source.ae_title,
    )


@dataclass
class Pacs:
    """A storage SCP that keeps requests in memory."""

    port: int
    requests: list[Any] = field(default_factory=list)
    data: list[bytes] = field(default_factory=list)


@contextmanager
def pacs(
    classes: Sequence[str],
    syntaxes: Sequence[str] = (ExplicitVRLittleEndian,),
    answer: Callable[[Any], int | Dataset] = lambda _event: 0x0000,
    at_each_pdu: Callable[[Any], None] = lambda _event: None,
) -> Iterator[Pacs]:
    """A PACS that takes these SOP classes in these transfer syntaxes, and answers as it is told."""
    entity = AE(ae_title="PACS")
    for uid in (*classes, Verification):
        entity.add_supported_context(uid, list(syntaxes))

    def on_store(event: Any) -> int | Dataset:
        running.requests.append(event.request)
        running.data.append(event.request.DataSet.getvalue())
        return answer(event)

    server = entity.start_server(
        ("127.0.0.1", 0),
        block=False,
        evt_handlers=[
            (evt.EVT_C_STORE, on_store),
            (evt.EVT_C_ECHO, lambda _event: 0x0000),
            (evt.EVT_PDU_RECV, at_each_pdu),
        ],
    )
    running = Pacs(server.server_address[1])
    try:
        yield running
    finally:
        entity.shutdown()


@dataclass(frozen=True)
class Listening:
    """A receiver of this process, with what it writes to."""

    settings: Settings
    engine: Engine
    receiver: Receiver

    def rows(self, table: sa.Table) -> list[dict[str, Any]]:
        """All rows of a table."""
        with self.engine.connect() as connection:
            return [dict(row) for row in connection.execute(sa.select(table)).mappings()]

    def files(self) -> list[Path]:
        """Objects and parts of objects in the data folder."""
        root = self.settings.storage.data_dir
        return sorted(path for path in root.rglob("*") if path.suffix in (".dcm", ".part"))

    def still_stores(self) -> bool:
        """Tell whether a new object is stored."""
        number = 1000 + len(self.files())
        answer = sent(self.receiver.port, incoming(small_object(number)))
        return answer.Status == 0x0000 and any(
            path.name == f"1.2.3.{number}.dcm" for path in self.files()
        )


@contextmanager
def listening(folder: Path, **changes: Any) -> Iterator[Listening]:
    """Run a receiver; `changes` are those of `node_settings`."""
    settings = node_settings(folder, **changes)
    engine = open_engine(settings.database_url)
    migrate(engine)
    receiver = start_receiver(settings, engine)
    try:
        yield Listening(settings, engine, receiver)
    finally:
        receiver.stop(0.0)
        engine.dispose()


@contextmanager
def receiver_on(settings: Settings, engine: Engine) -> Iterator[int]:
    """Run a receiver on a database that is there; yield its port."""
    receiver = start_receiver(settings, engine)
    try:
        yield receiver.port
    finally:
        receiver.stop(0.0)


def associate(
    port: int,
    contexts: Sequence[tuple[str, Sequence[str]]] = ((Verification, (ImplicitVRLittleEndian,)),),
    *,
    calling: str = "SENDER",
    called: str = "ICH_NODE",
) -> Association:
    """Ask for an association as a peer does; it may be rejected."""
    entity = AE(ae_title=calling)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 10
    for abstract_syntax, transfer_syntaxes in contexts:
        entity.add_requested_context(abstract_syntax, list(transfer_syntaxes))
    return entity.associate("127.0.0.1", port, ae_title=called)


def c_store(association: Association, request: Incoming) -> Dataset:
    """Send a data set as it is encoded, however wrong it is; return the response."""
    message = C_STORE()
    message.MessageID, message.Priority = 1, 2
    message.AffectedSOPClassUID = request.sop_class_uid
    message.AffectedSOPInstanceUID = request.sop_instance_uid
    message.DataSet = BytesIO(request.data)
    context = next(
        context
        for context in association.accepted_contexts
        if context.abstract_syntax == request.sop_class_uid
        and context.transfer_syntax[0] == request.transfer_syntax_uid
    )
    association._reactor_checkpoint.clear()
    wait_for(lambda: association._is_paused, 10, "pause of the sender's reactor")
    association.dimse.send_msg(message, context.context_id)
    _context, response = association.dimse.get_msg(block=True)
    association._reactor_checkpoint.set()
    answer = Dataset()
    if response is not None:
        answer.Status = response.Status
        answer.ErrorComment = response.ErrorComment
    return answer


def sent(port: int, request: Incoming) -> Dataset:
    """Send one object in an association of its own; return the response."""
    contexts = [(request.sop_class_uid, (request.transfer_syntax_uid,))]
    association = associate(port, contexts)
    assert association.is_established
    try:
        return c_store(association, request)
    finally:
        association.release()
