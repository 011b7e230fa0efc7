from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pynetdicom import _config

from ich_node.deliver import deadline, proof, query, scu
from ich_node.receive import association
from tests.support.delivering import Site, site
from tests.support.peers import Listening, listening


@pytest.fixture(autouse=True)
def _modes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put pynetdicom's modes back, which a receiver and a sender switch on for their process."""
    monkeypatch.setattr(_config, "UNRESTRICTED_STORAGE_SERVICE", False)
    monkeypatch.setattr(_config, "STORE_SEND_CHUNKED_DATASET", False)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Listening]:
    """A receiver that takes from SENDER at the loopback address."""
    with listening(tmp_path) as started:
        yield started


@pytest.fixture
def ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A site with one reported study whose results are to be delivered."""
    with site(tmp_path / "ours", monkeypatch) as made:
        yield made


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait four seconds where it would be minutes."""
    for name in ("_CONNECT_S", "_ACSE_S", "_DIMSE_S", "_NETWORK_S"):
        monkeypatch.setattr(scu, name, 4.0)
    monkeypatch.setattr(deadline, "_LEAVE_S", 1.0)
    monkeypatch.setattr(query, "_ANSWER_S", 4.0)
    monkeypatch.setattr(proof, "_REPORT_S", 20.0)  # a report that is to come here ends it


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait half a second where it would be minutes."""
    for module, names in {
        scu: ("_CONNECT_S", "_ACSE_S", "_DIMSE_S", "_NETWORK_S"),
        query: ("_CONNECT_S", "_ANSWER_S", "_LISTING_S"),
        deadline: ("_LEAVE_S",),
    }.items():
        for name in names:
            monkeypatch.setattr(module, name, 0.5)


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Every line that the receiver logs."""
    lines: list[dict[str, Any]] = []

    class _Log:
        def _note(self, text: str, **pairs: Any) -> None:
            lines.append({"event": text, **pairs})

        info = warning = error = _note

    monkeypatch.setattr(association, "_log", _Log())
    return lines
