"""Sixty-four associations at once, in small; `make bench-load` judges the times and the memory."""

import threading
from pathlib import Path

import pytest

from deploy.demo.running import wait_for
from deploy.load import requests, storm
from ich_node.receive import scp
from ich_node.store.tables import instance
from tests.support.peers import listening, reject
from tests.support.series import head_series


def test_64_associations_at_once_store_all_and_one_more_waits_for_a_place(tmp_path: Path) -> None:
    [request, *_others] = requests(head_series(slices=2))
    before = threading.active_count()
    with listening(tmp_path, max_associations=64) as node:
        found = storm(node.receiver.port, 64, 5, request)
        assert found.statuses == {0x0000: 320}
        assert found.one_more == reject(2, 3, 2)
        assert found.let_in
        assert len(node.files()) == len(node.rows(instance)) == 320
        wait_for(lambda: threading.active_count() == before + 1, 10, "end of the threads")


@pytest.mark.parametrize(
    ("limits", "allowed"),
    [((1024, 524288), 4512), ((1024, 2048), 2048), ((524288, 524288), None)],
    ids=["room", "little room", "enough"],
)
def test_a_thousand_associations_may_open_their_files_as_far_as_the_system_lets_them(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    limits: tuple[int, int],
    allowed: int | None,
) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(scp.resource, "getrlimit", lambda _kind: limits)
    monkeypatch.setattr(scp.resource, "setrlimit", lambda _kind, wanted: asked.append(wanted))
    with listening(tmp_path, max_associations=1000):
        assert asked == ([] if allowed is None else [(allowed, limits[1])])
