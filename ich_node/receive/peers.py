"""The open associations of a receiver: whose they are, and which series each brings.

A sender that has none finds a place even while another would take them all: of the places that are
left, one is kept for each source without any, up to a quarter of all places.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

_KEPT_SHARE = 4  # one in so many places


@dataclass(frozen=True)
class Peer:
    """An open association: the name of its source, and the series that it brought."""

    source: str
    brought: set[str] = field(default_factory=set)


@dataclass
class Peers:
    """Open associations, each known by its thread's identity.

    Parameters
    ----------
    limit
        How many there may be.
    sources
        Names of those who may have one.
    """

    limit: int
    sources: Collection[str]
    held: dict[int, Peer] = field(default_factory=dict)
    _heard: dict[str, float] = field(default_factory=dict)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def enter(self, source: str) -> str | None:
        """Take in the association of this thread; where it has no place, return why."""
        with self._changed:
            if len(self.held) >= self.limit:
                return f"dicom.max_associations = {self.limit} associations are open"
            places = Counter(peer.source for peer in self.held.values())
            if places[source] and len(self.held) + self._kept(places) >= self.limit:
                return (
                    f"{source!r} holds {places[source]} of dicom.max_associations = {self.limit}; "
                    "the last ones are kept for sources that have none"
                )
            self.held[threading.get_ident()] = Peer(source)
            return None

    def _kept(self, places: Mapping[str, int]) -> int:
        without = sum(not places[name] for name in self.sources)
        return min(without, self.limit // _KEPT_SHARE)

    def has(self, thread: int | None) -> bool:
        """Tell whether the thread of this identity holds an association."""
        with self._changed:
            return thread in self.held

    def brought(self, series_instance_uid: str) -> None:
        """Note that the association of this thread brought an image of a series, new or again."""
        with self._changed:
            self._heard[series_instance_uid] = time.monotonic()
            self.held[threading.get_ident()].brought.add(series_instance_uid)

    def leave(self) -> None:
        """Forget the association of this thread, if it is held still."""
        with self._changed:
            self.held.pop(threading.get_ident(), None)
            self._changed.notify_all()

    def open_series(self) -> Mapping[str, int]:
        """Return how many open associations brought an image of each series."""
        with self._changed:
            return Counter(uid for peer in self.held.values() for uid in peer.brought)

    def heard(self) -> Mapping[str, float]:
        """Return how long ago, s, an image of each series came since this was last asked."""
        with self._changed:
            heard, self._heard = self._heard, {}
        now = time.monotonic()
        return {uid: now - at for uid, at in heard.items()}

    def wait(self, timeout_s: float) -> None:
        """Wait until all have ended, `timeout_s` seconds at most."""
        with self._changed:
            self._changed.wait_for(lambda: not self.held, timeout_s)
