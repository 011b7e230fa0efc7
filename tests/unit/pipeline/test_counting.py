"""A PACS is asked at growing pauses, one question at a time, and its failures are no evidence."""

import threading
from concurrent.futures import Future
from itertools import pairwise

import pytest

from deploy.demo.running import wait_for
from ich_node.complete.snapshot import Count
from ich_node.deliver import query
from ich_node.pipeline.counting import Counting, askers
from ich_node.settings import Destination, Settings, Source
from ich_node.store import trail
from ich_node.store.engine import Engine
from ich_node.store.revisions import Receiving

FOUND = Receiving("1.2.3", "1.2", "pacs", 1000.0, 300.0)


class Pacs:
    """Takes questions; a test answers them."""

    def __init__(self) -> None:
        self.questions: list[Future[int]] = []

    def ask(self, study: str, series: str) -> "Future[int]":
        assert (study, series) == ("1.2", "1.2.3")
        self.questions.append(Future())
        return self.questions[-1]


def test_it_is_asked_at_once_and_then_at_growing_pauses() -> None:
    pacs = Pacs()
    counting = Counting(pacs.ask)
    asked_at = []
    for step in range(3000):
        now = 1000.0 + step / 10
        before = len(pacs.questions)
        counting.look(FOUND, now)
        if len(pacs.questions) > before:
            asked_at.append(now)
            pacs.questions[-1].set_result(7)
    pauses = [late - early for early, late in pairwise(asked_at)]
    assert asked_at[0] == 1000.0
    assert 0.4 <= pauses[0] <= 0.6
    assert all(late >= early - 0.11 for early, late in pairwise(pauses))
    assert max(pauses) <= 60.2
    assert counting.counts[:2] == (Count(asked_at[0], 7), Count(asked_at[1], 7))


def test_a_pacs_that_hangs_is_asked_nothing_more() -> None:
    pacs = Pacs()
    counting = Counting(pacs.ask)
    for now in range(1000, 1100):
        counting.look(FOUND, float(now))
    assert len(pacs.questions) == 1
    assert counting.counts == ()


def test_a_failure_is_logged_once_and_asked_again(capsys: pytest.CaptureFixture[str]) -> None:
    pacs = Pacs()
    counting = Counting(pacs.ask)
    for now in (1000.0, 1001.0, 1003.0, 1006.0):
        counting.look(FOUND, now)
        pacs.questions[-1].set_exception(OSError("no way"))
    counting.look(FOUND, 1020.0)
    assert len(pacs.questions) == 5
    assert counting.counts == ()
    assert counting.failed == "no way"


def noted(engine: Engine) -> list[trail.Entry]:
    return [entry for entry in trail.entries(engine) if entry.kind == "queried"]


def test_each_source_asks_its_own_pacs_and_one_that_hangs_holds_up_no_other(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was asked and answered is in the audit trail."""
    hang, answered = threading.Event(), threading.Event()

    def count(
        destination: Destination, calling_ae: str, study: str, series: str, *, tls: object
    ) -> int:
        assert (calling_ae, study, series) == ("ICH_NODE", "1.2", "1.2.3")
        if destination.name == "hangs":
            hang.wait(30)
        return 7

    monkeypatch.setattr(query, "count_instances", count)
    names = ("hangs", "pacs", "unasked")
    places = [Destination(name=name, ae_title="PACS", host="127.0.0.1") for name in names]
    sources = [
        Source(name=name, ae_title="CT", hosts=("127.0.0.1",), query=asked)
        for name, asked in (("ct1", "hangs"), ("ct2", "pacs"), ("ct3", ""))
    ]
    settings = Settings(sources=tuple(sources), destinations=tuple(places))
    found = askers(settings, answered.set, engine)
    assert sorted(found) == ["ct1", "ct2"]
    waiting = found["ct1"]("1.2", "1.2.3")
    assert found["ct2"]("1.2", "1.2.3").result(10) == 7
    assert answered.wait(10)
    assert not waiting.done()
    hang.set()
    assert waiting.result(10) == 7
    told = wait_for(lambda: entries if len(entries := noted(engine)) == 2 else None, 10, "entries")
    assert [(entry.text.split()[0], entry.study_instance_uid) for entry in told] == [
        ("pacs", "1.2"),
        ("hangs", "1.2"),
    ]


def test_nobody_is_asked_where_no_source_names_a_pacs() -> None:
    assert askers(Settings(), lambda: None) == {}
