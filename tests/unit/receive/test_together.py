"""Work for many at once: each gets its own outcome, and nobody waits for a second turn."""

import threading
from collections.abc import Sequence

import pytest

from ich_node.receive.together import Together


def run(tasks: Sequence[threading.Thread]) -> None:
    for task in tasks:
        task.join(30)
    assert not any(task.is_alive() for task in tasks)


def test_what_gathers_while_one_works_is_done_at_once() -> None:
    groups: list[list[int]] = []
    begun, go_on = threading.Event(), threading.Event()

    def work(items: Sequence[int]) -> list[Exception | None]:
        groups.append(sorted(items))
        begun.set()
        assert go_on.wait(30)
        return [None] * len(items)

    together = Together[int](work)
    tasks = [threading.Thread(target=together.do, args=(item,)) for item in range(5)]
    tasks[0].start()
    assert begun.wait(30)
    for task in tasks[1:]:
        task.start()
    while len(together._gathered) < 4:  # bounded by the test's own time limit
        assert not groups[1:]
    go_on.set()
    run(tasks)
    assert groups == [[0], [1, 2, 3, 4]]


def test_each_gets_its_own_outcome() -> None:
    together = Together[int](lambda items: [ValueError(str(i)) if i % 2 else None for i in items])
    failed: list[int] = []

    def do(item: int) -> None:
        try:
            together.do(item)
        except ValueError as error:
            assert str(error) == str(item)
            failed.append(item)

    tasks = [threading.Thread(target=do, args=(item,)) for item in range(20)]
    for task in tasks:
        task.start()
    run(tasks)
    assert sorted(failed) == list(range(1, 20, 2))


def test_a_fault_of_the_work_itself_is_everybodys_and_the_next_work_goes_on() -> None:
    def work(items: Sequence[int]) -> list[Exception | None]:
        if 0 in items:
            raise RuntimeError
        return [None] * len(items)

    together = Together[int](work)
    with pytest.raises(RuntimeError):
        together.do(0)
    together.do(1)
