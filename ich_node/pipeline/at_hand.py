"""What a process works at now, and whether it has worked at it for too long."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

# Many times what the slowest series takes on a small machine; beyond that it hangs.
LIMITS_S: Mapping[str, float] = {
    "assemble": 600.0,
    "infer": 1800.0,
    "report": 600.0,
    "close": 600.0,
    "send": 3600.0,
    "duty": 900.0,  # a regular one, of the process itself
}


@dataclass(frozen=True)
class _Stage:
    name: str
    about: str
    began: float


@dataclass
class AtHand:
    """The stages and jobs of this process; a thread has one of each at a time.

    Parameters
    ----------
    limits_s
        How long a stage may take, s.
    """

    limits_s: Mapping[str, float] = field(default_factory=lambda: LIMITS_S)
    stages: dict[int, _Stage] = field(default_factory=dict)
    jobs: set[str] = field(default_factory=set)

    @contextmanager
    def stage(self, name: str, about: str) -> Iterator[None]:
        """Work at a stage of a revision; `about` names it in messages."""
        thread = threading.get_ident()
        self.stages[thread] = _Stage(name, about, time.monotonic())
        try:
            yield
        finally:
            del self.stages[thread]

    @contextmanager
    def job(self, job_id: str) -> Iterator[None]:
        """Work at a job of the engine."""
        self.jobs.add(job_id)
        try:
            yield
        finally:
            self.jobs.discard(job_id)

    def overdue(self, now: float) -> str | None:
        """Name a stage that is past its limit at the monotonic time `now`, s, if any is."""
        for stage in list(self.stages.values()):
            limit = self.limits_s[stage.name]
            if now - stage.began > limit:
                return f"stage {stage.name!r} of {stage.about} takes longer than {limit:.0f} s"
        return None
