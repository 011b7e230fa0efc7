"""The quick walk reads what pydicom reads, or leaves it to pydicom."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.datadict import tag_for_keyword
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
)

from ich_node.receive import header
from ich_node.receive.intake import _meta
from tests.support.peers import encoded, incoming, plain, small_object
from tests.support.series import head_series

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom's, of odd values
TEXTS = ("SeriesDescription", "PatientID", "Modality", "StudyDate", "ManufacturerModelName")


def element(keyword: str, raw: bytes, syntax: str) -> bytes:
    tag = int(tag_for_keyword(keyword) or 0)
    head = (tag >> 16).to_bytes(2, "little") + (tag & 0xFFFF).to_bytes(2, "little")
    if syntax == ImplicitVRLittleEndian:
        return head + len(raw).to_bytes(4, "little") + raw
    return head + header._WANTED[tag][1] + len(raw).to_bytes(2, "little") + raw


def by_pydicom(data: bytes, syntax: str) -> dict[str, str]:
    meta = _meta(incoming(small_object(), syntax, data=b"any"))
    return header._read_any(data, syntax, lambda: meta)


@pytest.mark.parametrize(
    "syntax",
    [ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless, JPEG2000Lossless],
    ids=lambda uid: uid.keyword,
)
def test_a_regular_image_is_read_by_the_quick_walk_alone(syntax: str) -> None:
    data = encoded(head_series(slices=1)[0], syntax)
    found = header._read_regular(data, syntax)
    assert found == by_pydicom(data, syntax)
    assert found is not None
    assert found["Modality"] == "CT"


@pytest.mark.parametrize("undefined_length", [False, True])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_sequences_are_passed_over_and_values_inside_are_not_taken(
    syntax: str, undefined_length: bool
) -> None:
    image, inner = small_object(), Dataset()
    inner.SeriesDescription, inner.PatientID = "inside", "inside"
    image.ReferencedStudySequence = Sequence([inner])
    image["ReferencedStudySequence"].is_undefined_length = undefined_length
    data = plain(image, syntax)
    found = header._read_regular(data, syntax)
    assert found == by_pydicom(data, syntax)
    assert found is not None
    assert (found["SeriesDescription"], found["PatientID"]) == ("", "SIMULATED-1")


@settings(deadline=None)
@given(
    st.sampled_from(TEXTS),
    st.binary(max_size=12) | st.text("aB7 ^\\=.\0", max_size=12).map(str.encode),
    st.sampled_from([ExplicitVRLittleEndian, ImplicitVRLittleEndian]),
)
def test_a_value_is_what_pydicom_makes_of_it_or_left_to_it(
    keyword: str, raw: bytes, syntax: str
) -> None:
    values = dict.fromkeys(header.KEYWORDS, b"") | {"SOPInstanceUID": b"1.2", keyword: raw}
    data = b"".join(
        element(name, values[name], syntax)
        for name in sorted(values, key=lambda name: int(tag_for_keyword(name) or 0))
    )
    found = header._read_regular(data, syntax)
    if found is not None:
        assert found == by_pydicom(data, syntax)


UID = element("SOPInstanceUID", b"1.2\0", ExplicitVRLittleEndian)
MODALITY = element("Modality", b"CT", ExplicitVRLittleEndian)


@pytest.mark.parametrize(
    ("data", "syntax"),
    [
        (MODALITY + UID, ExplicitVRLittleEndian),
        (UID + UID, ExplicitVRLittleEndian),
        (UID + MODALITY[:4] + b"ZZ" + MODALITY[6:], ExplicitVRLittleEndian),
        (UID + MODALITY[:4] + b"LO" + MODALITY[6:], ExplicitVRLittleEndian),
        (UID + MODALITY[:-1], ExplicitVRLittleEndian),
        (UID + MODALITY[:5], ExplicitVRLittleEndian),
        (UID + MODALITY + bytes(6), ExplicitVRLittleEndian),
        (b"\x02\0" + UID[2:], ExplicitVRLittleEndian),
        (UID + element("Modality", b"C\\MR", ExplicitVRLittleEndian), ExplicitVRLittleEndian),
        (UID + element("SeriesDescription", b"\xe4 ", ExplicitVRLittleEndian), RLELossless),
        (UID + element("PatientID", b" 7", ExplicitVRLittleEndian), ExplicitVRLittleEndian),
        (UID, ImplicitVRLittleEndian),
        (UID, ExplicitVRBigEndian),
        (UID, DeflatedExplicitVRLittleEndian),
        (b"", ExplicitVRLittleEndian),
    ],
)
def test_whatever_is_unusual_is_left_to_pydicom(data: bytes, syntax: str) -> None:
    assert header._read_regular(data, syntax) is None


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_left(data: bytes) -> None:
    for syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian):
        assert isinstance(header._read_regular(data, syntax), dict | None)
