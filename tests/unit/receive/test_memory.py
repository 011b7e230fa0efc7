"""What a large object costs in memory: a few megabytes, however large it is."""

import threading
import tracemalloc
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import pytest
import sqlalchemy as sa
from pydicom import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from ich_node.receive import compare, inflate
from ich_node.receive.audit import Found, audit_all
from ich_node.receive.intake import Intake, take
from ich_node.store.tables import event, instance
from tests.support.peers import encoded, incoming, small_object

SUCCESS, CANNOT_UNDERSTAND, CONFLICT = 0x0000, 0xC000, 0xC001
FRAMES, MB = 96, 1 << 20  # of half a megabyte
BOUND = 12 * MB
T = TypeVar("T")


def large(**values: object) -> Dataset:
    """An object of 48 MB."""
    image = small_object(
        Rows=512,
        Columns=512,
        NumberOfFrames=FRAMES,
        SamplesPerPixel=1,
        PhotometricInterpretation="MONOCHROME2",
        BitsAllocated=16,
        BitsStored=16,
        HighBit=15,
        PixelRepresentation=0,
        **values,
    )
    image.PixelData = b"".join(bytes([n, 0]) * (512 * 512) for n in range(FRAMES))
    image["PixelData"].VR = "OW"
    return image


def costing(do: Callable[[], T]) -> tuple[T, int]:
    """Return what it gives, and the most memory it had, bytes."""
    tracemalloc.start()
    try:
        done = do()
        return done, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless]
)
def test_an_object_that_comes_again_with_another_header(intake: Intake, syntax: str) -> None:
    take(intake, incoming(large()))
    again = incoming(large(PatientID="CORRECTED"), syntax)
    answer, cost = costing(lambda: take(intake, again))
    assert answer.status == SUCCESS
    assert cost < BOUND
    folder = intake.settings.storage.data_dir
    assert len(list(folder.glob("header_changed/*"))) == 1


def test_an_object_that_comes_again_with_other_pixels(intake: Intake) -> None:
    take(intake, incoming(large()))
    image = large()
    image.PixelData = image.PixelData[:-2] + b"\1\1"
    again = incoming(image, ExplicitVRBigEndian)
    answer, cost = costing(lambda: take(intake, again))
    assert answer.status == CONFLICT
    assert cost < BOUND


@pytest.mark.parametrize("keyword", ["EncapsulatedDocument", "FloatPixelData"])
def test_an_object_whose_large_value_is_no_pixels(intake: Intake, keyword: str) -> None:
    image = small_object()
    setattr(image, keyword, b"7" * (48 * MB))
    take(intake, incoming(image))
    setattr(image, keyword, b"7" * (48 * MB - 1) + b"8")
    again = incoming(image)
    answer, cost = costing(lambda: take(intake, again))
    assert answer.status == (SUCCESS if keyword == "EncapsulatedDocument" else CONFLICT)
    assert cost < BOUND


def test_what_has_too_many_elements_to_compare_is_not_the_same(
    intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compare, "_MOST", 100)
    take(intake, incoming(small_object()))
    assert take(intake, incoming(small_object(), ImplicitVRLittleEndian)).status == CONFLICT


def many(number: int = 1, elements: int = 2000, **values: object) -> Dataset:
    """An object of many elements, half of them in items."""
    image = small_object(number, **values)
    for element in range(elements // 2):
        image.add_new(0x00291000 + element, "LO", "")
    items = [Dataset() for _ in range(elements // 4)]
    for item in items:
        item.RequestedProcedureID = ""
    image.RequestAttributesSequence = items
    return image


def test_an_object_of_more_elements_than_are_compared_is_kept_apart(intake: Intake) -> None:
    """Neither the one nor the other becomes objects, and no element is named."""
    image = many(elements=compare._MOST_ELEMENTS + 10)
    for kept, came in ((image, small_object()), (small_object(2), many(2, 25_000))):
        take(intake, incoming(kept))
        again = incoming(came)
        answer, cost = costing(lambda again=again: take(intake, again))
        told = (CONFLICT, "UID known with other content, too much to compare")
        assert (answer.status, answer.comment) == told
        assert cost < 2 * MB
    with intake.engine.connect() as connection:
        texts = connection.execute(sa.select(event.c.text)).scalars().all()
    assert sum("came again with other content, too much to compare" in text for text in texts) == 2


def test_an_element_that_is_compared_costs_a_few_kilobytes(intake: Intake) -> None:
    """Of both objects together: 20,000 take 40 MB at the most."""
    take(intake, incoming(many()))
    again = incoming(many(PatientID="CORRECTED"))
    answer, cost = costing(lambda: take(intake, again))
    assert answer.status == SUCCESS
    assert cost < 2048 * 2000


def test_objects_of_many_elements_are_compared_one_after_another(intake: Intake) -> None:
    """However many associations bring them at once."""
    for number in range(1, 6):
        take(intake, incoming(many(number)))
    again = [incoming(many(number, PatientID="CORRECTED")) for number in range(1, 6)]
    take(intake, again[0])
    _answer, one = costing(lambda: take(intake, again[0]))
    with ThreadPoolExecutor(5) as pool:
        answers, all_of_them = costing(lambda: list(pool.map(partial(take, intake), again)))
    assert {answer.status for answer in answers} == {SUCCESS}
    assert all_of_them < 2 * one


def test_objects_of_few_elements_are_compared_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    meeting = threading.Barrier(2)
    monkeypatch.setattr(compare, "_compared", lambda *_both: meeting.wait(10))
    encoding = compare.Encoded(b"", memoryview(encoded(small_object())), ExplicitVRLittleEndian)
    monkeypatch.setattr(compare, "_open", lambda _one: None)
    with ThreadPoolExecutor(2) as pool:
        assert set(pool.map(compare.compare, [encoding] * 2, [encoding] * 2)) == {0, 1}


def test_an_object_that_is_read_by_pydicom(intake: Intake) -> None:
    sent = incoming(large(), ExplicitVRBigEndian)
    answer, cost = costing(lambda: take(intake, sent))
    assert answer.status == SUCCESS
    assert cost < BOUND


def test_a_file_of_the_spool_that_is_taken_in(intake: Intake) -> None:
    take(intake, incoming(large()))
    with intake.engine.begin() as connection:
        connection.execute(sa.delete(instance))
    found, cost = costing(lambda: audit_all(intake, 2e9))
    assert found == Found(taken_in=1)
    assert cost < BOUND


def test_a_deflated_object_that_becomes_large(intake: Intake) -> None:
    sent = incoming(large(), DeflatedExplicitVRLittleEndian)
    assert len(sent.data) < MB
    assert take(intake, sent).status == SUCCESS
    again = incoming(large(), ImplicitVRLittleEndian)
    answer, cost = costing(lambda: take(intake, again))
    assert answer.status == SUCCESS
    assert cost < BOUND
    assert not list(intake.settings.storage.data_dir.glob("header_changed/*"))


@pytest.mark.parametrize(
    "size", [0, 1, inflate._AT_ONCE - 1, inflate._AT_ONCE, 3 * inflate._AT_ONCE]
)
def test_inflating_gives_back_what_was_deflated(intake: Intake, size: int) -> None:
    plain = bytes(range(256)) * (size // 256) + bytes(size % 256)
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    data = packer.compress(plain) + packer.flush()
    found = inflate.onto_disk(data, intake.settings.storage.data_dir, intake.room)
    assert bytes(found) == plain
