"""The storage SCP: a listening port and a thread for each connection."""

from __future__ import annotations

import resource
import socket
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import partial

from ich_node import logs
from ich_node.errors import ConfigError
from ich_node.receive.association import Acceptor, hold
from ich_node.receive.intake import Intake
from ich_node.receive.peers import Peers
from ich_node.receive.strangers import Stranger, Strangers
from ich_node.settings import Settings
from ich_node.store.engine import Engine
from ich_node.tls import Renewed, server_context, why

_log = logs.get(__name__)

_BACKLOG = 128
# What an aborted association may take to finish the object in its hands.
_LAST_OBJECT_S = 5.0
_AGAIN_S = 0.2
_HANDSHAKE_S = 30.0
# Connections without an association: who means to ask for one does so in milliseconds.
_MOST_WAITING = 128


class Receiver:
    """A listening SCP, made by `start_receiver`.

    It has its TCP `port`, the `intake` behind it, and the `strangers` that it refused.
    """

    def __init__(
        self, listener: socket.socket, acceptor: Acceptor, secure: Renewed | None = None
    ) -> None:
        self._listener = listener
        self._secure = secure
        self.port = int(listener.getsockname()[1])
        self.intake = acceptor.intake
        self.strangers = acceptor.strangers
        self._acceptor = acceptor
        self._peers = acceptor.peers
        self._connections: dict[threading.Thread, socket.socket] = {}  # oldest first
        self._crowded = False
        self._guard = threading.Lock()
        self._stopped = threading.Event()
        self._accepting = threading.Thread(target=self._accept, name="accept", daemon=True)
        self._accepting.start()

    def open_series(self) -> Mapping[str, int]:
        """Return how many open associations brought an image of each series."""
        return self._peers.open_series()

    def heard(self) -> Mapping[str, float]:
        """Return how long ago, s, an image of each series came, new or again, since last asked."""
        return self._peers.heard()

    def stop(self, timeout_s: float) -> None:
        """Accept no new association, let the open ones end for `timeout_s` seconds, then abort."""
        if self._stopped.is_set():
            return
        self._stopped.set()
        self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self._accepting.join()
        self._listener.close()
        self._peers.wait(timeout_s)
        self._acceptor.stopping.set()
        with self._guard:
            for connection in self._connections.values():
                _shut(connection, socket.SHUT_RD)  # a thread that reads ends; it can write still
        self._peers.wait(_LAST_OBJECT_S)
        self.strangers.look(ending=True)

    def _accept(self) -> None:
        while not self._stopped.is_set():
            try:
                connection, address = self._listener.accept()
            except OSError as error:
                if not self._stopped.is_set():  # as many files are open as may be, for instance
                    _log.error("cannot accept a connection", **logs.cause(error))
                    time.sleep(_AGAIN_S)
                continue
            self._begin(connection, str(address[0]))

    def _begin(self, connection: socket.socket, address: str) -> None:
        serve = threading.Thread(
            target=partial(self._serve, connection, address), name="association", daemon=True
        )
        with self._guard:
            self._make_way()
            self._connections[serve] = connection
        try:
            serve.start()
        except RuntimeError as error:  # the system gives no thread
            _log.error("cannot serve a connection", **logs.cause(error))
            connection.close()
            with self._guard:
                del self._connections[serve]

    def _make_way(self) -> None:
        """End the oldest connection without an association where there are too many of them."""
        waiting = [one for one in self._connections if not self._peers.has(one.ident)]
        if len(waiting) < _MOST_WAITING:
            self._crowded &= len(waiting) > _MOST_WAITING // 2
            return
        if not self._crowded:  # one line for a flood
            self._crowded = True
            text = "too many connections ask for no association; the oldest ones are ended"
            _log.warning(text, connections=len(waiting))
        _shut(self._connections.pop(waiting[0]), socket.SHUT_RDWR)

    def _serve(self, connection: socket.socket, address: str) -> None:
        try:
            if self._secure is not None:
                connection = self._shaken(connection, self._secure)
            hold(self._acceptor, connection, address)
        except OSError as error:  # of the handshake
            cause = why(error)
            _log.warning("TLS was not agreed", address=address, cause=cause)
            self.strangers.refused(Stranger(address, f"TLS was not agreed: {cause}"))
        finally:
            with self._guard:
                self._connections.pop(threading.current_thread(), None)

    def _shaken(self, connection: socket.socket, secure: Renewed) -> socket.socket:
        """Return a connection in TLS.

        Raises
        ------
        OSError
            The peer speaks no TLS, or shows no certificate that we trust.
        """
        with connection:  # what is wrapped does not own it any more
            connection.settimeout(_HANDSHAKE_S)
            wrapped = secure.now().wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            )
        with self._guard:
            if threading.current_thread() in self._connections:
                self._connections[threading.current_thread()] = wrapped
        try:
            wrapped.do_handshake()
        except OSError:
            wrapped.close()
            raise
        return wrapped


def _shut(connection: socket.socket, how: int) -> None:
    """End the reading, or all, of another thread."""
    with suppress(OSError):  # it has ended by itself
        # Of the socket itself: that of TLS would go on in plain text.
        socket.socket.shutdown(connection, how)


def start_receiver(settings: Settings, engine: Engine) -> Receiver:
    """Start to listen; returns when the port answers.

    Raises
    ------
    ConfigError
        The port or address cannot be had, or a file of `[tls]` cannot be used.
    """
    secure = Renewed(settings.tls, server_context) if settings.tls.enabled else None
    host, port = settings.dicom.host, settings.dicom.port
    try:
        listener = _listen(host, port)
    except (OSError, ValueError) as error:  # ValueError: a host that is no name at all
        raise ConfigError(
            f"dicom.host = {host!r}, dicom.port = {port}: cannot listen there ({error}); expected "
            f"an address of this machine and a port that no other program holds"
        ) from error
    _allow_handles(settings.dicom.max_associations)
    peers = Peers(settings.dicom.max_associations, {source.name for source in settings.sources})
    intake = Intake(engine, settings)
    acceptor = Acceptor(settings, intake, peers, threading.Event(), Strangers(engine))
    return Receiver(listener, acceptor, secure)


def _allow_handles(associations: int) -> None:
    """Let this process open enough files, as far as the system lets it: often the limit is 1024."""
    needed = 4 * (associations + _MOST_WAITING)  # a connection, and a file and folder to sync
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if resource.RLIM_INFINITY != soft < needed:
        most = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _listen(host: str, port: int) -> socket.socket:
    family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    both = family == socket.AF_INET6 and socket.has_dualstack_ipv6()  # "::" is every address
    return socket.create_server((host, port), family=family, backlog=_BACKLOG, dualstack_ipv6=both)
