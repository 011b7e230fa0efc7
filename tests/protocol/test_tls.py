"""Destinations that speak TLS only: whom we trust, who we are, and what is said when it fails."""

import shutil
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest

from deploy.demo.running import free_port, wait_for
from ich_node.deliver.scu import echo, send
from ich_node.errors import ConfigError
from ich_node.settings import Destination, Tls
from ich_node.states import DeliveryState
from ich_node.tls import client_context
from tests.support.archive import archive
from tests.support.certificates import Certificate, authority, server_context, signed
from tests.support.delivering import Site
from tests.support.peers import data_of

pytestmark = pytest.mark.openssl


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def pacs_cert(ca: Certificate, tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return signed(tmp_path_factory.mktemp("pacs"), "pacs", ca)


def pacs_at(port: int, **values: Any) -> Destination:
    known = {"name": "pacs", "ae_title": "PACS", "host": "localhost", "port": port, "tls": True}
    return Destination(**known | values)


def test_one_with_tls_only_gets_everything_and_confirms(
    ours: Site, ca: Certificate, pacs_cert: Certificate, tmp_path: Path
) -> None:
    """It asks for our certificate too; every association of the delivery is one of TLS."""
    own = signed(tmp_path, "node", ca)
    ours.options["tls"] = Tls(cert=str(own.cert), key=str(own.key), ca=str(ca.cert))
    with archive(commits=True, finds=True, tls=server_context(pacs_cert, ca)) as pacs:
        ours.due(pacs.port, tls=True)
        ours.until(DeliveryState.CONFIRMED)
    assert pacs.held == {ours.uid(kind): ours.data(kind) for kind in ("seg", "sr")}


@pytest.mark.dcmtk
def test_storescp_of_dcmtk_with_tls_takes_everything(
    ours: Site, ca: Certificate, pacs_cert: Certificate, tmp_path: Path
) -> None:
    """Another implementation; it wants our certificate and trusts who signed it."""
    own, port = signed(tmp_path, "node", ca), free_port()
    tls = Tls(cert=str(own.cert), key=str(own.key), ca=str(ca.cert))
    ours.options["tls"] = tls
    (tmp_path / "came").mkdir()
    command = ["/usr/bin/storescp", "-aet", "PACS", "-od", str(tmp_path / "came"), "+B"]
    command += ["+tls", str(pacs_cert.key), str(pacs_cert.cert), "+cf", str(ca.cert), str(port)]
    process = subprocess.Popen(command)
    try:
        wait_for(lambda: echo(pacs_at(port), "ICH_NODE", tls=tls)[0], 20, "answering storescp")
        ours.due(port, tls=True)
        ours.until(DeliveryState.DELIVERED)
    finally:
        process.terminate()
        process.wait(20)
    came = sorted(data_of(path) for path in (tmp_path / "came").iterdir())
    assert came == sorted(ours.data(kind) for kind in ("seg", "sr"))


def test_without_tls_it_is_not_reached_and_tried_again(ours: Site, pacs_cert: Certificate) -> None:
    with archive(tls=server_context(pacs_cert)) as pacs:
        ours.due(pacs.port)
        assert ours.step() is DeliveryState.RETRYING
    assert pacs.came == []


def test_a_certificate_of_another_host_is_refused(ca: Certificate, tmp_path: Path) -> None:
    wrong = signed(tmp_path, "wrong", ca, "DNS:other.example")
    with archive(tls=server_context(wrong)) as pacs:
        answered, text = echo(pacs_at(pacs.port), "ICH_NODE", tls=Tls(ca=str(ca.cert)))
    assert not answered
    assert "host must be a name in it" in text


def test_a_certificate_of_an_unknown_authority_is_refused_and_nothing_is_sent(
    ours: Site, ca: Certificate, pacs_cert: Certificate, tmp_path: Path
) -> None:
    stranger = authority(tmp_path, "stranger")
    with archive(tls=server_context(pacs_cert)) as pacs:
        verdicts = send(
            pacs_at(pacs.port),
            "ICH_NODE",
            [("sr", ours.files["sr"])],
            tls=Tls(ca=str(stranger.cert)),
        )
    assert (verdicts[0].stored, verdicts[0].transient) == (False, True)
    assert "tls.ca must hold who signed it" in verdicts[0].text
    assert pacs.came == []


def test_renewed_certificates_are_shown_and_a_renewed_ca_is_trusted(
    ca: Certificate, pacs_cert: Certificate, tmp_path: Path
) -> None:
    """By the next association, without a restart: ours first, then whom we trust."""
    stranger = authority(tmp_path / "stranger", "stranger")
    shown = signed(tmp_path, "node", stranger)
    trusted = Path(shutil.copy(stranger.cert, tmp_path / "trusted.pem"))
    tls = Tls(cert=str(shown.cert), key=str(shown.key), ca=str(trusted))
    with archive(tls=server_context(pacs_cert, ca)) as pacs:
        answered, text = echo(pacs_at(pacs.port), "ICH_NODE", tls=tls)
        assert not answered
        assert "tls.ca must hold who signed it" in text
        shutil.copy(ca.cert, trusted)
        assert not echo(pacs_at(pacs.port), "ICH_NODE", tls=tls)[0]  # the PACS trusts us not yet
        renewed = signed(tmp_path / "renewed", "node", ca)
        renewed.key.replace(shown.key)
        renewed.cert.replace(shown.cert)
        answered, text = echo(pacs_at(pacs.port), "ICH_NODE", tls=tls)
        assert answered, text
        shutil.copy(stranger.cert, trusted)
        assert not echo(pacs_at(pacs.port), "ICH_NODE", tls=tls)[0]


def test_one_that_speaks_no_tls_is_told_from_one_that_is_away(ca: Certificate) -> None:
    with archive() as pacs:
        answered, text = echo(pacs_at(pacs.port), "ICH_NODE", tls=Tls(ca=str(ca.cert)))
    assert not answered
    assert "TLS was not agreed" in text
    answered, text = echo(pacs_at(pacs.port), "ICH_NODE", tls=Tls(ca=str(ca.cert)))
    assert "Connection refused" in text


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_one_that_speaks_only_tls_1_1_is_not_spoken_to(
    ca: Certificate, pacs_cert: Certificate
) -> None:
    old = server_context(pacs_cert)
    old.set_ciphers("ALL:@SECLEVEL=0")
    old.minimum_version = ssl.TLSVersion.TLSv1
    old.maximum_version = ssl.TLSVersion.TLSv1_1
    with archive(tls=old) as pacs:
        answered, text = echo(pacs_at(pacs.port), "ICH_NODE", tls=Tls(ca=str(ca.cert)))
    assert not answered
    assert "TLS was not agreed" in text


def test_one_that_asks_for_a_certificate_that_we_lack_is_named(
    ca: Certificate, pacs_cert: Certificate
) -> None:
    with archive(tls=server_context(pacs_cert, ca)) as pacs:
        answered, text = echo(pacs_at(pacs.port), "ICH_NODE", tls=Tls(ca=str(ca.cert)))
    assert not answered
    assert "tls.cert" in text


def test_files_that_cannot_be_used_are_named(ca: Certificate, tmp_path: Path) -> None:
    broken = tmp_path / "broken.pem"
    broken.write_text("no certificate")
    with pytest.raises(ConfigError, match=r"tls\.ca = '.*gone\.pem': No such file"):
        client_context(Tls(ca=str(tmp_path / "gone.pem")))
    with pytest.raises(ConfigError, match="a PEM file is expected"):
        client_context(Tls(ca=str(broken)))
    other = authority(tmp_path, "other")
    with pytest.raises(ConfigError, match="belong together"):
        client_context(Tls(ca=str(ca.cert), cert=str(ca.cert), key=str(other.key)))
