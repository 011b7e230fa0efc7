"""A C-ECHO to a destination is answered, or it is said why not."""

import socket
from collections.abc import Callable

import pytest

from deploy.demo.running import free_port
from ich_node.deliver.scu import echo
from tests.support.peers import destination, pacs
from tests.support.wire import accept_then_silence, answering, bare_server, reject, silent


def test_an_echo_is_answered() -> None:
    with pacs([]) as peer:
        answered, text = echo(destination(peer.port), "ICH_NODE")
    assert (answered, text) == (True, f"PACS at 127.0.0.1:{peer.port} answers C-ECHO")


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize(
    ("talk", "words"),
    [
        (answering(b""), "ended without an answer"),
        (answering(reject(1, 1, 7)), "called AE title not recognised"),
        (silent, "ended without an answer"),
        (accept_then_silence, "did not answer the C-ECHO"),
    ],
    ids=["closed", "rejected", "silent", "silent later"],
)
def test_an_echo_without_success_says_why(
    talk: Callable[[socket.socket], None], words: str
) -> None:
    with bare_server(talk) as port:
        answered, text = echo(destination(port), "ICH_NODE")
    assert not answered
    assert words.lower() in text.lower()
    assert text.startswith(f"PACS at 127.0.0.1:{port}")


def test_an_echo_to_nowhere_says_why() -> None:
    nowhere = destination(free_port()).model_copy(update={"host": "no-such-host.invalid"})
    answered, text = echo(nowhere, "ICH_NODE")
    assert not answered
    assert "no-such-host.invalid" in text
