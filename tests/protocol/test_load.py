"""Sixty-four associations at once, in small; `make bench-load` judges the times and the memory."""

import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from deploy.demo.running import wait_for
from deploy.load import ACCEPTED, ask, renumbered, requests, send, store, storm
from ich_node.receive import scp
from ich_node.settings import Source
from ich_node.store.tables import instance
from tests.support.peers import SENDER, listening, small_object
from tests.support.series import head_series
from tests.support.wire import reject


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


def mapped() -> int:
    """Bytes of shared memory and of deleted files that this process holds mapped (proc(5))."""
    found = 0
    for line in Path("/proc/self/maps").read_text().splitlines():
        if line.endswith("(deleted)"):
            first, last = line.split()[0].split("-")
            found += int(last, 16) - int(first, 16)
    return found


def test_after_an_object_of_many_megabytes_an_open_association_holds_what_it_held_before(
    tmp_path: Path,
) -> None:
    [request, *_others] = requests(head_series(slices=2))
    [large] = requests([small_object(PixelData=bytes(12_000_000), BitsAllocated=16)])
    with listening(tmp_path) as node, ExitStack() as up:
        connections = [up.enter_context(ask(node.receiver.port)[0]) for _ in range(4)]
        for number, connection in enumerate(connections):
            assert store(connection, renumbered(request, number, number))[0] == 0x0000
        before = mapped()
        for number, connection in enumerate(connections, start=10):
            assert store(connection, renumbered(large, number, number))[0] == 0x0000
        wait_for(lambda: mapped() == before, 10, f"{before} mapped bytes")


def test_a_sender_that_takes_every_place_keeps_no_other_sender_out(tmp_path: Path) -> None:
    both = (Source(name="noisy", ae_title="NOISY", hosts=("127.0.0.1",)), SENDER)
    [request, *_others] = requests(head_series(slices=2))
    with (
        listening(tmp_path, sources=both, max_associations=8) as node,
        ExitStack() as up,
    ):
        answers = []
        for _ in range(10):
            connection, answer = ask(node.receiver.port, "NOISY")
            up.enter_context(connection)
            answers.append(answer[0] if answer[0] == ACCEPTED else answer)
        assert answers == [ACCEPTED] * 7 + [reject(2, 3, 2)] * 3
        assert send(node.receiver.port, "SENDER", [request], 1) == {0x0000: 1}


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
