"""Elements and levels of a data set are counted as they are, in every encoding."""

import tracemalloc
import zlib
from pathlib import Path

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset, Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)
from pynetdicom.dsutils import encode

from ich_node import bounds
from ich_node.bounds import DEEPEST, MOST_ELEMENTS, Excessive
from ich_node.selftest.series import save
from tests.support import bombs
from tests.support.peers import data_of, small_object
from tests.support.series import head_series, write

NATIVE = {
    ExplicitVRLittleEndian: (False, True),
    ImplicitVRLittleEndian: (True, True),
    ExplicitVRBigEndian: (False, False),
}
SYNTAXES = pytest.mark.parametrize("syntax", list(NATIVE), ids=lambda uid: uid.keyword)
UNDEFINED = pytest.mark.parametrize("undefined", [False, True], ids=["known", "undefined"])


def nested(levels: int, undefined: bool) -> Dataset:
    found = small_object()
    found.RequestAttributesSequence = bombs.nested(levels, undefined)
    found["RequestAttributesSequence"].is_undefined_length = undefined
    return found


@SYNTAXES
@UNDEFINED
def test_every_element_and_item_up_to_the_pixels_counts_once(syntax: str, undefined: bool) -> None:
    dataset = nested(3, undefined)
    dataset.SeriesDescription, dataset.BitsAllocated = "LAST", 16
    dataset.PixelData = b"\xfe\xff\x00\xe0" * 4
    inside = 2 + 3 + (2 if undefined else 0)  # sequences, items, delimiters of items
    found = bounds.check(encode(dataset, *NATIVE[syntax]) or b"", syntax)
    assert found == len(dataset) + inside


@SYNTAXES
@UNDEFINED
def test_sequences_may_be_so_deep_and_no_deeper(syntax: str, undefined: bool) -> None:
    bounds.check(encode(nested(DEEPEST, undefined), *NATIVE[syntax]) or b"", syntax)
    with pytest.raises(Excessive, match="more than 32 others"):
        bounds.check(encode(nested(DEEPEST + 1, undefined), *NATIVE[syntax]) or b"", syntax)


@UNDEFINED
def test_sequences_whose_vr_is_unknown_count_too(undefined: bool) -> None:
    """PS3.5 6.2.2: inside they are Implicit VR Little Endian."""
    inner = encode(nested(DEEPEST, undefined), True, True) or b""
    length = b"\xff\xff\xff\xff" if undefined else (len(inner) + 8).to_bytes(4, "little")
    item = b"\xfe\xff\x00\xe0" + len(inner).to_bytes(4, "little") + inner
    data = b"\x11\x00\x10\x10UN\0\0" + length + item
    with pytest.raises(Excessive, match="sequences"):
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


@settings(deadline=None)
@given(st.binary(max_size=300), st.sampled_from(list(NATIVE)))
def test_any_bytes_come_to_an_end(data: bytes, syntax: str) -> None:
    assert bounds.check(data, syntax) <= len(data)


@pytest.mark.parametrize(
    "syntax", [*NATIVE, DeflatedExplicitVRLittleEndian, RLELossless], ids=lambda uid: uid.keyword
)
def test_a_file_is_looked_at_behind_its_file_meta_information(tmp_path: Path, syntax: str) -> None:
    [path] = write(head_series(slices=1), tmp_path, syntax)
    expected = len(pydicom.dcmread(path, stop_before_pixels=True))
    assert bounds.check_file(path) in (expected, expected + 1)


def test_a_file_that_is_no_dicom_has_no_elements(tmp_path: Path) -> None:
    for data in (b"", b"text", bytes(500)):
        (tmp_path / "file").write_bytes(data)
        assert bounds.check_file(tmp_path / "file") == 0


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
