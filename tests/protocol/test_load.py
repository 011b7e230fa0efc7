"""Sixty-four associations at once, in small; `make bench-load` judges the times and the memory."""

import threading
from pathlib import Path

from deploy.demo.running import wait_for
from deploy.load import requests, storm
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
