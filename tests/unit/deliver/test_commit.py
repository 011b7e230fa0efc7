"""A request for storage commitment that did not go out leaves no transaction behind."""

from typing import Any

import pytest
from pydicom import Dataset

from ich_node.deliver.proof import Stored, Transaction, _commit

OBJECT = Stored("1.2.840.10008.5.1.4.1.1.88.34", "1.2.3.102", "1.2.3.9", "1.2")


class Association:
    """One whose N-ACTION ends like this."""

    dimse_timeout = 60.0

    def __init__(self, end: Exception | Dataset) -> None:
        self.end = end

    def send_n_action(self, *_: object) -> tuple[Dataset, None]:
        if isinstance(self.end, Exception):
            raise self.end
        return self.end, None


def status(code: int) -> Dataset:
    answer = Dataset()
    answer.Status = code
    return answer


def commit(end: Exception | Dataset) -> tuple[Any, list[str]]:
    """Ask; return what was learnt (or raised), and the transactions that are open after it."""
    entered: list[str] = []

    def begin() -> str:
        entered.append("2.25.1")
        return entered[-1]

    transaction = Transaction(begin, lambda *_: 0, entered.remove)
    try:
        return _commit(Association(end), [OBJECT], transaction), entered
    except (RuntimeError, ValueError) as error:
        return error, entered


@pytest.mark.parametrize("error", [RuntimeError("no association"), ValueError("no context")])
def test_one_that_could_not_be_sent_is_withdrawn(error: Exception) -> None:
    assert commit(error) == (error, [])


def test_one_that_is_refused_is_withdrawn() -> None:
    seen, entered = commit(status(0x0110))
    assert ("0110H" in seen.fault, entered) == (True, [])


@pytest.mark.parametrize("answer", [status(0x0000), Dataset()], ids=["taken", "no-answer"])
def test_one_that_may_have_been_taken_stays_open(answer: Dataset) -> None:
    assert commit(answer)[1] == ["2.25.1"]
