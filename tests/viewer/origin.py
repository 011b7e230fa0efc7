"""One origin for the browser: the viewer's files, its configuration, and DICOMweb behind it."""

from __future__ import annotations

import http.client
import mimetypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

_CONFIG = Path(__file__).with_name("app-config.js")
_PASSED_ON = ("/dicom-web", "/wado")
_DEADLINE_S = 120
# Of one connection, so never those of another.
_HOP_BY_HOP = ("connection", "keep-alive", "transfer-encoding", "content-length")


class _Handler(BaseHTTPRequestHandler):
    """Answers from ``dist``, the viewer as built, and from the server on ``dicomweb_port``."""

    protocol_version = "HTTP/1.1"
    dist: Path
    dicomweb_port: int

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        if path.startswith(_PASSED_ON):
            self._pass_on()
        elif path == "/app-config.js":
            self._send_file(_CONFIG)
        else:
            self._send_file(self._file(path))

    def do_POST(self) -> None:
        self.do_GET()

    def _file(self, path: str) -> Path:
        """Return the file of a path; every other path is a page of the viewer."""
        asked = (self.dist / path.lstrip("/")).resolve()
        inside = asked.is_file() and asked.is_relative_to(self.dist.resolve())
        return asked if inside else self.dist / "index.html"

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        # With the browser's Host: the addresses in the answer are built from it.
        headers = {k: v for k, v in self.headers.items() if k.lower() not in _HOP_BY_HOP}
        peer = http.client.HTTPConnection("127.0.0.1", self.dicomweb_port, timeout=_DEADLINE_S)
        try:
            peer.request(self.command, self.path, body or None, headers)
            got = peer.getresponse()
            self._send(got.status, got.getheaders(), got.read())
        finally:
            peer.close()

    def _send_file(self, path: Path) -> None:
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        self._send(200, [("Content-Type", kind)], path.read_bytes())

    def _send(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in _HOP_BY_HOP:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Stay silent: the driver tells which requests failed."""


@contextmanager
def origin(dist: Path, dicomweb_port: int) -> Iterator[str]:
    """Serve on a free loopback port; give the address.

    Parameters
    ----------
    dist
        The viewer as built.
    dicomweb_port
        Of the server that paths below ``/dicom-web`` and ``/wado`` are passed on to.
    """
    handler = type("Handler", (_Handler,), {"dist": dist, "dicomweb_port": dicomweb_port})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
