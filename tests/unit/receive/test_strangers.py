"""Refused peers enter the trail, however many knock, and never too many lines of them."""

from types import SimpleNamespace

import pytest

from ich_node.receive import strangers
from ich_node.receive.strangers import Stranger, Strangers
from ich_node.store import trail
from ich_node.store.engine import Engine

ONE = Stranger("10.0.0.1", "calling AE title 'X' is in no [[sources]]", "X", "ICH_NODE")


def told(engine: Engine) -> list[trail.Entry]:
    return list(trail.entries(engine))


def test_the_first_is_entered_at_once_and_the_others_when_the_minute_is_over(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr(strangers, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    seen = Strangers(engine)
    for _ in range(100):
        seen.refused(ONE)
    [first] = told(engine)
    assert first.kind == "association_rejected"
    assert first.data == {**vars(ONE), "times": 1}
    clock[0] = 61.0
    seen.look()
    assert [entry.data["times"] for entry in told(engine)] == [1, 99]
    clock[0] = 200.0
    seen.look()
    assert len(told(engine)) == 2


def test_ten_thousand_kinds_of_strangers_within_a_minute_are_few_lines(engine: Engine) -> None:
    seen = Strangers(engine)
    for number in range(10_000):
        seen.refused(Stranger("10.0.0.1", f"cause {number}"))
    seen.look(ending=True)
    entries = told(engine)
    assert len(entries) < 40
    assert sum(entry.data["times"] for entry in entries) == 10_000


def test_a_database_that_cannot_be_written_disturbs_no_refusal(engine: Engine) -> None:
    engine.dispose()
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE event")
    Strangers(engine).refused(ONE)
