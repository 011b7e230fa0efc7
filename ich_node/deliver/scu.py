"""C-STORE out: one association, the objects in the order given, a verdict for each.

Nothing a peer does raises: it becomes the verdict, with what to do about it. pynetdicom's chunked
mode is switched on for the process: a file's bytes go out as they lie on disk, not decoded first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pydicom
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, _config, evt
from pynetdicom.sop_class import Verification

from ich_node.deliver import deadline
from ich_node.deliver.statuses import meaning, refuses_class
from ich_node.deliver.tls import fault
from ich_node.errors import ConfigError
from ich_node.records import Verdict
from ich_node.settings import Destination, Tls
from ich_node.tls import client_context
from ich_node.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

_CONNECT_S, _ACSE_S, _DIMSE_S, _NETWORK_S = 10.0, 30.0, 120.0, 120.0
# A slower way than this is none; it makes ten minutes of 60 MB.
_SLOWEST_BYTES_PER_S = 100_000
# All objects together; what did not go by then goes in another association. A delivery that takes
# an hour is taken for one that hangs.
_LONGEST_S = 2700.0


@dataclass(frozen=True)
class Outgoing:
    """One file to send."""

    kind: str
    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str


@dataclass(frozen=True)
class NoAssociation:
    """Why there is no association; not transient where none of the SOP classes is accepted."""

    text: str
    transient: bool


# What captures can stand for; a presentation state that is not taken leaves SEG and SR as they are.
SHOWN_BY_CAPTURES = frozenset({"seg", "seg-labelmap", "sr"})


def send(
    destination: Destination,
    calling_ae: str,
    objects: Sequence[tuple[str, Path]],
    instead: Sequence[tuple[str, Path]] = (),
    *,
    tls: Tls | None = None,
    begin: Callable[[Sequence[Outgoing]], None] = lambda _objects: None,
) -> list[Verdict]:
    """Send files to a destination by C-STORE in one association.

    A file goes out as it is; a peer that takes only Implicit VR Little Endian gets the same data
    set in that encoding. Every SOP class is proposed each time: what a peer takes may change.

    Parameters
    ----------
    destination
        Where to.
    calling_ae
        Our AE title.
    objects
        Kind (``seg``, ``sr``) and file of each, in the order to send.
    instead
        What goes, after these, where the SOP class of one of them is not accepted.
    tls
        Our certificate and whom to trust, for a destination with TLS.
    begin
        Called with the objects when there is an association, before the first of them goes; what
        it raises ends the association.

    Returns
    -------
    list of Verdict
        One for each object that went or should have gone, in the same order.

    Raises
    ------
    OSError, pydicom.errors.InvalidDicomError
        A file of ours cannot be read.
    """
    _config.STORE_SEND_CHUNKED_DATASET = True
    read = [_read(kind, path) for kind, path in objects]
    spare = [_read(kind, path) for kind, path in instead]
    entity = make_entity(calling_ae)
    _propose(entity, [*read, *spare])
    association = associate(entity, destination, tls=tls)
    if isinstance(association, NoAssociation):
        return _none_sent(association, read, spare)
    with deadline.within(association, _LONGEST_S):
        verdicts = _send_all(association, read, spare, begin)
    deadline.release(association)
    return verdicts


def _send_all(
    association: Any,  # noqa: ANN401
    read: Sequence[Outgoing],
    spare: Sequence[Outgoing],
    begin: Callable[[Sequence[Outgoing]], None],
) -> list[Verdict]:
    try:
        begin(read)
        verdicts = [_send_one(association, item) for item in read]
        if any(verdict.class_refused and verdict.kind in SHOWN_BY_CAPTURES for verdict in verdicts):
            verdicts += [_send_one(association, item) for item in spare]
        return verdicts
    except BaseException:  # a file or the database of ours: the peer must not wait for the rest
        deadline.abort(association)
        raise


def _none_sent(
    why: NoAssociation, read: Sequence[Outgoing], spare: Sequence[Outgoing]
) -> list[Verdict]:
    """Return the verdicts where there is no association; one that takes nothing takes no spare."""
    refused = not why.transient
    items = [*read, *spare] if refused else read
    return [_unsent(item, why.text, why.transient, class_refused=refused) for item in items]


def _propose(entity: AE, items: Sequence[Outgoing]) -> None:
    for sop_class, syntax in dict.fromkeys((o.sop_class_uid, o.transfer_syntax_uid) for o in items):
        entity.add_requested_context(sop_class, syntax)
        if syntax == ExplicitVRLittleEndian:
            entity.add_requested_context(sop_class, ImplicitVRLittleEndian)


def echo(destination: Destination, calling_ae: str, *, tls: Tls | None = None) -> tuple[bool, str]:
    """Ask a destination by C-ECHO whether it is there; say what it answered."""
    entity = make_entity(calling_ae)
    entity.add_requested_context(Verification)
    where = f"{destination.ae_title} at {destination.host}:{destination.port}"
    association = associate(entity, destination, tls=tls)
    if isinstance(association, NoAssociation):
        return False, f"{where}: {association.text}"
    try:
        with deadline.within(association, association.dimse_timeout):
            status = association.send_c_echo()
    except RuntimeError:  # it ended between the two
        return False, f"{where} ended the association before the C-ECHO"
    deadline.release(association)
    if "Status" not in status:
        return False, f"{where} did not answer the C-ECHO"
    if status.Status != 0:
        return False, f"{where} answered the C-ECHO with {status.Status:04X}H, expected 0000H"
    return True, f"{where} answers C-ECHO"


def make_entity(calling_ae: str) -> AE:
    """Return our side of associations that we ask for, with patience for a busy PACS."""
    entity = AE(ae_title=calling_ae)
    entity.connection_timeout = _CONNECT_S
    entity.acse_timeout = _ACSE_S
    entity.dimse_timeout = _DIMSE_S
    entity.network_timeout = _NETWORK_S
    entity.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    entity.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    return entity


def associate(
    entity: AE,
    destination: Destination,
    roles: Sequence[Any] = (),
    handlers: Sequence[Any] = (),
    tls: Tls | None = None,
) -> Any:  # noqa: ANN401
    """Return an established association, or a `NoAssociation` that says why there is none.

    `roles` are items of SCP/SCU role selection (PS3.7 D.3.3.4); `handlers` are pynetdicom's.
    """
    where = f"{destination.host}:{destination.port}"
    try:
        context = client_context(tls or Tls()) if destination.tls else None
        with ExitStack() as limits:
            own = [(evt.EVT_CONN_OPEN, _limit, [limits]), (evt.EVT_ABORTED, _wake)]
            association = entity.associate(
                destination.host,
                destination.port,
                ae_title=destination.ae_title,
                ext_neg=list(roles),
                evt_handlers=[*own, *handlers],
                tls_args=(context, destination.host) if context else None,
            )
    except (OSError, ValueError) as error:  # ValueError: a host that is no name at all
        return NoAssociation(f"no way to {where}: {error}", transient=True)
    except ConfigError as error:  # a file of [tls] that went or changed since the start
        return NoAssociation(str(error), transient=True)
    if association.is_established:
        return association
    found = _why_not(association, destination)
    if context is None or association.is_rejected or not found.transient:
        return found
    said = fault(destination, context, _CONNECT_S)
    if not said and not (tls and tls.cert):
        said = "it ended without an answer; it may ask for our certificate: tls.cert, tls.key"
    return replace(found, text=f"no association with {where}: {said}") if said else found


def _limit(event: Any, limits: ExitStack) -> None:  # noqa: ANN401
    """Let no read or write last longer than the network time-out, nor the negotiation its own.

    pynetdicom's would for ever. `limits` ends with the negotiation.
    """
    event.assoc.dul.socket.socket.settimeout(event.assoc.network_timeout)
    limits.enter_context(deadline.within(event.assoc, event.assoc.acse_timeout))


def _wake(event: Any) -> None:  # noqa: ANN401
    """Let a request that is sent while the association ends not wait for the DIMSE time-out."""
    event.assoc.dimse.msg_queue.put((None, None))


def _read(kind: str, path: Path) -> Outgoing:
    meta = pydicom.filereader.read_file_meta_info(path)
    return Outgoing(
        kind,
        path,
        str(meta.MediaStorageSOPClassUID),
        str(meta.MediaStorageSOPInstanceUID),
        str(meta.TransferSyntaxUID),
    )


def _why_not(association: Any, destination: Destination) -> NoAssociation:  # noqa: ANN401
    answer = association.acceptor.primitive
    if association.is_rejected:
        # Also one that calls itself permanent: it ends when somebody lets our AE title in there.
        return NoAssociation(
            f"association rejected by {destination.ae_title}: {answer.reason_str} "
            f"({answer.result_str}); check AE titles and hosts on both sides",
            transient=True,
        )
    if association.rejected_contexts:
        # pynetdicom itself aborts an association without a single accepted context
        text = f"{destination.ae_title} accepts none of the SOP classes that were offered"
        return NoAssociation(text, transient=False)
    where = f"{destination.host}:{destination.port}"
    return NoAssociation(
        f"no association with {where}: not reachable, or it ended without an answer",
        transient=True,
    )


def _send_one(association: Any, item: Outgoing) -> Verdict:  # noqa: ANN401
    if not association.is_established:
        return _unsent(item, "the association ended before this object", transient=True)
    accepted = {
        str(context.transfer_syntax[0])
        for context in association.accepted_contexts
        if context.abstract_syntax == item.sop_class_uid
    }
    if not accepted:
        name = pydicom.uid.UID(item.sop_class_uid).name
        text = f"the destination does not accept {name}"
        return _unsent(item, text, transient=False, class_refused=True)
    # pynetdicom counts from before the first byte, and a slow line has its time too.
    association.dimse_timeout = _DIMSE_S + item.path.stat().st_size / _SLOWEST_BYTES_PER_S
    try:
        with deadline.within(association, association.dimse_timeout):
            status = association.send_c_store(_payload(item, accepted))
    except RuntimeError:  # it ended between the two
        return _unsent(item, "the association ended before this object", transient=True)
    except (ValueError, AttributeError) as error:
        name = type(error).__name__
        return _unsent(item, f"cannot be encoded for this destination ({name})", transient=False)
    if "Status" not in status:
        # Over at once: until pynetdicom has seen it, the next object would wait for an answer.
        deadline.abort(association)
    return _judge(item, status)


def _payload(item: Outgoing, accepted: set[str]) -> Path | pydicom.FileDataset:
    """Return the file, or its data set for pynetdicom to encode as Implicit VR Little Endian."""
    if item.transfer_syntax_uid in accepted:
        return item.path
    return pydicom.dcmread(item.path)


def _judge(item: Outgoing, status: Any) -> Verdict:  # noqa: ANN401
    if "Status" not in status:
        return _unsent(item, "no answer: timed out or connection lost", transient=True)
    code = int(status.Status)
    found = meaning(code, str(status.get("ErrorComment") or ""))
    return Verdict(
        item.kind,
        item.sop_instance_uid,
        code,
        found.stored,
        found.transient,
        found.text,
        item.sop_class_uid,
        refuses_class(code),
    )


def _unsent(item: Outgoing, text: str, transient: bool, *, class_refused: bool = False) -> Verdict:
    return Verdict(
        item.kind,
        item.sop_instance_uid,
        None,
        False,
        transient,
        text,
        item.sop_class_uid,
        class_refused,
    )
