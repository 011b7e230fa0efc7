"""Group commit: rows that many threads enter at once go to the disk together."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from ich_node.store import instances
from ich_node.store.engine import Engine
from ich_node.store.instances import Entry


@dataclass
class _Waiting:
    """An entry and, once it is `done`, why it could not be made, if so."""

    entry: Entry
    done: bool = False
    error: Exception | None = None


@dataclass
class Entries:
    """Enters instances. While one thread commits, the entries of others gather for the next."""

    _gathered: list[_Waiting] = field(default_factory=list)
    _gathering: threading.Lock = field(default_factory=threading.Lock)
    _committing: threading.Lock = field(default_factory=threading.Lock)

    def add(self, engine: Engine, entry: Entry) -> None:
        """Enter an instance; returns when it is committed.

        Raises
        ------
        Exception
            Whatever the database raises; an entry of another thread is no cause.
        """
        mine = _Waiting(entry)
        with self._gathering:
            self._gathered.append(mine)
        with self._committing:
            if not mine.done:
                with self._gathering:
                    group, self._gathered = self._gathered, []
                self._commit(engine, group)
        if mine.error is not None:
            raise mine.error

    def _commit(self, engine: Engine, group: list[_Waiting]) -> None:
        try:
            instances.add_all(engine, [waiting.entry for waiting in group])
        except Exception as error:
            if len(group) == 1:
                group[0].error = error
            else:  # one of them may be at fault: let it fail alone
                for waiting in group:
                    self._commit(engine, [waiting])
        for waiting in group:
            waiting.done = True
