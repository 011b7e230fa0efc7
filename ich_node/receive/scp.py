"""The storage SCP: thin handlers that turn an intake's answers and errors into DIMSE statuses.

pynetdicom's unrestricted storage mode is switched on for the process: a router that is refused one
object of an unknown or private class holds up whole studies.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydicom import Dataset
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)
from pynetdicom import AE, _config, evt
from pynetdicom.presentation import AllStoragePresentationContexts
from pynetdicom.sop_class import Verification

from ich_node import logs
from ich_node.errors import ConfigError
from ich_node.receive.intake import OUT_OF_RESOURCES, SUCCESS, Incoming, Intake, take
from ich_node.receive.policy import Rejection, judge
from ich_node.settings import Settings, Source
from ich_node.store.engine import Engine

_log = logs.get(__name__)

# Every transfer syntax whose pixels can be decoded here. A peer's own order decides among them.
DECODABLE = (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    JPEGLosslessSV1,
    JPEGLossless,
    JPEGLSLossless,
    JPEG2000Lossless,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    RLELossless,
    JPEGLSNearLossless,
    JPEG2000,
    HTJ2K,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
)
_MAXIMUM_PDU = 128 * 1024
_ACSE_TIMEOUT_S, _DIMSE_TIMEOUT_S, _NETWORK_TIMEOUT_S = 30.0, 60.0, 60.0


@dataclass
class _Peers:
    """Open associations: the source of each, and the series that it brought images of."""

    guard: threading.Lock = field(default_factory=threading.Lock)
    sources: dict[int, Source] = field(default_factory=dict)
    series: dict[int, set[str]] = field(default_factory=dict)

    def enter(self, association: int, source: Source) -> None:
        with self.guard:
            self.sources[association] = source
            self.series[association] = set()

    def brought(self, association: int, series_instance_uid: str) -> None:
        with self.guard:
            self.series[association].add(series_instance_uid)

    def leave(self, association: int) -> None:
        with self.guard:
            self.sources.pop(association, None)
            self.series.pop(association, None)


class Receiver:
    """A listening SCP. Made by `start_receiver`; its port answers as long as it lives."""

    def __init__(self, entity: AE, server: Any, peers: _Peers) -> None:  # noqa: ANN401
        self._entity = entity
        self._server = server
        self._peers = peers

    @property
    def port(self) -> int:
        """TCP port."""
        return int(self._server.server_address[1])

    def open_series(self) -> Mapping[str, int]:
        """Return how many open associations brought an image of each series."""
        with self._peers.guard:
            return Counter(uid for held in self._peers.series.values() for uid in held)

    def stop(self, timeout_s: float) -> None:
        """Accept no new association, let the open ones end for `timeout_s` seconds, then abort."""
        self._server.server_close()
        deadline = threading.Event()
        waited = 0.0
        while self._entity.active_associations and waited < timeout_s:
            deadline.wait(0.1)
            waited += 0.1
        self._entity.shutdown()


def start_receiver(settings: Settings, engine: Engine) -> Receiver:
    """Start to listen; returns when the port answers.

    Raises
    ------
    ConfigError
        The port or address cannot be had.
    """
    _config.UNRESTRICTED_STORAGE_SERVICE = True
    entity = AE(ae_title=settings.dicom.ae_title)
    entity.maximum_associations = settings.dicom.max_associations
    entity.maximum_pdu_size = _MAXIMUM_PDU
    entity.acse_timeout = _ACSE_TIMEOUT_S
    entity.dimse_timeout = _DIMSE_TIMEOUT_S
    entity.network_timeout = _NETWORK_TIMEOUT_S
    entity.add_supported_context(Verification)
    for context in AllStoragePresentationContexts:
        entity.add_supported_context(context.abstract_syntax, list(DECODABLE))
    peers = _Peers()
    intake = Intake(engine, settings)
    handlers = [
        (evt.EVT_REQUESTED, _on_requested, [settings, peers]),
        (evt.EVT_REJECTED, _on_rejected, [settings]),
        (evt.EVT_C_ECHO, _on_echo),
        (evt.EVT_C_STORE, _on_store, [intake, peers]),
        (evt.EVT_CONN_CLOSE, _on_close, [peers]),
    ]
    address = (settings.dicom.host, settings.dicom.port)
    try:
        server = entity.start_server(address, block=False, evt_handlers=handlers)
    except OSError as error:
        raise ConfigError(
            f"dicom.host = {address[0]!r}, dicom.port = {address[1]}: {error.strerror}; "
            "another program may hold the port"
        ) from error
    return Receiver(entity, server, peers)


def _on_requested(event: Any, settings: Settings, peers: _Peers) -> None:  # noqa: ANN401
    """Apply the policy before pynetdicom negotiates."""
    association = event.assoc
    request = association.requestor.primitive
    address = association.requestor.address
    verdict = judge(request.called_ae_title, request.calling_ae_title, address, settings)
    if isinstance(verdict, Rejection):
        _log.warning("association rejected", address=address, cause=verdict.cause)
        association.acse.send_reject(verdict.result, verdict.source, verdict.reason)
        association.kill()
        return
    peers.enter(id(association), verdict)
    for context in request.presentation_context_definition_list:
        # The unrestricted mode takes the first one offered: put forward what can be decoded.
        offered = context.transfer_syntax
        context.transfer_syntax = sorted(offered, key=lambda uid: uid not in DECODABLE)


def _on_rejected(event: Any, settings: Settings) -> None:  # noqa: ANN401
    """Pynetdicom itself rejects only above the limit of associations."""
    _log.warning(
        "association rejected",
        address=event.assoc.requestor.address,
        cause=f"more than dicom.max_associations = {settings.dicom.max_associations} are open",
    )


def _on_echo(_event: Any) -> int:  # noqa: ANN401
    return SUCCESS


def _on_store(event: Any, intake: Intake, peers: _Peers) -> int | Dataset:  # noqa: ANN401
    """Take one object; every error becomes a status, and none is a success."""
    association = id(event.assoc)
    request = event.request
    try:
        answer = take(
            intake,
            Incoming(
                sop_class_uid=str(request.AffectedSOPClassUID),
                sop_instance_uid=str(request.AffectedSOPInstanceUID),
                transfer_syntax_uid=str(event.context.transfer_syntax),
                data=request.DataSet.getvalue(),
                source=peers.sources[association],
                calling_ae=event.assoc.requestor.ae_title.strip(),
            ),
        )
    except Exception:  # disk or database: the peer keeps the object and sends it again
        _log.exception(
            "an object could not be stored", sop_instance_uid=request.AffectedSOPInstanceUID
        )
        return _status(OUT_OF_RESOURCES, "could not be stored; send it again")
    if answer.series_instance_uid is not None:
        peers.brought(association, answer.series_instance_uid)
    if answer.status == SUCCESS:
        return SUCCESS
    _log.warning(
        "object refused",
        status=f"{answer.status:04X}H",
        cause=answer.comment,
        sop_instance_uid=request.AffectedSOPInstanceUID,
        calling_ae=event.assoc.requestor.ae_title.strip(),
    )
    return _status(answer.status, answer.comment)


def _on_close(event: Any, peers: _Peers) -> None:  # noqa: ANN401
    peers.leave(id(event.assoc))


def _status(code: int, comment: str) -> Dataset:
    status = Dataset()
    status.Status = code
    status.ErrorComment = comment
    return status
