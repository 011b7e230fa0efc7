"""TLS towards destinations as BCP 195 (RFC 9325) asks: TLS 1.2 or later, the peer verified."""

from __future__ import annotations

import socket
import ssl

from ich_node.errors import ConfigError
from ich_node.settings import Destination, Tls

# Of TLS 1.2 what RFC 9325 4.2 recommends; TLS 1.3 has no others.
_CIPHERS = "ECDHE+AESGCM"


def client_context(tls: Tls) -> ssl.SSLContext:
    """Return how to speak TLS to destinations: their certificate is signed by `ca`, for their host.

    Raises
    ------
    ConfigError
        A file cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies the peer and its host name
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    try:
        context.load_verify_locations(cafile=tls.ca)
    except OSError as error:
        raise ConfigError(f"tls.ca = {tls.ca!r}: {_why(error)}; a PEM file is expected") from error
    if tls.cert:
        try:
            context.load_cert_chain(tls.cert, tls.key, password="")
        except OSError as error:
            raise ConfigError(
                f"tls.cert = {tls.cert!r}, tls.key = {tls.key!r}: {_why(error)}; PEM files without "
                "a passphrase that belong together are expected"
            ) from error
    return context


def fault(destination: Destination, context: ssl.SSLContext, timeout_s: float) -> str:
    """Say why there is no TLS connection, by trying once more; empty where there is one."""
    where = (destination.host, destination.port)
    try:
        with (
            socket.create_connection(where, timeout_s) as plain,
            context.wrap_socket(plain, server_hostname=destination.host),
        ):
            return ""
    except ssl.SSLCertVerificationError as error:
        return (
            f"its certificate is not accepted: {error.verify_message}; tls.ca must hold who signed "
            "it, and host must be a name in it"
        )
    except ssl.SSLError as error:
        reason = error.reason or type(error).__name__
        return f"TLS was not agreed ({reason}); does it speak TLS 1.2 or later on this port?"
    except OSError as error:
        return f"no way there: {_why(error)}"


def _why(error: OSError) -> str:
    return str(getattr(error, "reason", None) or error.strerror or type(error).__name__)
