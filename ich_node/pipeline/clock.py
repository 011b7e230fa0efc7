"""The system's clock held against one that nobody sets.

Whatever is waited for inside a process is waited for by the monotonic clock. What must outlast it,
such as the pause before the next attempt, stands in the database by the system's clock: when that
is set back, such a pause would grow by hours.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ich_node import logs
from ich_node.store import events
from ich_node.store import jobs as job_port
from ich_node.store.engine import Engine
from ich_node.store.jobs import Jobs

_log = logs.get(__name__)

PERIOD_S = 2.0
# The system moves its clock by less while it disciplines it, s.
_STEP_S = 2.0


@dataclass
class Steady:
    """Seconds since the epoch that only ever pass, from what the system said at the start.

    Parameters
    ----------
    wall, monotonic
        The system's clocks, s.
    """

    wall: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    _offset: float = field(init=False)

    def __post_init__(self) -> None:
        self._offset = self.wall() - self.monotonic()

    def now(self) -> float:
        """Return the time, epoch s."""
        return self.monotonic() + self._offset

    def ahead_s(self) -> float:
        """Return how far the system's clock is ahead, s: it was set since the start."""
        return self.wall() - self.now()


@dataclass
class SetBack:
    """Brings forward what waits when the clock is set back; a regular duty.

    Parameters
    ----------
    queues
        Names of the queues whose jobs are ours.
    """

    engine: Engine
    jobs: Jobs
    queues: Sequence[str]
    steady: Steady = field(default_factory=Steady)
    _ahead_s: float | None = None

    def look(self) -> float:
        """Look at the clock; return by how many seconds it was set (back: less than 0), or 0.

        The first look compares with the latest event: it may have been set while nobody looked.
        """
        ahead = self.steady.ahead_s()
        if self._ahead_s is None:
            moved = min(0.0, self.steady.wall() - events.latest(self.engine))
        else:
            moved = ahead - self._ahead_s
        if abs(moved) < _STEP_S:
            self._ahead_s = ahead if self._ahead_s is None else self._ahead_s
            return 0.0
        if moved < 0:
            job_port.bring_forward(self.jobs, self.queues, -moved)
        self._ahead_s = ahead
        _log.warning("the clock of the system was set", by_s=round(moved))
        return moved
