"""Pauses between attempts."""

from __future__ import annotations


def doubling(attempts: int, first_s: float, longest_s: float) -> float:
    """Seconds to wait after so many attempts (1 is the first): twice as long each time."""
    return min(first_s * 2.0 ** min(attempts - 1, 20), longest_s)
