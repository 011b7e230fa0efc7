"""What a process does every so often, beside its work."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

from ich_node import logs
from ich_node.errors import DAMAGED
from ich_node.pipeline.at_hand import AtHand
from ich_node.pipeline.pauses import doubling
from ich_node.store import mending
from ich_node.store.engine import is_damage

_log = logs.get(__name__)

# A duty that fails is tried again after its period, then twice as long each time, at most this, s:
# a disk that is full for hours does not fill the log.
AGAIN_S = 30.0


@dataclass
class Duty:
    """Something to do every so often, at once for the first time."""

    period_s: float
    do: Callable[[], object]
    due: float = 0.0
    failures: int = 0

    def look(self, now: float) -> None:
        """Do it if it is due at the monotonic time `now`, s; an error is for the next time."""
        if now < self.due:
            return
        self.due = now + self.period_s
        try:
            self.do()
            self.failures = 0
        except Exception as error:  # a database that is busy or full now may be well by then
            self.failures += 1
            self.due = now + doubling(self.failures, self.period_s, AGAIN_S)
            _log.error("a regular duty failed; tried again", **logs.cause(error))
            if is_damage(error):
                _log.error("the database is damaged or gone", do=mending.ADVICE)
                logging.shutdown()
                os._exit(DAMAGED)


def in_background(
    duties: Sequence[Duty],
    at_hand: AtHand | None = None,
    wake: threading.Event | None = None,
) -> None:
    """Do duties in a thread of their own, which ends with the process; `wake` makes all due.

    A database that another program holds, or that is away, makes them wait: that is no hanging, and
    the process goes on to tell that it lives. With `at_hand` there is a limit to it.
    """
    woken = wake or threading.Event()

    def work() -> None:
        while True:
            with at_hand.stage("duty", "the process itself") if at_hand else nullcontext():
                for duty in duties:
                    duty.look(time.monotonic())
            if woken.wait(max(0.0, min(duty.due for duty in duties) - time.monotonic())):
                woken.clear()
                for duty in duties:
                    duty.due = 0.0

    threading.Thread(target=work, name="duties", daemon=True).start()
