"""What is known of a series at one moment, and what follows from it."""

from __future__ import annotations

from dataclasses import dataclass

from ich_node.complete.stack import Stack


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
    longest_pause_s
        The longest time between two instances of the series, s.
    stack
        What their headers say.
    ends_outside
        Whether the lowest and the highest slice show no brain, and one between them does; None
        before a look at their pixels.
    """

    instances: int
    last_received: float
    open_associations: int
    longest_pause_s: float
    stack: Stack
    ends_outside: bool | None = None


@dataclass(frozen=True)
class Decision:
    """The series is complete; ``evidence`` says by what, in words for people."""

    evidence: str
