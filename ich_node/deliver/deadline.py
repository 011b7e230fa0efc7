"""An end to every conversation: a peer that keeps a connection busy keeps nobody waiting.

pynetdicom limits each read of a connection, not what is read: an answer that comes byte by byte
would hold the connection, and whoever waits for its end, for ever.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

# pynetdicom's own time-outs come first: what its A-ABORT may take to go out.
_LEAVE_S = 5.0


@contextmanager
def within(association: Any, seconds: float) -> Iterator[None]:  # noqa: ANN401
    """Shut the connection if what is done here is not done by then, or soon after.

    To pynetdicom the peer then has closed it: whoever waits goes on.

    Parameters
    ----------
    seconds
        What an honest peer may take.
    """
    timer = threading.Timer(seconds + _LEAVE_S, _shut, [association])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _shut(association: Any) -> None:  # noqa: ANN401
    transport = association.dul.socket
    connection = transport.socket if transport is not None else None
    if connection is not None:
        with suppress(OSError):  # it has ended by itself
            # Of the socket itself: that of TLS would go on in plain text.
            socket.socket.shutdown(connection, socket.SHUT_RDWR)


def release(association: Any) -> None:  # noqa: ANN401
    """Release an association, if it is still there."""
    if association.is_established:
        with within(association, association.acse_timeout):
            association.release()


def abort(association: Any) -> None:  # noqa: ANN401
    """Abort an association; returns when it has ended."""
    with within(association, 0.0):
        association.abort()
