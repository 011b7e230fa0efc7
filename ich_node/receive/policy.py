"""Who may associate: called AE title, calling AE title and address."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from ich_node.settings import Settings, Source


@dataclass(frozen=True)
class Rejection:
    """An A-ASSOCIATE-RJ (PS3.8 table 9-21) and the cause for the log."""

    result: int
    source: int
    reason: int
    cause: str


PERMANENT, TRANSIENT = 1, 2
BY_SERVICE_USER, BY_ACSE, BY_PRESENTATION = 1, 2, 3
NO_REASON, VERSION_NOT_SUPPORTED, LOCAL_LIMIT_EXCEEDED = 1, 2, 2
TEMPORARY_CONGESTION = 1
CALLING_AE_NOT_RECOGNISED, CALLED_AE_NOT_RECOGNISED = 3, 7


def judge(called: str, calling: str, address: str, settings: Settings) -> Source | Rejection:
    """Decide on an association request.

    Parameters
    ----------
    called, calling
        AE titles of the request; spaces around them do not count (PS3.5 6.2).
    address
        IP address of the peer.

    Returns
    -------
    Source or Rejection
        The configured source that the peer is, or why it is none.
    """
    ours = settings.dicom.ae_title
    if called.strip() != ours:
        return _refuse(
            CALLED_AE_NOT_RECOGNISED, f"called AE title {called.strip()!r} is not {ours!r}"
        )
    known = [source for source in settings.sources if source.ae_title == calling.strip()]
    if not known:
        return _refuse(
            CALLING_AE_NOT_RECOGNISED, f"calling AE title {calling.strip()!r} is in no [[sources]]"
        )
    peer = ipaddress.ip_address(address.removeprefix("::ffff:"))
    for source in known:
        if any(peer in network for network in source.networks):
            return source
    hosts = ", ".join(host for source in known for host in source.hosts)
    return _refuse(
        CALLING_AE_NOT_RECOGNISED,
        f"{calling.strip()!r} calls from {address}, which is not in its hosts ({hosts})",
    )


def too_many(cause: str) -> Rejection:
    """Return the rejection of one association more than may be: the peer tries again later."""
    return Rejection(TRANSIENT, BY_PRESENTATION, LOCAL_LIMIT_EXCEEDED, cause)


def no_room(min_free_gb: float) -> Rejection:
    """Return the rejection of one that would bring objects while there is no room for them."""
    cause = f"less than storage.min_free_gb = {min_free_gb:g} is free on the disk"
    return Rejection(TRANSIENT, BY_PRESENTATION, TEMPORARY_CONGESTION, cause)


def unsupported_version(version: int) -> Rejection:
    """Return the rejection of a protocol that is not version 1, bit 0 (PS3.8 9.3.2)."""
    cause = f"protocol version {version:04X}H is not 0001H"
    return Rejection(PERMANENT, BY_ACSE, VERSION_NOT_SUPPORTED, cause)


def too_short(maximum_pdu: int, shortest: int) -> Rejection:
    """Return the rejection of a peer that reads no PDU that could carry an answer."""
    cause = f"it reads PDUs of {maximum_pdu} bytes at most, expected 0 (any) or {shortest} and more"
    return Rejection(PERMANENT, BY_SERVICE_USER, NO_REASON, cause)


def cannot_judge(error: Exception) -> Rejection:
    """Return the rejection of a request that could not be judged: nobody slips in by a fault."""
    cause = f"the request could not be judged ({type(error).__name__})"
    return Rejection(TRANSIENT, BY_SERVICE_USER, NO_REASON, cause)


def _refuse(reason: int, cause: str) -> Rejection:
    return Rejection(PERMANENT, BY_SERVICE_USER, reason, cause)
