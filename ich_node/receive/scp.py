"""The storage SCP: thin handlers that turn an intake's answers and errors into DIMSE statuses.

pynetdicom's unrestricted storage mode is switched on for the process: a router that is refused one
object of an unknown or private class holds up whole studies. In that mode pynetdicom takes the
first transfer syntax offered for a context, so those that can be decoded are put first.
"""

from __future__ import annotations

import threading
import time
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
from ich_node.receive.intake import OUT_OF_RESOURCES, SUCCESS, Answer, Incoming, Intake, take
from ich_node.receive.policy import Rejection, cannot_judge, judge, too_many
from ich_node.settings import Settings, Source
from ich_node.store.engine import Engine
from ich_node.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

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
# pynetdicom counts connections that have asked for nothing yet; ours counts associations.
_NO_LIMIT = 1_000_000
# What an aborted association may take to finish the object in its hands.
_LAST_OBJECT_S = 5.0


@dataclass
class _Peer:
    """One open association: its source, and the series that it brought images of."""

    source: Source
    series: set[str] = field(default_factory=set)


@dataclass
class _Peers:
    """Open associations by pynetdicom's thread of each; a thread that died counts no more."""

    limit: int
    guard: threading.Lock = field(default_factory=threading.Lock)
    held: dict[threading.Thread, _Peer] = field(default_factory=dict)

    def enter(self, association: threading.Thread, source: Source) -> bool:
        """Take one in; False where the limit is reached."""
        with self.guard:
            self._forget_the_dead()
            if len(self.held) >= self.limit:
                return False
            self.held[association] = _Peer(source)
            return True

    def source(self, association: threading.Thread) -> Source:
        with self.guard:
            return self.held[association].source

    def brought(self, association: threading.Thread, series_instance_uid: str) -> None:
        with self.guard:
            self.held[association].series.add(series_instance_uid)

    def leave(self, association: threading.Thread) -> None:
        with self.guard:
            self.held.pop(association, None)

    def open_series(self) -> Mapping[str, int]:
        with self.guard:
            self._forget_the_dead()
            return Counter(uid for peer in self.held.values() for uid in peer.series)

    def wait(self, timeout_s: float) -> None:
        """Wait until all have ended, `timeout_s` seconds at most."""
        deadline = time.monotonic() + timeout_s
        with self.guard:
            held = list(self.held)
        for association in held:
            association.join(max(0.0, deadline - time.monotonic()))

    def _forget_the_dead(self) -> None:
        for association in [thread for thread in self.held if not thread.is_alive()]:
            del self.held[association]


class Receiver:
    """A listening SCP. Made by `start_receiver`; its port answers as long as it lives."""

    def __init__(self, entity: AE, server: Any, peers: _Peers, intake: Intake) -> None:  # noqa: ANN401
        self.intake = intake
        self._entity = entity
        self._server = server
        self._peers = peers
        self._stopped = False

    @property
    def port(self) -> int:
        """TCP port."""
        return int(self._server.server_address[1])

    def open_series(self) -> Mapping[str, int]:
        """Return how many open associations brought an image of each series."""
        return self._peers.open_series()

    def stop(self, timeout_s: float) -> None:
        """Accept no new association, let the open ones end for `timeout_s` seconds, then abort."""
        if self._stopped:
            return
        self._stopped = True
        self._server.shutdown()
        self._peers.wait(timeout_s)
        self._entity.shutdown()
        self._peers.wait(_LAST_OBJECT_S)


def start_receiver(settings: Settings, engine: Engine) -> Receiver:
    """Start to listen; returns when the port answers.

    Raises
    ------
    ConfigError
        The port or address cannot be had.
    """
    _config.UNRESTRICTED_STORAGE_SERVICE = True
    entity = AE(ae_title=settings.dicom.ae_title)
    entity.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    entity.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    entity.maximum_associations = _NO_LIMIT
    entity.maximum_pdu_size = _MAXIMUM_PDU
    entity.acse_timeout = _ACSE_TIMEOUT_S
    entity.dimse_timeout = _DIMSE_TIMEOUT_S
    entity.network_timeout = _NETWORK_TIMEOUT_S
    entity.add_supported_context(Verification)
    for context in AllStoragePresentationContexts:
        entity.add_supported_context(context.abstract_syntax, list(DECODABLE))
    peers = _Peers(settings.dicom.max_associations)
    intake = Intake(engine, settings)
    handlers = [
        (evt.EVT_REQUESTED, _on_requested, [settings, peers]),
        (evt.EVT_C_ECHO, _on_echo),
        (evt.EVT_C_STORE, _on_store, [intake, peers]),
        (evt.EVT_RELEASED, _on_released, [peers]),
    ]
    address = (settings.dicom.host, settings.dicom.port)
    try:
        server = entity.start_server(address, block=False, evt_handlers=handlers)
    except (OSError, ValueError) as error:  # ValueError: a host that is no name at all
        raise ConfigError(
            f"dicom.host = {address[0]!r}, dicom.port = {address[1]}: cannot listen there "
            f"({error}); expected an address of this machine and a port that no other program holds"
        ) from error
    return Receiver(entity, server, peers, intake)


def _on_requested(event: Any, settings: Settings, peers: _Peers) -> None:  # noqa: ANN401
    """Apply the policy before pynetdicom negotiates."""
    association = event.assoc
    request = association.requestor.primitive
    address = association.requestor.address
    try:
        verdict = judge(request.called_ae_title, request.calling_ae_title, address, settings)
    except Exception as error:  # pynetdicom would go on and accept
        verdict = cannot_judge(error)
    if isinstance(verdict, Source) and not peers.enter(association, verdict):
        verdict = too_many(peers.limit)
    if isinstance(verdict, Rejection):
        _log.warning("association rejected", address=address, cause=verdict.cause)
        association.acse.send_reject(verdict.result, verdict.source, verdict.reason)
        association.kill()
        return
    for context in request.presentation_context_definition_list:
        offered = context.transfer_syntax
        context.transfer_syntax = sorted(offered, key=lambda uid: uid not in DECODABLE)


def _on_echo(_event: Any) -> int:  # noqa: ANN401
    return SUCCESS


def _on_store(event: Any, intake: Intake, peers: _Peers) -> int | Dataset:  # noqa: ANN401
    """Take one object; every error becomes a status, and none is a success."""
    association, request = event.assoc, event.request
    try:
        answer = take(
            intake,
            Incoming(
                sop_class_uid=str(request.AffectedSOPClassUID),
                sop_instance_uid=str(request.AffectedSOPInstanceUID),
                transfer_syntax_uid=str(event.context.transfer_syntax),
                data=request.DataSet.getvalue() if request.DataSet else b"",
                source=peers.source(association),
                calling_ae=association.requestor.ae_title.strip(),
            ),
        )
        if answer.series_instance_uid is not None:
            peers.brought(association, answer.series_instance_uid)
    except Exception as error:  # disk or database: the peer keeps the object and sends it again
        answer = Answer(OUT_OF_RESOURCES, "could not be stored; send it again")
        _log.error("an object could not be stored", **logs.cause(error))
    if answer.status == SUCCESS:
        return SUCCESS
    _log.warning(
        "object refused",
        status=f"{answer.status:04X}H",
        cause=answer.comment,
        sop_instance_uid=str(request.AffectedSOPInstanceUID),
        calling_ae=association.requestor.ae_title.strip(),
    )
    return _status(answer.status, answer.comment)


def _on_released(event: Any, peers: _Peers) -> None:  # noqa: ANN401
    """Forget it now: its thread lives until the peer closes the connection, if it ever does."""
    peers.leave(event.assoc)


def _status(code: int, comment: str) -> Dataset:
    status = Dataset()
    status.Status = code
    status.ErrorComment = comment
    return status
