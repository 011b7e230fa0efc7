"""The notification protocol of systemd, sd_notify(3): a process tells whoever started it how it is.

`serve` listens to its processes by the same protocol, so that each speaks alike under either.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress

READY = "READY=1"
ALIVE = "WATCHDOG=1"
STOPPING = "STOPPING=1"


def notify(*lines: str) -> None:
    """Tell; silent where nobody asked to be told, or does not listen."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):  # an abstract socket, unix(7)
        address = f"\0{address[1:]}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as speaking, suppress(OSError):
        speaking.setblocking(False)  # a supervisor that hangs must not make us hang
        speaking.sendto("\n".join(lines).encode(), address)
