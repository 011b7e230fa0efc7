"""The open associations of a receiver: how many there are, and which series each brings."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass
class Peers:
    """Open associations, each known by its thread's identity, with the series that it brought."""

    limit: int
    held: dict[int, set[str]] = field(default_factory=dict)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def enter(self) -> bool:
        """Take in the association of this thread; False where the limit is reached."""
        with self._changed:
            if len(self.held) >= self.limit:
                return False
            self.held[threading.get_ident()] = set()
            return True

    def brought(self, series_instance_uid: str) -> None:
        """Note that the association of this thread brought an image of a series."""
        with self._changed:
            self.held[threading.get_ident()].add(series_instance_uid)

    def leave(self) -> None:
        """Forget the association of this thread, if it is held still."""
        with self._changed:
            self.held.pop(threading.get_ident(), None)
            self._changed.notify_all()

    def open_series(self) -> Mapping[str, int]:
        """Return how many open associations brought an image of each series."""
        with self._changed:
            return Counter(uid for brought in self.held.values() for uid in brought)

    def wait(self, timeout_s: float) -> None:
        """Wait until all have ended, `timeout_s` seconds at most."""
        with self._changed:
            self._changed.wait_for(lambda: not self.held, timeout_s)
