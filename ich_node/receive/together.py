"""Work that costs nearly as much for one as for many, such as a sync: done for many at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass
class _Waiting(Generic[T]):
    """An item and, once it is `done`, why its work failed, if it did."""

    item: T
    done: bool = False
    error: Exception | None = None


@dataclass
class Together(Generic[T]):
    """Does `work` on items of many threads; while one thread works, those of others gather.

    Parameters
    ----------
    work
        Does its part for each item; returns, item by item, why it failed, or None.
    """

    work: Callable[[Sequence[T]], Sequence[Exception | None]]
    _gathered: list[_Waiting[T]] = field(default_factory=list)
    _gathering: threading.Lock = field(default_factory=threading.Lock)
    _working: threading.Lock = field(default_factory=threading.Lock)

    def do(self, item: T) -> None:
        """Return when the work on an item is done.

        Raises
        ------
        Exception
            Why it failed for this item.
        """
        mine = _Waiting(item)
        with self._gathering:
            self._gathered.append(mine)
        with self._working:
            if not mine.done:  # else another thread, which worked meanwhile, took it along
                self._work()
        if mine.error is not None:
            raise mine.error

    def _work(self) -> None:
        with self._gathering:
            taken, self._gathered = self._gathered, []
        try:
            errors = self.work([waiting.item for waiting in taken])
        except Exception as all_failed:
            errors = [all_failed] * len(taken)
        for waiting, error in zip(taken, errors, strict=True):
            waiting.error, waiting.done = error, True
