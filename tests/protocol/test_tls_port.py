"""Our own port with TLS: a common sender gets in, old TLS does not, certificates are renewed."""

import shutil
import socket
import ssl
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from ich_node.settings import Tls
from tests.support.certificates import Certificate, authority, signed
from tests.support.dcmtk import storescu
from tests.support.peers import Listening, listening
from tests.support.series import head_series, write
from tests.support.wire import associate_request, read_pdu

pytestmark = pytest.mark.openssl

REQUEST = associate_request(contexts=[(CTImageStorage, (ExplicitVRLittleEndian,))])
ACCEPTED = 0x02


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def node(tmp_path: Path, ca: Certificate) -> Iterator[Listening]:
    own = signed(tmp_path, "node", ca, "DNS:localhost,IP:127.0.0.1")
    trusted = shutil.copy(ca.cert, tmp_path / "trusted.pem")  # which a test may renew
    tls = Tls(enabled=True, cert=str(own.cert), key=str(own.key), ca=str(trusted))
    with listening(tmp_path, tls=tls) as started:
        yield started


def client(ca: Certificate, own: Certificate | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(ca.cert))
    if own is not None:
        context.load_cert_chain(own.cert, own.key)
    return context


def connect(node: Listening, context: ssl.SSLContext) -> ssl.SSLSocket:
    plain = socket.create_connection(("127.0.0.1", node.receiver.port), 10)
    return context.wrap_socket(plain, server_hostname="localhost")


def answer(node: Listening, context: ssl.SSLContext) -> bytes:
    with connect(node, context) as connection:
        connection.sendall(REQUEST)
        return read_pdu(connection)


@pytest.mark.dcmtk
def test_storescu_of_dcmtk_sends_an_image_by_tls(
    node: Listening, ca: Certificate, tmp_path: Path
) -> None:
    own = signed(tmp_path, "sender", ca)
    paths = write(head_series(1, 1), tmp_path / "ct")
    options = ["-R", "+tls", str(own.key), str(own.cert), "+cf", str(ca.cert)]
    done = storescu(node.receiver.port, paths, options=options)
    assert done.returncode == 0, done.stdout + done.stderr
    [stored] = node.files()
    assert stored.suffix == ".dcm"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_old_tls_is_refused(
    node: Listening, ca: Certificate, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    """By the node, with its alert: this client would speak it."""
    context = client(ca, signed(tmp_path, "sender", ca))
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    with pytest.raises(ssl.SSLError, match="ALERT_PROTOCOL_VERSION"):
        connect(node, context)


@pytest.mark.parametrize(
    "cipher", ["ECDHE-ECDSA-AES128-SHA256", "ECDHE-ECDSA-AES256-SHA", "ECDHE-ECDSA-AES128-CCM"]
)
def test_tls_1_2_is_refused_without_a_cipher_that_bcp_195_recommends(
    node: Listening, ca: Certificate, tmp_path: Path, cipher: str
) -> None:
    """RFC 9325 4.2: no CBC; the same client gets in with AES-GCM."""
    context = client(ca, signed(tmp_path, "sender", ca))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(f"{cipher}:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError, match="ALERT_HANDSHAKE_FAILURE"):
        connect(node, context)
    context.set_ciphers(f"{cipher}:ECDHE-ECDSA-AES128-GCM-SHA256")
    assert answer(node, context)[0] == ACCEPTED


def test_a_renewed_ca_decides_who_gets_in(node: Listening, ca: Certificate, tmp_path: Path) -> None:
    """From the next connection on, without a restart."""
    old = client(ca, signed(tmp_path, "sender", ca))
    other = authority(tmp_path / "other", "other")
    new = client(ca, signed(tmp_path / "new", "sender", other))
    assert answer(node, old)[0] == ACCEPTED
    with suppress(OSError):
        assert answer(node, new) == b""
    other.cert.replace(node.settings.tls.ca)
    assert answer(node, new)[0] == ACCEPTED
    with suppress(OSError):
        assert answer(node, old) == b""


def test_renewed_certificates_are_taken_up_and_broken_ones_are_not(
    node: Listening, ca: Certificate, tmp_path: Path
) -> None:
    context = client(ca, signed(tmp_path, "sender", ca))

    def serial() -> Any:
        with connect(node, context) as connection:
            connection.sendall(REQUEST)
            assert read_pdu(connection)[0] == ACCEPTED
            return (connection.getpeercert() or {})["serialNumber"]

    first = serial()
    renewed = signed(tmp_path / "renewed", "node", ca, "DNS:localhost,IP:127.0.0.1")
    renewed.key.replace(node.settings.tls.key)
    renewed.cert.replace(node.settings.tls.cert)
    second = serial()
    assert second != first
    Path(node.settings.tls.cert).write_text("no certificate")
    assert serial() == second


def test_an_association_in_hand_ends_without_a_plain_byte_when_the_node_stops(
    node: Listening, ca: Certificate, tmp_path: Path
) -> None:
    """OpenSSL may write nothing after the end of reading: then it ends without an A-ABORT."""
    with connect(node, client(ca, signed(tmp_path, "sender", ca))) as connection:
        connection.sendall(REQUEST)
        assert read_pdu(connection)[0] == ACCEPTED
        node.receiver.stop(0.0)
        with suppress(ssl.SSLError, ConnectionError):
            assert read_pdu(connection)[:1] in (b"", b"\x07")
