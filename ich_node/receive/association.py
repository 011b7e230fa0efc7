"""One association, from the connection to its end: a thread that reads, stores and answers.

Where the code stands is the state of PS3.8 section 9.2: awaiting a request (Sta2), established
(Sta6), awaiting that the peer closes (Sta13).
"""

from __future__ import annotations

import socket
import threading
import time
import uuid
from dataclasses import dataclass, field
from functools import partial

from ich_node import logs
from ich_node.receive import command, contexts, pdu, services, spool
from ich_node.receive.intake import OUT_OF_RESOURCES, SUCCESS, Answer, Incoming, Intake, take
from ich_node.receive.peers import Peers
from ich_node.receive.policy import (
    Rejection,
    cannot_judge,
    judge,
    no_room,
    too_many,
    too_short,
    unsupported_version,
)
from ich_node.receive.strangers import Stranger, Strangers
from ich_node.receive.wire import (
    Broken,
    Gone,
    Message,
    Released,
    TooSlow,
    Unread,
    Wire,
    send,
    set_timeout,
)
from ich_node.records import Sender
from ich_node.settings import Settings, Source
from ich_node.states import AnnouncementState
from ich_node.store import commitments, transfers
from ich_node.store.engine import DatabaseError
from ich_node.tls import why

_log = logs.get(__name__)

_MAXIMUM_PDU = 128 * 1024
# What a connection may take to ask for an association, and to close after its end (ARTIM).
_ARTIM_S = 30.0
_NETWORK_TIMEOUT_S = 60.0
_NO_ROOM = Answer(OUT_OF_RESOURCES, "the disk has no room for an object of this size")
_LONGEST_REQUEST = 1 << 20  # all 128 contexts with every transfer syntax are less


@dataclass(frozen=True)
class Acceptor:
    """What all associations share. Once `stopping` is set, each is aborted when it can be."""

    settings: Settings
    intake: Intake
    peers: Peers
    stopping: threading.Event
    strangers: Strangers


@dataclass(frozen=True)
class _Association:
    """What was agreed with a peer; `syntaxes` by presentation context ID.

    `reported` holds the storage commitments that an N-EVENT-REPORT went out for, by its Message ID,
    until the peer has answered it.
    """

    calling_ae: str
    source: Source
    syntaxes: dict[int, str]
    maximum_pdu: int
    sender: Sender
    reported: dict[int, str] = field(default_factory=dict)


def hold(acceptor: Acceptor, connection: socket.socket, address: str) -> None:
    """Serve a connection from `address` until it ends, and close it."""
    with connection:
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            _converse(acceptor, connection, address)
            _await_close(connection)
        except (Gone, Unread, OSError):
            pass  # the log has its line, and nobody is left who could be told
        except Exception as error:
            _log.error("an association ended by a fault", address=address, **logs.cause(error))


def _converse(acceptor: Acceptor, connection: socket.socket, address: str) -> None:
    try:
        request = _read_request(connection)
    except (Broken, pdu.Malformed):
        cause = "what came is no A-ASSOCIATE-RQ"
        _log.warning("no association was asked for", address=address, cause=cause)
        send(connection, pdu.abort(pdu.BY_USER))  # PS3.8 table 9-10, AA-1
        return
    except (Gone, OSError) as error:
        _log.info("no association was asked for", address=address, cause=_end_of(error, _ARTIM_S))
        raise
    verdict = _judge(acceptor, request, address)
    if isinstance(verdict, Rejection):
        _log.warning("association rejected", address=address, cause=verdict.cause)
        send(connection, pdu.reject(verdict.result, verdict.source, verdict.reason))
        titles = (request.calling_ae.strip(), request.called_ae.strip())
        acceptor.strangers.refused(Stranger(address, verdict.cause, *titles))
        return
    sender = Sender(uuid.uuid4().hex, request.calling_ae.strip(), address, verdict.name)
    try:
        _establish(acceptor, connection, request, verdict, sender)
    finally:
        acceptor.peers.leave()
        _note_end(acceptor, sender)


def _note_end(acceptor: Acceptor, sender: Sender) -> None:
    """Enter in the trail what came; where that fails the next start of the receiver does."""
    try:
        transfers.end(acceptor.intake.engine, sender.association)
    except DatabaseError as error:
        _log.error("what an association brought is not noted yet", **logs.cause(error))


def _read_request(connection: socket.socket) -> pdu.Request:
    """Read the A-ASSOCIATE-RQ.

    Raises
    ------
    Broken, pdu.Malformed
        Something else came.
    Gone, OSError
        The connection ended, or the time is over.
    """
    deadline = time.monotonic() + _ARTIM_S
    head = _read_until(connection, pdu.HEAD.size, deadline)
    kind, length = pdu.HEAD.unpack(head)
    if kind == pdu.A_ABORT:
        raise Gone
    if kind != pdu.A_ASSOCIATE_RQ or length > _LONGEST_REQUEST:
        raise Broken(pdu.UNEXPECTED_PDU)
    return pdu.decode_request(_read_until(connection, length, deadline))


def _read_until(connection: socket.socket, count: int, deadline: float) -> bytes:
    found = b""
    while len(found) < count:
        connection.settimeout(max(0.001, deadline - time.monotonic()))
        piece = connection.recv(count - len(found))
        if not piece:
            raise Gone
        found += piece
    return found


def _judge(acceptor: Acceptor, request: pdu.Request, address: str) -> Source | Rejection:
    """Apply the policy; a source that is let in has its place among the peers."""
    if not request.protocol_version & 1:
        return unsupported_version(request.protocol_version)
    if 0 < request.maximum_pdu < pdu.SHORTEST_MAXIMUM:
        return too_short(request.maximum_pdu, pdu.SHORTEST_MAXIMUM)
    try:
        verdict = judge(request.called_ae, request.calling_ae, address, acceptor.settings)
        if isinstance(verdict, Source) and _lacks_room(acceptor, request):
            return no_room(acceptor.settings.storage.min_free_gb)
    except Exception as error:  # nobody is let in by a fault
        return cannot_judge(error)
    if isinstance(verdict, Source):
        full = acceptor.peers.enter(verdict.name)
        return verdict if full is None else too_many(full)
    return verdict


def _lacks_room(acceptor: Acceptor, request: pdu.Request) -> bool:
    """Who brings no objects is let in all the same: a PACS reports what it holds, a sender echoes.

    What comes in an association that is open already is answered with A700H.
    """
    return contexts.brings_objects(request.contexts) and not acceptor.intake.room.holds(0)


def _establish(
    acceptor: Acceptor,
    connection: socket.socket,
    request: pdu.Request,
    source: Source,
    sender: Sender,
) -> None:
    """Accept, and answer requests until the association ends."""
    decisions = contexts.decide(request.contexts)
    syntaxes = {one.context_id: one.transfer_syntax for one in decisions if one.result == 0}
    association = _Association(request.calling_ae, source, syntaxes, request.maximum_pdu, sender)
    set_timeout(connection, _NETWORK_TIMEOUT_S)
    data_dir = acceptor.settings.storage.data_dir
    scratch = partial(spool.scratch, data_dir, acceptor.intake.room)
    wire = Wire(connection, syntaxes, scratch)
    try:
        send(connection, pdu.accept(request, decisions, _MAXIMUM_PDU, {services.COMMITMENT}))
        _answer_all(acceptor, connection, association, wire)
    except Released:
        acceptor.peers.leave()  # a peer that comes again at once finds its place free
        send(connection, pdu.release())
    except (Broken, Gone, TooSlow, Unread, OSError) as error:
        if not acceptor.stopping.is_set():  # else the process would end before the peer is told
            acceptor.peers.leave()  # one that does not read must not keep its place meanwhile
        cause, answer = _judge_end(acceptor, wire, error)
        _log.warning("association aborted", calling_ae=request.calling_ae, cause=cause)
        if not answer:
            raise
        send(connection, answer)


def _judge_end(acceptor: Acceptor, wire: Wire, error: Exception) -> tuple[str, bytes]:
    """Return why an association ends that was not released, and what its peer is told."""
    if isinstance(error, Gone) and acceptor.stopping.is_set():
        return "this node stops", pdu.abort(pdu.BY_USER)
    within = " in the middle of a message" if wire.within_message else ""
    cause = _end_of(error, _NETWORK_TIMEOUT_S) + within
    if isinstance(error, Broken):
        return cause, pdu.abort(pdu.BY_PROVIDER, error.reason)
    heard = isinstance(error, TooSlow | BlockingIOError | TimeoutError)
    return cause, pdu.abort(pdu.BY_USER) if heard else b""


def _end_of(error: Exception, patience_s: float) -> str:
    """Say how a connection ended."""
    if isinstance(error, Broken):
        return f"what came breaks the upper layer protocol (A-ABORT, reason {error.reason})"
    if isinstance(error, BlockingIOError | TimeoutError):
        return f"nothing came for {patience_s:.0f} s"
    if isinstance(error, OSError):
        return f"the connection broke ({why(error)})"
    return str(error) or "the peer ended it"


def _answer_all(
    acceptor: Acceptor, connection: socket.socket, association: _Association, wire: Wire
) -> None:
    try:
        while not acceptor.stopping.is_set():
            send(connection, _answer(acceptor, association, wire.read_message()))
    finally:
        if association.reported:  # nobody has confirmed these: they go out again, by the deliverer
            uids = list(association.reported.values())
            commitments.settle(acceptor.intake.engine, uids, AnnouncementState.OWED)
    raise Gone


def _answer(acceptor: Acceptor, association: _Association, message: Message) -> bytes:
    """Return the PDUs that answer a request; none for one that wants none.

    Raises
    ------
    Broken
        It is no request, and answers none of ours.
    """
    try:
        kind = command.number(message.command, command.COMMAND_FIELD)
        if kind == command.C_CANCEL_RQ:
            return b""  # what could be cancelled is done already
        if kind == command.N_EVENT_REPORT_RQ | command.RESPONSE:
            return _confirm(acceptor, association, message)
        if kind & command.RESPONSE:
            raise Broken(pdu.UNEXPECTED_PDU)
        if kind in services.REQUESTS:
            return _serve(acceptor, association, message)
        if kind == command.C_STORE_RQ:
            done = _store(acceptor, association, message)
            return _respond(association, message, done.status, done.comment)
        known = kind == command.C_ECHO_RQ
        return _respond(association, message, SUCCESS if known else command.UNRECOGNISED_OPERATION)
    except command.Unreadable as error:
        raise Broken(pdu.INVALID_PARAMETER) from error


def _respond(association: _Association, message: Message, status: int, comment: str = "") -> bytes:
    answer = command.respond(message.command, status, comment)
    return pdu.command(message.context_id, answer, association.maximum_pdu)


def _serve(acceptor: Acceptor, association: _Association, message: Message) -> bytes:
    """Answer a request of another service; a storage commitment by its report too."""
    engine, syntax = acceptor.intake.engine, association.syntaxes[message.context_id]
    try:
        served = services.serve(engine, message, syntax, association.calling_ae)
        if served.status == services.RESOURCE_LIMITATION:
            _log.warning("a list of instances is too long", calling_ae=association.calling_ae)
        if served.owes is None:
            return _respond(association, message, served.status)
        truth = commitments.commitment(engine, served.owes)
    except command.Unreadable:
        raise
    except Exception as error:  # the database: the peer asks again
        _log.error("a request could not be served", **logs.cause(error))
        return _respond(association, message, services.PROCESSING_FAILURE)
    message_id = max(association.reported, default=0) % 0xFFFF + 1
    association.reported[message_id] = truth.uid
    report, information = services.report(truth, syntax, message_id)
    return _respond(association, message, served.status) + pdu.message(
        message.context_id, report, information, association.maximum_pdu
    )


def _confirm(acceptor: Acceptor, association: _Association, message: Message) -> bytes:
    """Note what the peer made of a report; one that it could not take now goes out again.

    Raises
    ------
    Broken
        This answers no report of ours.
    """
    uid = association.reported.pop(command.number(message.command, command.RESPONDED_TO), None)
    if uid is None:
        raise Broken(pdu.UNEXPECTED_PDU)
    state = commitments.after_report(command.number(message.command, command.STATUS))
    commitments.settle(acceptor.intake.engine, [uid], state)
    return b""


def _store(acceptor: Acceptor, association: _Association, message: Message) -> Answer:
    """Take one object; every error becomes a status, and none is a success."""
    sop_instance_uid = command.uid(message.command, command.AFFECTED_SOP_INSTANCE)
    incoming = Incoming(
        sop_class_uid=command.uid(message.command, command.AFFECTED_SOP_CLASS),
        sop_instance_uid=sop_instance_uid,
        transfer_syntax_uid=association.syntaxes[message.context_id],
        data=message.data,
        source=association.source,
        calling_ae=association.calling_ae,
        sender=association.sender,
    )
    try:
        answer = take(acceptor.intake, incoming) if message.fits else _NO_ROOM
        if answer.series_instance_uid is not None:
            acceptor.peers.brought(answer.series_instance_uid)
    except Exception as error:  # disk or database: the peer keeps the object and sends it again
        answer = Answer(OUT_OF_RESOURCES, "could not be stored; send it again")
        _log.error("an object could not be stored", **logs.cause(error))
    if answer.status != SUCCESS:
        _log.warning(
            "object refused",
            status=f"{answer.status:04X}H",
            cause=answer.comment,
            # A peer may write anything there, a name too.
            sop_instance_uid=sop_instance_uid if spool.is_uid(sop_instance_uid) else "no UID",
            calling_ae=association.calling_ae,
        )
    return answer


def _await_close(connection: socket.socket) -> None:
    """Read on, without looking, until the peer closes: closing first could lose our last PDU."""
    deadline = time.monotonic() + _ARTIM_S
    while time.monotonic() < deadline:
        connection.settimeout(max(0.001, deadline - time.monotonic()))
        if not connection.recv(1 << 16):
            return
