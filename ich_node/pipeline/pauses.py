"""Pauses between attempts."""

from __future__ import annotations

# After something that may pass, or a job that was lost, s.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 5.0, 600.0


def doubling(attempts: int, first_s: float, longest_s: float) -> float:
    """Seconds to wait after so many attempts (1 is the first): twice as long each time."""
    return min(first_s * 2.0 ** min(attempts - 1, 20), longest_s)


def pause_s(attempt: int) -> float:
    """Seconds before the next job after this one (the first is 1) came to nothing: doubling."""
    return doubling(attempt, _FIRST_PAUSE_S, _LONGEST_PAUSE_S)
