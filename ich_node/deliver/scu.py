"""C-STORE out: one association, the objects in the order given, a verdict for each.

Nothing a peer does raises: it becomes the verdict, with what to do about it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.sop_class import Verification

from ich_node.records import Verdict
from ich_node.settings import Destination

_CONNECT_S, _ACSE_S, _DIMSE_S, _NETWORK_S = 10.0, 30.0, 120.0, 120.0
# Stored, with a remark (PS3.4 table B.2-1).
_WARNINGS = frozenset({0xB000, 0xB006, 0xB007})
# SOP class not supported, not authorised: another attempt gives the same.
_PERMANENT = frozenset({0x0122, 0x0124, 0x0111, 0x0117, 0x0118, 0x0119})


@dataclass(frozen=True)
class _Object:
    """One file to send."""

    kind: str
    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str


def send(
    destination: Destination, calling_ae: str, objects: Sequence[tuple[str, Path]]
) -> list[Verdict]:
    """Send files to a destination by C-STORE in one association.

    A file goes out as it is; a peer that takes only Implicit VR Little Endian gets the same data
    set in that encoding.

    Parameters
    ----------
    destination
        Where to.
    calling_ae
        Our AE title.
    objects
        Kind (``seg``, ``sr``) and file of each, in the order to send.

    Returns
    -------
    list of Verdict
        One for each object, in the same order.
    """
    read = [_read(kind, path) for kind, path in objects]
    entity = _entity(calling_ae)
    for sop_class, syntax in dict.fromkeys((o.sop_class_uid, o.transfer_syntax_uid) for o in read):
        entity.add_requested_context(sop_class, syntax)
        if syntax == ExplicitVRLittleEndian:
            entity.add_requested_context(sop_class, ImplicitVRLittleEndian)
    association = entity.associate(
        destination.host, destination.port, ae_title=destination.ae_title
    )
    if not association.is_established:
        transient, text = _why_not(association, destination)
        return [_unsent(item, text, transient) for item in read]
    verdicts = [_send_one(association, item) for item in read]
    if association.is_established:
        association.release()
    return verdicts


def echo(destination: Destination, calling_ae: str) -> tuple[bool, str]:
    """Ask a destination by C-ECHO whether it is there; say what it answered."""
    entity = _entity(calling_ae)
    entity.add_requested_context(Verification)
    association = entity.associate(
        destination.host, destination.port, ae_title=destination.ae_title
    )
    where = f"{destination.ae_title} at {destination.host}:{destination.port}"
    if not association.is_established:
        return False, f"{where}: {_why_not(association, destination)[1]}"
    status = association.send_c_echo()
    if association.is_established:
        association.release()
    if "Status" not in status or status.Status != 0:
        return False, f"{where} did not answer the C-ECHO with success"
    return True, f"{where} answers C-ECHO"


def _entity(calling_ae: str) -> AE:
    entity = AE(ae_title=calling_ae)
    entity.connection_timeout = _CONNECT_S
    entity.acse_timeout = _ACSE_S
    entity.dimse_timeout = _DIMSE_S
    entity.network_timeout = _NETWORK_S
    return entity


def _read(kind: str, path: Path) -> _Object:
    meta = pydicom.filereader.read_file_meta_info(path)
    return _Object(
        kind,
        path,
        str(meta.MediaStorageSOPClassUID),
        str(meta.MediaStorageSOPInstanceUID),
        str(meta.TransferSyntaxUID),
    )


def _why_not(association: Any, destination: Destination) -> tuple[bool, str]:  # noqa: ANN401
    """Tell why there is no association: (transient, text)."""
    where = f"{destination.host}:{destination.port}"
    if association.is_rejected:
        answer = association.acceptor.primitive
        text = (
            f"association rejected by {destination.ae_title}: {answer.reason_str} "
            f"({answer.result_str}); check AE titles and hosts on both sides"
        )
        return answer.result == 2, text
    if association.is_aborted and association.acceptor.primitive is not None:
        answer = association.acceptor.primitive
        if answer.result == 0:  # accepted, but none of the contexts: pynetdicom aborts by itself
            return False, f"{destination.ae_title} accepts none of the objects' SOP classes"
    return True, f"no association with {where}: not reachable, or it ended without an answer"


def _send_one(association: Any, item: _Object) -> Verdict:  # noqa: ANN401
    if not association.is_established:
        return _unsent(item, "the association ended before this object", transient=True)
    accepted = {
        str(context.transfer_syntax[0])
        for context in association.accepted_contexts
        if context.abstract_syntax == item.sop_class_uid
    }
    if not accepted:
        name = pydicom.uid.UID(item.sop_class_uid).name
        return _unsent(item, f"the destination does not accept {name}", transient=False)
    try:
        status = association.send_c_store(_payload(item, accepted))
    except (ValueError, RuntimeError, AttributeError) as error:
        return _unsent(item, f"could not be sent: {error}", transient=True)
    return _judge(item, status)


def _payload(item: _Object, accepted: set[str]) -> Any:  # noqa: ANN401
    """Return the file as it is, or its data set for the encoding that the peer takes."""
    if item.transfer_syntax_uid in accepted:
        return item.path
    dataset = pydicom.dcmread(item.path)
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    return dataset


def _judge(item: _Object, status: Any) -> Verdict:  # noqa: ANN401
    """Read a C-STORE response (PS3.4 table B.2-1, PS3.7 annex C)."""
    if "Status" not in status:
        return _unsent(item, "no answer: timed out or connection lost", transient=True)
    code = int(status.Status)
    comment = str(status.get("ErrorComment", "") or "")
    text = f"{code:04X}H {comment}".strip()
    if code == 0 or code in _WARNINGS:
        return Verdict(item.kind, item.sop_instance_uid, code, True, False, f"stored ({text})")
    permanent = code in _PERMANENT or code >> 8 in range(0xA8, 0xB0) or code >> 12 == 0xC
    return Verdict(item.kind, item.sop_instance_uid, code, False, not permanent, f"refused, {text}")


def _unsent(item: _Object, text: str, transient: bool) -> Verdict:
    return Verdict(item.kind, item.sop_instance_uid, None, False, transient, text)
