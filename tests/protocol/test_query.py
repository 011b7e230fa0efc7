"""C-FIND: how many instances a PACS has, by its own number or counted one by one."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from pydicom import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind, Verification

from ich_node.deliver import query
from ich_node.deliver.query import QueryFailed, count_instances
from tests.support.peers import destination
from tests.support.wire import bare_server

Answers = list[tuple[int, Dataset | None]]


@contextmanager
def archive(series: Answers, images: Answers, model: str | None = None) -> Iterator[int]:
    """A PACS that gives these answers at SERIES and at IMAGE level."""
    entity = AE(ae_title="PACS")
    entity.add_supported_context(model or StudyRootQueryRetrieveInformationModelFind)

    def on_find(event: Any) -> Iterator[tuple[int, Dataset | None]]:
        asked = event.identifier
        assert (asked.StudyInstanceUID, asked.SeriesInstanceUID) == ("1.2", "1.2.3")
        yield from series if asked.QueryRetrieveLevel == "SERIES" else images

    server = entity.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_FIND, on_find)]
    )
    try:
        yield server.server_address[1]
    finally:
        entity.shutdown()


def match(**values: Any) -> Dataset:
    found = Dataset()
    found.QueryRetrieveLevel = "SERIES"
    found.SeriesInstanceUID = "1.2.3"
    for keyword, value in values.items():
        setattr(found, keyword, value)
    return found


def counted(port: int) -> int:
    return count_instances(destination(port), "ICH_NODE", "1.2", "1.2.3")


IMAGES: Answers = [(0xFF00, match(SOPInstanceUID=f"1.{n}")) for n in range(5)]


@pytest.mark.parametrize(
    ("series", "images", "number"),
    [
        ([(0xFF00, match(NumberOfSeriesRelatedInstances=32))], [], 32),
        ([(0xFF01, match(NumberOfSeriesRelatedInstances=32))], [], 32),
        ([(0xFF00, match())], IMAGES, 5),
        ([(0xFF00, match(NumberOfSeriesRelatedInstances=None))], IMAGES, 5),
        ([], IMAGES, 0),
        ([(0xFF00, match())], [], 0),
    ],
)
def test_the_number_is_the_pacs_own_or_that_of_its_images(
    series: Answers, images: Answers, number: int
) -> None:
    with archive(series, images) as port:
        assert counted(port) == number


def test_a_refused_query_is_no_number() -> None:
    with archive([(0xA700, None)], []) as port, pytest.raises(QueryFailed, match="A700H"):
        counted(port)


def test_a_pacs_that_offers_no_query_says_so() -> None:
    with archive([], [], Verification) as port, pytest.raises(QueryFailed, match="accepts none"):
        counted(port)


def test_a_pacs_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(query, "_ANSWER_S", 0.3)
    began = time.monotonic()
    silent = bare_server(lambda connection: connection.recv(1 << 16) and connection.recv(1))
    with silent as port, pytest.raises(QueryFailed):
        counted(port)
    assert time.monotonic() - began < 10


def test_nobody_there_is_no_number() -> None:
    with pytest.raises(QueryFailed, match="no association"):
        counted(1)
