"""Lists of instances, whatever is in them, come to a status: none is a fault of ours."""

import random
import struct
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.datadict import tag_for_keyword
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from ich_node.receive import services
from ich_node.receive.services import MISSING_ATTRIBUTE, RESOURCE_LIMITATION, serve
from ich_node.receive.wire import Message
from ich_node.store import commitments
from ich_node.store.engine import Engine, migrate, open_engine
from tests.soak.damage import damaged
from tests.support import lists

pytestmark = pytest.mark.filterwarnings("ignore")  # of pydicom, on what is wrong

SYNTAXES = [str(one) for one in (ImplicitVRLittleEndian, ExplicitVRLittleEndian)]
ASKED = {one.name: one for one in lists.requests()}
# What these services may answer: PS3.7 annex C, PS3.4 annexes F, J and R.
STATUSES = {
    *(0x0000, 0x0106, 0x0110, 0x0111, 0x0112, 0x0113, 0x0115, 0x0119, 0x0120, 0x0123, 0x0131),
    *(0x0211, 0x0213),
}
# What is read of a list, and every VR that it may come in, with two that nobody knows.
TAGS = [
    tag_for_keyword(keyword) or 0
    for keyword in (
        "TransactionUID",
        "ReferencedSOPSequence",
        "FailedSOPSequence",
        "ReferencedSeriesSequence",
        "PerformedSeriesSequence",
        "PerformedProcedureStepStatus",
        "SpecificCharacterSet",
        "SeriesInstanceUID",
        "ReferencedImageSequence",
        "ReferencedSOPClassUID",
        "ReferencedSOPInstanceUID",
        "FailureReason",
    )
]
SHORT = b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US ZZ \xff\xff".split()
LONG = b"OB OW SQ UC UN UR UT UV".split()
VRS = [*SHORT, *LONG, b"SQ", b"SQ"]
ITEM = struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF)
VALUES = st.binary(max_size=12) | st.sampled_from(
    [b"IN PROGRESS ", b"1.2.3\\1.2.4 ", b"1.2.3\0", b"1\0002", ITEM, ITEM[:4] + bytes(4), b"\\" * 9]
)


def element(tag: int, vr: bytes, value: bytes, undefined: bool) -> bytes:
    """An element in Explicit VR Little Endian; `undefined` is its length, where it may be."""
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr)
    if vr in LONG:
        return head + struct.pack("<2xL", 0xFFFFFFFF if undefined else len(value)) + value
    return head + struct.pack("<H", len(value)) + value


def elements(values: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """A data set of elements that a list is read from, with any VR."""
    one = st.builds(element, st.sampled_from(TAGS), st.sampled_from(VRS), values, st.booleans())
    return st.lists(one, min_size=1, max_size=4).map(b"".join)


def item(content: bytes) -> bytes:
    return ITEM[:4] + struct.pack("<L", len(content)) + content


@contextmanager
def database() -> Iterator[Engine]:
    with tempfile.TemporaryDirectory() as folder:
        engine = open_engine(f"sqlite:///{Path(folder) / 'node.sqlite'}")
        migrate(engine)
        yield engine
        engine.dispose()


@pytest.fixture(scope="module")
def kept() -> Iterator[Engine]:
    """A database for many lists."""
    with database() as engine:
        yield engine


def answered(engine: Engine, command: Mapping[int, bytes], data: bytes, syntax: str) -> int:
    """The status of a request, whose report can be made where it owes one."""
    served = serve(engine, Message(1, dict(command), memoryview(data)), syntax, "SENDER")
    if served.owes is not None:
        assert all(services.report(commitments.commitment(engine, served.owes), syntax, 1))
    return served.status


@pytest.mark.parametrize("syntax", [*SYNTAXES, ExplicitVRBigEndian])
def test_a_sound_list_of_each_kind_is_taken(engine: Engine, syntax: str) -> None:
    """Those that are damaged below; of the report it is said that nobody asked for it."""
    data = {name: lists.encoded(one.dataset, syntax) for name, one in ASKED.items()}
    found = {name: answered(engine, ASKED[name].command, data[name], syntax) for name in ASKED}
    assert found == {"ask": 0, "report": 0x0115, "notice": 0, "begin": 0, "end": 0}


@given(st.sampled_from(list(ASKED)), st.sampled_from(SYNTAXES), st.integers(0, 1 << 32))
@settings(max_examples=300, deadline=None)
def test_a_damaged_list_has_a_status(kept: Engine, name: str, syntax: str, seed: int) -> None:
    data = damaged(random.Random(seed), lists.encoded(ASKED[name].dataset, syntax))
    assert answered(kept, ASKED[name].command, data, syntax) in STATUSES


@given(st.sampled_from(list(ASKED)), elements(VALUES | elements(VALUES).map(item)))
@settings(max_examples=300, deadline=None)
def test_a_list_of_any_elements_has_a_status(kept: Engine, name: str, data: bytes) -> None:
    command = ASKED[name].command
    assert answered(kept, command, data, ExplicitVRLittleEndian) in STATUSES


@given(st.sampled_from(list(ASKED)), st.data())
@settings(max_examples=100, deadline=None)
def test_a_request_with_any_values_has_a_status(
    kept: Engine, name: str, draw: st.DataObject
) -> None:
    """But for its command field, without which it would be no request."""
    asked = ASKED[name]
    command = dict(asked.command)
    kind = command[0x0100]
    for element in draw.draw(st.lists(st.sampled_from(sorted(command)), max_size=3)):
        command[element] = draw.draw(st.binary(max_size=70))
    data = lists.encoded(asked.dataset, ImplicitVRLittleEndian)
    assert answered(kept, command | {0x0100: kind}, data, ImplicitVRLittleEndian) in STATUSES


def test_a_status_that_cannot_be_decoded_is_an_invalid_value(engine: Engine) -> None:
    """0106H, as of any other value that cannot be read."""
    data = struct.pack("<HH2sH", 0x0040, 0x0252, b"ZZ", 4) + b"DONE"
    assert answered(engine, ASKED["begin"].command, data, ExplicitVRLittleEndian) == 0x0106


EMPTY = struct.pack("<HHL", 0x0009, 0x1000, 0)  # a private element, in Implicit VR


@pytest.mark.parametrize(
    "before",
    [b"", struct.pack("<HHL", 0xFFFE, 0xE0DD, 0), struct.pack("<HHL", 0x7FE0, 0x0010, 0)],
    ids=["alone", "behind a delimiter", "behind pixels"],
)
def test_a_list_of_more_elements_than_memory_is_for_is_not_parsed(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, before: bytes
) -> None:
    """Each would become an object, while all other lists wait."""
    data = before + EMPTY * 200_000
    seen: list[int] = []
    parse = services.read_dataset

    def counted(*given: object, **named: object) -> object:
        found = parse(*given, **named)  # type: ignore[arg-type]
        seen.append(len(found))
        return found

    monkeypatch.setattr(services, "read_dataset", counted)
    status = answered(engine, ASKED["ask"].command, data, ImplicitVRLittleEndian)
    assert status in ({MISSING_ATTRIBUTE, RESOURCE_LIMITATION} if before else {RESOURCE_LIMITATION})
    assert sum(seen) == 0
