"""Where audit messages go: a file, and a syslog server over TCP or TLS (RFC 5424, 5425, 6587)."""

from __future__ import annotations

import errno
import os
import select
import socket
import ssl
from collections.abc import Sequence
from pathlib import Path

from ich_node.audit.message import moment

# Facility 10 (security/authorization), severity 5 (notice): RFC 5424 6.2.1.
_PRIORITY = 10 * 8 + 5
_MESSAGE_ID = "DICOM+RFC3881"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"  # RFC 5424 6.4: what follows is UTF-8
_TIMEOUT_S = 15.0


def append(path: Path, lines: Sequence[str]) -> None:
    """Append lines to a file that its owner alone may read, and sync it.

    A line that a crash has cut is ended first: what follows begins its own. Without lines it is
    only seen whether it could be: whoever checks may be another user than the node.

    Raises
    ------
    OSError
        The disk, or the folder.
    """
    if not lines:
        there = next(one for one in (path, *path.absolute().parents) if one.exists())
        if not os.access(there, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(there))
        return
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with open(path, "a+b", opener=_private) as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            cut = file.read(1) != b"\n"
            file.write(b"\n" * cut)
        file.write("".join(f"{line}\n" for line in lines).encode())
        file.flush()
        os.fsync(file.fileno())


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def frame(at: float, host: str, text: str) -> bytes:
    """Return a syslog message (RFC 5424) in a frame that counts its octets (RFC 6587 3.4.1)."""
    name = "".join(c for c in host if "!" <= c <= "~")[:255] or "-"
    head = f"<{_PRIORITY}>1 {moment(at)} {name} ich-node {os.getpid()} {_MESSAGE_ID} - "
    message = head.encode() + _BYTE_ORDER_MARK + text.encode()
    return f"{len(message)} ".encode() + message


def send(host: str, port: int, frames: Sequence[bytes], tls: ssl.SSLContext | None) -> None:
    """Send frames in a connection of their own, and wait until the server has ended it too.

    Syslog answers nothing. A server that ends the connection after our end has read all of it;
    one that does not may have lost some, and gets all of it again.

    Raises
    ------
    OSError
        It is away, ends too early, or does not end the connection in time.
    """
    with socket.create_connection((host, port), _TIMEOUT_S) as plain:
        plain.settimeout(_TIMEOUT_S)
        if tls is None:
            plain.sendall(b"".join(frames))
            plain.shutdown(socket.SHUT_WR)
            _await_end(plain)
            return
        with tls.wrap_socket(plain, server_hostname=host) as secure:
            secure.sendall(b"".join(frames))
            _end_tls(secure)


def _await_end(connection: socket.socket) -> None:
    while connection.recv(4096):
        pass


def _end_tls(secure: ssl.SSLSocket) -> None:
    """Say that nothing more comes (close_notify, RFC 5425 4.4), and wait for the same."""
    ended = select.poll()
    ended.register(secure, select.POLLRDHUP)
    if ended.poll(0):  # its end came before ours: it cannot have read all
        raise ConnectionAbortedError("the server ended the connection before all was sent")
    try:
        plain = secure.unwrap()
    except ssl.SSLEOFError:
        return  # many servers end the connection without it
    plain.close()
