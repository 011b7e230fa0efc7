"""Asking a destination to prove that it holds what it stored.

By storage commitment as SCU (PS3.4 annex J), else by C-FIND of each instance (PS3.4 C.4.1).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pydicom
from pydicom import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import (
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
    StudyRootQueryRetrieveInformationModelFind,
)

from ich_node.deliver import deadline
from ich_node.deliver.query import QueryFailed, find
from ich_node.deliver.scu import NoAssociation, associate, make_entity
from ich_node.settings import Destination, Tls

# Those that answer at once do so in milliseconds; the others come back in their own time.
_REPORT_S = 3.0
# All questions in an association; a delivery that takes an hour is taken for one that hangs, and it
# may need two of these.
_LONGEST_S = 1500.0
_REQUEST_COMMITMENT = 1  # Action Type ID (PS3.4 table J.3-1)
# No such or another instance, class or action, not authorised, operation not known or mistyped
# (PS3.7 annex C): no other time will do. Whatever else refuses a request may pass.
_NOT_OFFERED = frozenset({0x0112, 0x0118, 0x0119, 0x0122, 0x0123, 0x0124, 0x0211, 0x0212})


@dataclass(frozen=True)
class Stored:
    """An object that a destination has answered with success."""

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    study_instance_uid: str


@dataclass(frozen=True)
class Look:
    """What one association brought.

    Parameters
    ----------
    fault
        Why nothing was learnt, where that may pass; else empty.
    asked
        Storage commitment was asked for; what is reported is told elsewhere.
    unanswered
        There was no answer to that; it may have been taken all the same.
    found
        What C-FIND found; None where it was not asked.
    lists_study
        It found none of the series, and another of the study: what it does not list is not there.
    text
        What was said, for the administrator.
    queried
        Series Instance UIDs that C-FIND was asked for, answered or not.
    """

    fault: str = ""
    asked: bool = False
    unanswered: bool = False
    found: frozenset[str] | None = None
    lists_study: bool = False
    text: str = ""
    queried: tuple[str, ...] = ()

    @property
    def nothing_offered(self) -> bool:
        """The destination has no way to prove anything."""
        return not (self.fault or self.asked) and self.found is None

    @property
    def silent(self) -> bool:
        """C-FIND listed nothing at all: of what is not listed to us, that says nothing."""
        return self.found is not None and not (self.found or self.lists_study)


@dataclass(frozen=True)
class Transaction:
    """How a transaction is entered before it is asked for, reported, and withdrawn."""

    begin: Callable[[], str]
    report: Callable[[int, Dataset], int]
    withdraw: Callable[[str], None]


def identify(path: Path) -> Stored:
    """Read what a request for proof says of an object.

    Raises
    ------
    OSError, pydicom.errors.InvalidDicomError
        The file cannot be read.
    """
    tags = ["SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"]
    header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=tags)
    return Stored(*(str(header[tag].value) for tag in tags))


def look(
    destination: Destination,
    calling_ae: str,
    objects: Sequence[Stored],
    transaction: Transaction,
    *,
    overdue: bool,
    tls: Tls | None = None,
) -> Look:
    """Ask a destination whether it holds objects.

    Storage commitment is asked for where it is offered. C-FIND is asked where it is not, or not
    taken (for now, or ever), or where an earlier request is `overdue`; never where the
    destination's `commitment` is ``require``.

    Returns
    -------
    Look
        Nothing that a peer does raises.
    """
    query, commitment = StudyRootQueryRetrieveInformationModelFind, StorageCommitmentPushModel

    def converse(*models: str) -> Look:
        entity = make_entity(calling_ae)
        for model in models:
            entity.add_requested_context(model)
        return _converse(entity, destination, objects, transaction, overdue, tls)

    if destination.commitment == "require":
        return converse(commitment)
    seen = converse(commitment, query)
    if seen.unanswered:  # some abort at a request from an AE title that they do not know
        listed = converse(query)
        return _with_found(seen, listed)
    return seen


def _converse(
    entity: AE,
    destination: Destination,
    objects: Sequence[Stored],
    transaction: Transaction,
    overdue: bool,
    tls: Tls | None,
) -> Look:
    """Ask what is offered in one association."""
    reported = threading.Event()

    def on_report(event: Any) -> tuple[int, None]:  # noqa: ANN401
        status = transaction.report(int(event.event_type), event.event_information)
        reported.set()
        return status, None

    handlers = [(evt.EVT_N_EVENT_REPORT, on_report)]
    association = associate(entity, destination, handlers=handlers, tls=tls)
    if isinstance(association, NoAssociation):
        return Look(fault=association.text) if association.transient else Look()
    offered = {context.abstract_syntax for context in association.accepted_contexts}
    try:
        with deadline.within(association, _LONGEST_S):
            return _ask(association, offered, objects, transaction, reported, overdue)
    except (RuntimeError, ValueError) as error:  # it ended between the two
        return Look(fault=f"the association ended too early ({type(error).__name__})")
    finally:
        deadline.release(association)


def _ask(
    association: Any,  # noqa: ANN401
    offered: set[str],
    objects: Sequence[Stored],
    transaction: Transaction,
    reported: threading.Event,
    overdue: bool,
) -> Look:
    queried = StudyRootQueryRetrieveInformationModelFind in offered
    wanted = {item.sop_instance_uid for item in objects}
    seen = Look()
    if overdue and queried:
        seen = _find(association, objects)
        if seen.found is not None and wanted <= seen.found:
            return seen
    if StorageCommitmentPushModel in offered:
        asked = _commit(association, objects, transaction)
        if asked.asked:
            reported.wait(_REPORT_S)
        if asked.asked or asked.unanswered or not queried or seen.found is not None:
            return _with_found(asked, seen)
        seen = _find(association, objects)
        return replace(seen, fault=seen.fault or asked.fault)
    return _find(association, objects) if queried and seen.found is None else seen


def _with_found(seen: Look, listed: Look) -> Look:
    """Return a look with what C-FIND brought in another."""
    return replace(seen, found=listed.found, lists_study=listed.lists_study, queried=listed.queried)


def _commit(
    association: Any,  # noqa: ANN401
    objects: Sequence[Stored],
    transaction: Transaction,
) -> Look:
    """N-ACTION, Request Storage Commitment (PS3.4 J.3.2)."""
    uid = transaction.begin()
    request = Dataset()
    request.TransactionUID = uid
    request.ReferencedSOPSequence = [_item(item) for item in objects]
    try:
        with deadline.within(association, association.dimse_timeout):
            status, _reply = association.send_n_action(
                request,
                _REQUEST_COMMITMENT,
                StorageCommitmentPushModel,
                StorageCommitmentPushModelInstance,
            )
    except (RuntimeError, ValueError):  # it did not go out: no report will come
        transaction.withdraw(uid)
        raise
    if "Status" not in status:
        text = "no answer to the request for storage commitment; does it know our AE title?"
        return Look(fault=text, unanswered=True)
    if status.Status != 0:
        transaction.withdraw(uid)
        text = f"storage commitment was refused with {status.Status:04X}H, expected 0000H"
        return Look(text=text, fault="" if status.Status in _NOT_OFFERED else text)
    return Look(asked=True, text="storage commitment was asked for")


def _item(stored: Stored) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = stored.sop_class_uid
    item.ReferencedSOPInstanceUID = stored.sop_instance_uid
    return item


def _find(association: Any, objects: Sequence[Stored]) -> Look:  # noqa: ANN401
    """C-FIND at IMAGE level: a series at a time, and what is not listed then by its own UID.

    Where nothing is, the series of the study tell whether it lists anything to us.
    """
    found: set[str] = set()
    lists_study = False
    asked_for = dict.fromkeys(
        (item.study_instance_uid, item.series_instance_uid) for item in objects
    )
    queried = tuple(series for _study, series in asked_for)
    try:
        for study, series in asked_for:
            found |= _listed(association, study, series, "")
        for item in objects:
            if item.sop_instance_uid not in found:
                found |= _listed(
                    association,
                    item.study_instance_uid,
                    item.series_instance_uid,
                    item.sop_instance_uid,
                )
        if not found:
            lists_study = _lists_others(association, objects)
    except QueryFailed as error:
        return Look(fault=str(error), queried=queried)
    text = "C-FIND was asked"
    return Look(found=frozenset(found), lists_study=lists_study, text=text, queried=queried)


def _lists_others(association: Any, objects: Sequence[Stored]) -> bool:  # noqa: ANN401
    """Tell whether series of the study are listed, and none of those of the objects."""
    series = {
        str(match.get("SeriesInstanceUID") or "")
        for study in {item.study_instance_uid for item in objects}
        for match in find(association, _identifier("SERIES", study, ""))
    }
    return bool(series - {""}) and not series & {item.series_instance_uid for item in objects}


def _listed(association: Any, study: str, series: str, instance: str) -> set[str]:  # noqa: ANN401
    identifier = _identifier("IMAGE", study, series)
    identifier.SOPInstanceUID = instance
    matches = find(association, identifier)
    return {str(match.get("SOPInstanceUID") or "") for match in matches} - {""}


def _identifier(level: str, study: str, series: str) -> Dataset:
    identifier = Dataset()
    identifier.QueryRetrieveLevel = level
    identifier.StudyInstanceUID = study
    identifier.SeriesInstanceUID = series
    return identifier
