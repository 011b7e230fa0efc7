"""Peers that were refused, for the trail: bounded, however many knock.

The first of its kind within a minute is entered at once; others like it are counted, and entered as
one when the minute is over.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

from ich_node import logs
from ich_node.store import events
from ich_node.store.engine import DatabaseError, Engine

KIND = "association_rejected"
PERIOD_S = 60.0
# So many kinds of refused peers are told apart within a minute.
_KINDS = 32
_LONGEST_CAUSE = 200

_log = logs.get(__name__)


@dataclass(frozen=True)
class Stranger:
    """A refused peer: its address, the AE titles of its request where it came so far, and why."""

    address: str
    cause: str
    calling_ae: str = ""
    called_ae: str = ""


_OTHERS = Stranger("", f"more than {_KINDS} kinds of refused peers within {PERIOD_S:.0f} s")


@dataclass
class Strangers:
    """Those of the minute at hand, each with how many like it are not entered yet."""

    engine: Engine
    _counts: dict[Stranger, int] = field(default_factory=dict)
    _began: float = float("-inf")
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def refused(self, stranger: Stranger) -> None:
        """Enter a refused peer, or count it. Never raises: it is refused all the same."""
        self.look()
        with self._guard:
            full = stranger not in self._counts and len(self._counts) >= _KINDS
            kept = _OTHERS if full else stranger
            first = kept not in self._counts
            self._counts[kept] = self._counts.get(kept, 0) + (not first)
        if first:
            self._enter({kept: 1})

    def look(self, *, ending: bool = False) -> None:
        """Enter what was counted once the minute is over, or as the receiver ends."""
        now = time.monotonic()
        with self._guard:
            if not ending and now - self._began < PERIOD_S:
                return
            over, self._counts, self._began = self._counts, {}, now
        self._enter({stranger: number for stranger, number in over.items() if number})

    def _enter(self, counts: dict[Stranger, int]) -> None:
        for stranger, number in counts.items():
            cause = stranger.cause[:_LONGEST_CAUSE]
            text = f"{stranger.address or 'several peers'}: {cause}"
            text += f"; {number} times more" if number > 1 else ""
            data = {**vars(stranger), "cause": cause, "times": number}
            try:
                events.add(self.engine, KIND, text, data=data)
            except DatabaseError as error:
                _log.error("a refused peer cannot be noted", **logs.cause(error))
