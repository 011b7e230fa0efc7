"""A PACS with the services and the faults that a test wants: it stores, commits, lists, forgets."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from ssl import SSLContext
from typing import Any

from pydicom import Dataset
from pydicom.uid import (
    Comprehensive3DSRStorage,
    ExplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)
from pynetdicom import AE, build_role, evt
from pynetdicom.sop_class import (
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
    StudyRootQueryRetrieveInformationModelFind,
    Verification,
)

EVERYTHING = (SegmentationStorage, Comprehensive3DSRStorage, SecondaryCaptureImageStorage)
NO_SUCH_OBJECT = 0x0112


@dataclass
class Archive:
    """A running PACS, and what a test may change of it while it runs.

    ``answer`` decides the status of a C-STORE; ``action`` that of a request for storage commitment
    (-1: it aborts), whose report goes out in the same association unless a test will `report_to` us
    `later`. ``held`` are the bytes of what it holds, ``came`` those of everything that came;
    ``listed`` are other series of the study, and what is ``hidden`` no C-FIND lists.
    """

    port: int = 0
    answer: Callable[[Any], int] = lambda _event: 0x0000
    action: int = 0x0000
    later: bool = False
    failure: int = NO_SUCH_OBJECT
    hidden: bool = False
    listed: Sequence[str] = ("1.2.9",)
    held: dict[str, bytes] = field(default_factory=dict)
    came: list[tuple[str, bytes]] = field(default_factory=list)
    asked: list[Dataset] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    threads: list[threading.Thread] = field(default_factory=list)

    def tell(self, request: Dataset) -> tuple[int, Dataset]:
        """Event type and data set of the truthful report on a request."""
        items = list(request.ReferencedSOPSequence)
        told = Dataset()
        told.TransactionUID = request.TransactionUID
        told.ReferencedSOPSequence = [i for i in items if i.ReferencedSOPInstanceUID in self.held]
        failed = [i for i in items if i.ReferencedSOPInstanceUID not in self.held]
        for item in failed:
            item.FailureReason = self.failure
        if failed:
            told.FailedSOPSequence = failed
        return (2 if failed else 1), told

    def report_to(self, port: int, request: Dataset, called: str = "ICH_NODE") -> int:
        """Report in an association of our own, with the SCP role; return the status."""
        entity = AE(ae_title="SENDER")
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 10
        entity.add_requested_context(StorageCommitmentPushModel)
        role = build_role(StorageCommitmentPushModel, scp_role=True)
        association = entity.associate("127.0.0.1", port, ae_title=called, ext_neg=[role])
        assert association.is_established
        event_type, told = self.tell(request)
        status, _reply = association.send_n_event_report(
            told, event_type, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
        )
        association.release()
        return int(status.Status)

    def _store(self, event: Any) -> int:
        uid, data = event.request.AffectedSOPInstanceUID, event.request.DataSet.getvalue()
        self.came.append((uid, data))
        status = self.answer(event)
        if status == 0:
            self.held[uid] = data
        return status

    def _action(self, event: Any) -> tuple[int, None]:
        request = event.action_information
        self.asked.append(request)
        if self.action < 0:
            event.assoc.abort()
            return 0x0110, None
        if self.action == 0 and not self.later:
            thread = threading.Thread(target=self._report, args=(event.assoc, request), daemon=True)
            self.threads.append(thread)
            thread.start()
        return self.action, None

    def _report(self, association: Any, request: Dataset) -> None:
        event_type, told = self.tell(request)
        status, _reply = association.send_n_event_report(
            told, event_type, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
        )
        self.statuses.append(int(status.Status))

    def _find(self, event: Any) -> Iterator[tuple[int, Dataset | None]]:
        asked = event.identifier
        match = Dataset()
        match.QueryRetrieveLevel = asked.QueryRetrieveLevel
        if asked.QueryRetrieveLevel == "SERIES":
            assert not asked.SeriesInstanceUID
            for match.SeriesInstanceUID in self.listed:
                yield 0xFF00, match
            return
        assert asked.QueryRetrieveLevel == "IMAGE"
        for match.SOPInstanceUID in [] if self.hidden else sorted(self.held):
            if asked.SOPInstanceUID in ("", match.SOPInstanceUID):
                yield 0xFF00, match


@contextmanager
def archive(
    *,
    classes: Sequence[str] = EVERYTHING,
    commits: bool = False,
    finds: bool = False,
    port: int = 0,
    tls: SSLContext | None = None,
    **values: Any,
) -> Iterator[Archive]:
    """Run a PACS on the loopback address; `values` are those of `Archive`."""
    entity = AE(ae_title="PACS")
    for uid in classes:
        entity.add_supported_context(uid, [ExplicitVRLittleEndian])
    entity.add_supported_context(Verification)
    if commits:
        entity.add_supported_context(StorageCommitmentPushModel)
    if finds:
        entity.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
    running = Archive(**values)
    handlers = [
        (evt.EVT_C_STORE, running._store),
        (evt.EVT_N_ACTION, running._action),
        (evt.EVT_C_FIND, running._find),
        (evt.EVT_C_ECHO, lambda _event: 0x0000),
    ]
    server = entity.start_server(
        ("127.0.0.1", port), block=False, evt_handlers=handlers, ssl_context=tls
    )
    running.port = server.server_address[1]
    try:
        yield running
    finally:
        for thread in running.threads:
            thread.join(10)
        entity.shutdown()
