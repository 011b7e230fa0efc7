"""A bell between the processes of one node: one rings when work comes, the others look alive.

It carries nothing and loses nothing: who misses it finds the work in the database, only later.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

# Long enough for a sender's next image, and for the next stage of what is under way.
HEARD_FOR_S = 30.0


@dataclass
class Bell:
    """A file that is touched to ring; a look at its time costs next to nothing."""

    path: Path
    stamp: int = 0
    heard: float = float("-inf")

    def ring(self) -> None:
        """Tell the other processes that there is work in sight."""
        self.path.touch()

    def rung_lately(self, now: float) -> bool:
        """Tell whether it has rung within `HEARD_FOR_S` before the monotonic time `now`, s."""
        stamp = self.path.stat().st_mtime_ns if self.path.exists() else 0
        if stamp != self.stamp:
            self.stamp, self.heard = stamp, now
        return now - self.heard < HEARD_FOR_S
