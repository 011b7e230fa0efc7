"""Elements and levels of a data set are counted as they are, in every encoding."""

import tracemalloc
import zlib
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset, Sequence
from pydicom.dataelem import RawDataElement
from pydicom.filereader import read_dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from ich_node import bounds
from ich_node.bounds import DEEPEST, MOST_ELEMENTS, Excessive
from ich_node.selftest.series import save
from tests.support import bombs
from tests.support.peers import data_of, plain, small_object
from tests.support.series import head_series, write

NATIVE = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian)
SYNTAXES = pytest.mark.parametrize("syntax", NATIVE, ids=lambda uid: uid.keyword)
UNDEFINED = pytest.mark.parametrize("undefined", [False, True], ids=["known", "undefined"])


def nested(levels: int, undefined: bool) -> Dataset:
    found = small_object()
    found.RequestAttributesSequence = bombs.nested(levels, undefined)
    found["RequestAttributesSequence"].is_undefined_length = undefined
    return found


@SYNTAXES
@UNDEFINED
def test_every_element_and_item_counts_once(syntax: str, undefined: bool) -> None:
    dataset = nested(3, undefined)
    dataset.SeriesDescription, dataset.BitsAllocated = "LAST", 16
    dataset.PixelData = b"\xfe\xff\x00\xe0" * 4
    inside = 2 + 3 + (2 if undefined else 0)  # sequences, items, delimiters of items
    found = bounds.check(plain(dataset, syntax), syntax)
    assert found == len(dataset) + inside


@SYNTAXES
@UNDEFINED
def test_sequences_may_be_so_deep_and_no_deeper(syntax: str, undefined: bool) -> None:
    bounds.check(plain(nested(DEEPEST, undefined), syntax), syntax)
    with pytest.raises(Excessive, match="more than 32 others"):
        bounds.check(plain(nested(DEEPEST + 1, undefined), syntax), syntax)


@UNDEFINED
def test_sequences_whose_vr_is_unknown_count_too(undefined: bool) -> None:
    """PS3.5 6.2.2: inside they are Implicit VR Little Endian."""
    inner = plain(nested(DEEPEST, undefined), ImplicitVRLittleEndian)
    length = b"\xff\xff\xff\xff" if undefined else (len(inner) + 8).to_bytes(4, "little")
    item = b"\xfe\xff\x00\xe0" + len(inner).to_bytes(4, "little") + inner
    data = b"\x11\x00\x10\x10UN\0\0" + length + item
    with pytest.raises(Excessive, match="sequences"):
        bounds.check(data, ExplicitVRLittleEndian)


BEHIND = b"\x11\x11\x10\x10LO\0\0" * (MOST_ELEMENTS + 1)
FRAGMENT = b"\xfe\xff\x00\xe0\x04\0\0\0\x7f\x7f\x7f\x7f"
PIXELS = {
    "native": b"OW\0\0\x04\0\0\0" + bytes(4),
    "fragments": b"OB\0\0\xff\xff\xff\xff" + FRAGMENT * 3 + b"\xfe\xff\xdd\xe0\0\0\0\0",
    "astray": b"OB\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\x7f\xfe\xff\xdd\xe0\0\0\0\0",
}


@pytest.mark.parametrize("pixels", PIXELS.values(), ids=list(PIXELS))
def test_elements_behind_the_pixels_count(pixels: bytes) -> None:
    data = b"\xe0\x7f\x10\x00" + pixels + BEHIND
    with pytest.raises(Excessive, match=f"more than {MOST_ELEMENTS} elements"):
        bounds.check(data, ExplicitVRLittleEndian)


@pytest.mark.parametrize("what", ["elements", "items"])
def test_more_elements_than_can_be_read_are_told_without_reading_them(what: str) -> None:
    one = b"\x11\x00\x10\x10LO\0\0"
    data = one * (MOST_ELEMENTS + 1)
    if what == "items":
        data = b"\x11\x00\x10\x10SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\0\xe0\0\0\0\0" * MOST_ELEMENTS
    tracemalloc.start()
    with pytest.raises(Excessive, match=f"more than {MOST_ELEMENTS} elements"):
        bounds.check(data, ExplicitVRLittleEndian)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_what_begins_like_items_in_native_pixels_is_no_items() -> None:
    """Implicit VR does not say what a value is; the dictionary does."""
    inside = b"\xfe\xff\x00\xe0\xff\xff\xff\xff" * 40
    pixels = b"\xe0\x7f\x10\x00" + len(inside).to_bytes(4, "little") + inside
    assert bounds.check(pixels + b"\xe1\x7f\x10\x00\0\0\0\0" * 3, ImplicitVRLittleEndian) == 4


# Heads of elements and delimiters as they should be and as they should not, in any order.
PIECES = st.sampled_from(
    [
        *(b"\x08\x00\x50\x00LO\0\0", b"\x09\x00\x10\x10\0\0\0\0", b"\x09\x00\x11\x10A1\0\0"),
        *(b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff", b"\xe0\x7f\x10\x00\xff\xff\xff\xff"),
        *(b"\x40\x00\x75\x02SQ\0\0\xff\xff\xff\xff", b"\x40\x00\x75\x02\xff\xff\xff\xff"),
        *(b"\x42\x00\x11\x00\xff\xff\xff\xff", b"\x41\x00\x10\x10UN\0\0\xff\xff\xff\xff"),
        *(b"\x41\x00\x12\x10UT\0\0\xff\xff\xff\xff", b"\x43\x00\x10\x10\xff\xff\xff\xff"),
        *(b"\xfe\xff\x00\xe0\xff\xff\xff\xff", b"\xfe\xff\x00\xe0\x08\0\0\0"),
        *(b"\xfe\xff\x0d\xe0\0\0\0\0", b"\xfe\xff\xdd\xe0\0\0\0\0", b"\x08\0\0\0", b"text"),
    ]
)


def made(dataset: Dataset) -> int:
    """How many elements and items a parser made objects of."""
    inside = 0
    for element in dataset.values():
        if not isinstance(element, RawDataElement) and element.VR == "SQ":
            inside += sum(1 + made(item) for item in element.value)
    return len(dataset) + inside


@pytest.mark.filterwarnings("ignore")
@settings(deadline=None, max_examples=400)
@given(st.lists(PIECES, max_size=12), st.sampled_from(NATIVE[:2]))
def test_a_parser_makes_no_more_than_is_counted(pieces: list[bytes], syntax: str) -> None:
    """However damaged or misleading a data set is."""
    ends = b"".join(b"\x51\x00" + bytes([n, 0x10]) + b"LO\0\0" for n in range(40))
    data = b"\x08\x00\x05\x00\0\0\0\0" if syntax == ImplicitVRLittleEndian else b""
    data += b"".join(pieces) + ends
    try:
        found = read_dataset(BytesIO(data), syntax == ImplicitVRLittleEndian, True)
    except Exception:
        return
    assert made(found) <= bounds.check(data, syntax)


@settings(deadline=None)
@given(st.binary(max_size=300), st.sampled_from(NATIVE))
def test_any_bytes_come_to_an_end(data: bytes, syntax: str) -> None:
    assert bounds.check(data, syntax) <= len(data)


@pytest.mark.parametrize(
    "syntax", [*NATIVE, DeflatedExplicitVRLittleEndian, RLELossless], ids=lambda uid: uid.keyword
)
def test_a_file_is_looked_at_behind_its_file_meta_information(tmp_path: Path, syntax: str) -> None:
    [path] = write(head_series(slices=1), tmp_path, syntax)
    fragments = 2 if syntax == RLELossless else 0  # the table of offsets is one
    assert bounds.check_file(path).elements == len(pydicom.dcmread(path)) + fragments


def test_a_file_that_is_no_dicom_has_no_elements(tmp_path: Path) -> None:
    for data in (b"", b"text", bytes(500)):
        (tmp_path / "file").write_bytes(data)
        assert bounds.check_file(tmp_path / "file") == (0, 0)


def test_a_deflated_file_that_would_fill_the_memory_is_not_inflated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "MOST_INFLATED", 1 << 20)
    path = tmp_path / "bomb.dcm"
    save(small_object(), path, DeflatedExplicitVRLittleEndian)
    bounds.check_file(path)
    stream = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    whole = path.read_bytes()
    begins = len(whole) - len(data_of(path))
    path.write_bytes(whole[:begins] + stream.compress(bytes(64 << 20)) + stream.flush())
    tracemalloc.start()
    with pytest.raises(Excessive, match="inflates to more than 1 MB"):
        bounds.check_file(path)
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()


def test_a_sequence_holds_an_item_of_a_sequence() -> None:
    """The support of these tests makes the levels that it says."""
    assert isinstance(bombs.nested(2, False), Sequence)
    assert "RequestAttributesSequence" in bombs.nested(2, False)[0]
    assert "RequestAttributesSequence" not in bombs.nested(1, False)[0]
