"""Why a destination does not speak TLS with us."""

from __future__ import annotations

import socket
import ssl

from ich_node.settings import Destination
from ich_node.tls import why


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
        return f"no way there: {why(error)}"
