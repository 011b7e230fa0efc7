"""How a process of a node lives: until it is told to stop, and it tells meanwhile that it lives."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable
from typing import NoReturn

from ich_node import logs
from ich_node.notify import ALIVE, READY, STOPPING, notify
from ich_node.pipeline.at_hand import AtHand
from ich_node.pipeline.duties import Duty

_log = logs.get(__name__)

_LOOK_S = 0.25
_BEAT_S = 5.0


def leave() -> NoReturn:
    """End now, whatever other threads do: a job that outlasts the drain is taken up later."""
    logging.shutdown()
    os._exit(0)


def until_stopped(parent: int | None, at_hand: AtHand) -> None:
    """Wait for SIGTERM, SIGINT or the end of the parent, and tell meanwhile that we live.

    Nothing here may wait for anything else. When a stage at hand takes too long nothing is told any
    more: whoever watches ends us.
    """
    stopping = told_to_stop()
    notify(READY)
    beat = Duty(_BEAT_S, lambda: _beat(at_hand))
    while not stopping():
        beat.look(time.monotonic())
        time.sleep(_LOOK_S)
        if parent is not None and os.getppid() != parent:
            _log.warning("the supervisor is gone; stopping")
            return
    notify(STOPPING)


def _beat(at_hand: AtHand) -> None:
    overdue = at_hand.overdue(time.monotonic())
    if overdue is None:
        notify(ALIVE)
    else:
        _log.error("hanging; the supervisor will end this process", stage=overdue)


def told_to_stop() -> Callable[[], bool]:
    """Listen for SIGTERM and SIGINT; return what tells whether one has come.

    A plain list: an Event set in a handler can wait for ever for the lock of its own `wait`.
    """
    told: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda came, _frame: told.append(came))
    return lambda: bool(told)
