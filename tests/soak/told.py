"""What a run of an hour says meanwhile."""

from __future__ import annotations

import sys
import time

_EVERY_S = 60.0


class Told:
    """Says a line to stderr at most once a minute."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def say(self, line: str) -> None:
        """Say a line if a minute has gone by since the last one."""
        now = time.monotonic()
        if now - self._last >= _EVERY_S:
            self._last = now
            print(line, file=sys.stderr, flush=True)
