"""Completeness of a series: the evidence that decides, strongest first.

DICOM has no signal for the end of a series. Today's only evidence is that nothing has come for a
while; stronger kinds of evidence take their place before it in `EVIDENCE`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

# An association that brought images of the series and stays open asks for patience, but not for
# ever: routers keep one open for all they send, and a dead peer never releases.
OPEN_ASSOCIATION_PATIENCE = 4.0


@dataclass(frozen=True)
class SeriesSnapshot:
    """What is known of a series at one moment.

    Parameters
    ----------
    instances
        How many instances are stored.
    last_received
        When the last of them was stored, seconds since the epoch.
    open_associations
        How many associations that brought an instance of the series are still open.
    """

    instances: int
    last_received: float
    open_associations: int


@dataclass(frozen=True)
class Decision:
    """The series is complete; ``evidence`` says by what, in words for people."""

    evidence: str


Evidence = Callable[[SeriesSnapshot, float, float], Decision | None]


def decide(snapshot: SeriesSnapshot, now: float, quiet_seconds: float) -> Decision | None:
    """Return what makes a series complete, or None while it may still grow.

    Parameters
    ----------
    snapshot
        The series.
    now
        Seconds since the epoch.
    quiet_seconds
        How long nothing must have come; for this source or for all.
    """
    if snapshot.instances == 0:
        return None
    found = (evidence(snapshot, now, quiet_seconds) for evidence in EVIDENCE)
    return next((decision for decision in found if decision is not None), None)


def quiet(snapshot: SeriesSnapshot, now: float, quiet_seconds: float) -> Decision | None:
    """Nothing has come for the quiet time; for four times as long if the peer is still there."""
    elapsed = now - snapshot.last_received
    waiting = snapshot.open_associations > 0
    needed = quiet_seconds * (OPEN_ASSOCIATION_PATIENCE if waiting else 1.0)
    if elapsed < needed:
        return None
    peer = "association still open" if waiting else "association released"
    return Decision(f"quiet for {elapsed:.0f} s, {peer}, {snapshot.instances} instances")


EVIDENCE: tuple[Evidence, ...] = (quiet,)
