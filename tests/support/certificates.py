"""Certificates for tests, made by OpenSSL's own program."""

import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

PROGRAM = "/usr/bin/openssl"
_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


@dataclass(frozen=True)
class Certificate:
    """Files (PEM) of a certificate and its key."""

    cert: Path
    key: Path


def authority(folder: Path, name: str = "ca") -> Certificate:
    """Make a certificate that signs others."""
    return _make(folder, name, ["-addext", "basicConstraints=critical,CA:TRUE"])


def signed(folder: Path, name: str, by: Certificate, names: str = "DNS:localhost") -> Certificate:
    """Make a certificate for these names (subjectAltName)."""
    extra = ["-CA", str(by.cert), "-CAkey", str(by.key), "-days", "2"]
    return _make(folder, name, [*extra, "-addext", f"subjectAltName={names}"])


def expired(folder: Path, name: str, by: Certificate) -> Certificate:
    """Make a certificate that ended yesterday."""
    folder.mkdir(parents=True, exist_ok=True)
    made, request = Certificate(folder / f"{name}.pem", folder / f"{name}.key"), folder / "request"
    asked = [*_NEW_KEY, "-new", "-subj", f"/CN={name}", "-keyout", made.key, "-out", request]
    _run("req", *asked)
    authority = ["-CA", by.cert, "-CAkey", by.key, "-CAcreateserial"]
    _run("x509", "-req", "-in", request, *authority, "-days", "-1", "-out", made.cert)
    return made


def _make(folder: Path, name: str, extra: list[str]) -> Certificate:
    folder.mkdir(parents=True, exist_ok=True)
    made = Certificate(folder / f"{name}.pem", folder / f"{name}.key")
    names = ["-subj", f"/CN={name}", "-keyout", made.key, "-out", made.cert]
    _run("req", "-x509", *_NEW_KEY, *names, *extra)
    return made


def _run(*arguments: str | Path) -> None:
    subprocess.run([PROGRAM, *map(str, arguments)], check=True, capture_output=True)


def server_context(own: Certificate, clients: Certificate | None = None) -> ssl.SSLContext:
    """A PACS's side of TLS; with `clients` it asks for a certificate that this one signed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own.cert, own.key)
    if clients is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(clients.cert)
    return context
