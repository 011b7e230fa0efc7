"""What is known of a series at one moment, and what follows from it."""

from __future__ import annotations

from dataclasses import dataclass

from ich_node.complete.stack import Stack
from ich_node.records import Expected


@dataclass(frozen=True)
class Count:
    """How many instances the PACS has, and when it was asked, seconds since the epoch."""

    asked_at: float
    instances: int


@dataclass(frozen=True)
class SeriesSnapshot:
    """What is known of a series at one moment.

    Parameters
    ----------
    instances
        How many instances are stored.
    last_received
        When the last of them came, be it once more, seconds since the epoch.
    open_associations
        How many associations that brought an instance of the series are still open.
    longest_pause_s
        The longest time between two instances of the series, s.
    stack
        What their headers say.
    ends_outside
        Whether the lowest and the highest slice show no brain, and one between them does; None
        before a look at their pixels.
    counts
        What the PACS answered since the last image came, the first answer first.
    expected
        What lists of instances say, if any speaks of the series.
    """

    instances: int
    last_received: float
    open_associations: int
    longest_pause_s: float
    stack: Stack
    ends_outside: bool | None = None
    counts: tuple[Count, ...] = ()
    expected: Expected | None = None


@dataclass(frozen=True)
class Decision:
    """The series is complete; ``evidence`` says by what, in words for people."""

    evidence: str
