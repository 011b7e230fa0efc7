"""A data set that ends inside an element is seen; one that is whole is never called cut."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset, Sequence
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
)

from ich_node.receive.whole import Cut, spans
from tests.support.peers import encoded, plain, small_object
from tests.support.series import head_series

NATIVE = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian)


def is_cut(data: bytes, syntax: str) -> bool:
    try:
        for _ in spans(data, syntax):
            pass
    except Cut:
        return True
    return False


def nested(undefined_length: bool) -> Dataset:
    """An object with a sequence in a sequence, and one that is empty."""
    inner, outer, found = Dataset(), Dataset(), small_object()
    inner.CodeValue = "1"
    outer.PurposeOfReferenceCodeSequence = Sequence([inner, inner])
    found.ReferencedImageSequence = Sequence([outer])
    found.SourceImageSequence = Sequence([])
    for sequence in (found["ReferencedImageSequence"], outer["PurposeOfReferenceCodeSequence"]):
        sequence.is_undefined_length = undefined_length
        for item in sequence.value:
            item.is_undefined_length_sequence_item = undefined_length
    return found


@pytest.mark.parametrize("syntax", NATIVE)
@pytest.mark.parametrize("undefined_length", [False, True])
def test_a_whole_data_set_is_whole_and_only_cuts_between_elements_go_unseen(
    syntax: str, undefined_length: bool
) -> None:
    dataset = nested(undefined_length)
    whole = plain(dataset, syntax)
    assert not is_cut(whole, syntax)
    unseen = {at for at in range(len(whole)) if not is_cut(whole[:at], syntax)}
    elements = set()
    part = Dataset()
    for element in dataset:
        elements.add(len(plain(part, syntax)))
        part.add(element)
    assert elements <= unseen
    for at in unseen - elements:  # zero bytes of a next tag are taken for padding
        assert not whole[max(place for place in elements if place < at) : at].strip(b"\0")


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless])
def test_a_cut_inside_compressed_pixels_is_seen(syntax: str) -> None:
    whole = encoded(head_series(slices=1)[0], syntax)
    assert not is_cut(whole, syntax)
    pixels_at = whole.index(b"\xe0\x7f\x10\x00")
    assert all(is_cut(whole[:at], syntax) for at in range(pixels_at + 1, len(whole), 7))


def test_padding_behind_the_last_element_is_no_cut() -> None:
    assert not is_cut(encoded(small_object()) + b"\0" * 6, ExplicitVRLittleEndian)


def test_explicit_elements_in_an_implicit_association_are_followed_as_what_they_are() -> None:
    assert not is_cut(encoded(head_series(slices=1)[0]), ImplicitVRLittleEndian)


def test_an_unknown_sequence_of_undefined_length_is_implicit_inside() -> None:
    """PS3.5 6.2.2: UN with undefined length is encoded as Implicit VR Little Endian."""
    # a length that would be the VR AA, were it explicit
    inner = b"\x08\x00\x00\x01" + (0x4141).to_bytes(4, "little") + bytes(0x4141)
    value = b"\xfe\xff\x00\xe0\xff\xff\xff\xff" + inner + b"\xfe\xff\x0d\xe0\0\0\0\0"
    element = b"\x09\x00\x01\x10UN\0\0\xff\xff\xff\xff" + value + b"\xfe\xff\xdd\xe0\0\0\0\0"
    data = encoded(small_object()) + element
    assert not is_cut(data, ExplicitVRLittleEndian)
    assert is_cut(data[:-1], ExplicitVRLittleEndian)


@settings(deadline=None)
@given(st.binary(max_size=300), st.sampled_from([*NATIVE, RLELossless]))
def test_any_bytes_get_an_answer(data: bytes, syntax: str) -> None:
    assert is_cut(data, syntax) in (True, False)
