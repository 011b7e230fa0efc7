"""TLS as BCP 195 (RFC 9325) asks: TLS 1.2 or later, and who is there is verified."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ich_node import logs
from ich_node.errors import ConfigError
from ich_node.settings import Tls

_log = logs.get(__name__)

# Of TLS 1.2 what RFC 9325 4.2 recommends; TLS 1.3 has no others.
_CIPHERS = "ECDHE+AESGCM"


def client_context(tls: Tls) -> ssl.SSLContext:
    """Return how to speak TLS to destinations: their certificate is signed by `ca`, for their host.

    Raises
    ------
    ConfigError
        A file cannot be used.
    """
    context = _context(ssl.PROTOCOL_TLS_CLIENT)  # verifies the peer and its host name
    _trust(context, tls)
    if tls.cert:
        _show(context, tls)
    return context


def server_context(tls: Tls) -> ssl.SSLContext:
    """Return how senders speak TLS to us; with a `ca`, only with a certificate that it signed.

    Raises
    ------
    ConfigError
        A file cannot be used.
    """
    context = _context(ssl.PROTOCOL_TLS_SERVER)
    context.options |= ssl.OP_NO_RENEGOTIATION
    _show(context, tls)
    if tls.ca:
        context.verify_mode = ssl.CERT_REQUIRED
        _trust(context, tls)
    return context


def _context(protocol: int) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    return context


def _trust(context: ssl.SSLContext, tls: Tls) -> None:
    try:
        context.load_verify_locations(cafile=tls.ca)
    except OSError as error:
        raise ConfigError(f"tls.ca = {tls.ca!r}: {why(error)}; a PEM file is expected") from error


def _show(context: ssl.SSLContext, tls: Tls) -> None:
    try:
        context.load_cert_chain(tls.cert, tls.key, password="")
    except OSError as error:
        raise ConfigError(
            f"tls.cert = {tls.cert!r}, tls.key = {tls.key!r}: {why(error)}; PEM files without "
            "a passphrase that belong together are expected"
        ) from error


def why(error: OSError) -> str:
    """Return the reason of an error of TLS or of the system, in its own words."""
    reason = str(getattr(error, "reason", None) or error.strerror or type(error).__name__)
    wrong = getattr(error, "verify_message", "")  # with a certificate
    return f"{reason} ({wrong})" if wrong else reason


@dataclass
class Renewed:
    """A context that is made anew when one of its files has changed: certificates end.

    New files that cannot be used leave the old context in place, and that is logged once.
    """

    tls: Tls
    make: Callable[[Tls], ssl.SSLContext]
    _made: ssl.SSLContext = field(init=False)
    _seen: tuple[tuple[int, int], ...] = field(init=False)

    def __post_init__(self) -> None:
        self._seen = self._state()
        self._made = self.make(self.tls)

    def now(self) -> ssl.SSLContext:
        """Return the context of the files as they are now."""
        state = self._state()
        if state != self._seen:
            self._seen = state
            try:
                self._made = self.make(self.tls)
                _log.info("certificates read again", cert=self.tls.cert)
            except ConfigError as error:
                _log.error("new certificates cannot be used; the old ones stay", cause=str(error))
        return self._made

    def _state(self) -> tuple[tuple[int, int], ...]:
        files = [Path(name) for name in (self.tls.cert, self.tls.key, self.tls.ca) if name]
        found = [path.stat() for path in files if path.exists()]
        return tuple((each.st_mtime_ns, each.st_ino) for each in found)
