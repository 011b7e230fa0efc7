"""What a self-test says."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """What came of a step."""

    PASSED = "passed"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True)
class Step:
    """One step: what came of it, what was found, seconds."""

    name: str
    outcome: Outcome
    text: str
    seconds: float


@dataclass(frozen=True)
class Report:
    """The whole self-test; where it failed, what to do and the last lines of the node's log."""

    passed: bool
    seconds: float
    steps: tuple[Step, ...]
    advice: str | None = None
    log_tail: tuple[str, ...] = ()
