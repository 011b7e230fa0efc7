"""Damage within a multi-frame file ends as a refusal that names file and tag, or harms nothing."""

import errno
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom import Dataset
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag
from pydicom.uid import EnhancedCTImageStorage

from ich_node import bounds
from ich_node.assemble.assemble import assemble
from ich_node.errors import Reason
from tests.support import series
from tests.support.frames import multiframe
from tests.unit.assemble.refused import refusal

CUT_OFF = b"\xfe\xff"  # no item begins with two bytes only: pydicom's OSError


def encoded(holder: Dataset, keyword: str, value: bytes, vr: str = "SQ") -> None:
    """Put an element into a data set as a file has it, sound or not."""
    tag = Tag(keyword)
    holder._dict[tag] = RawDataElement(tag, vr, len(value), value, 0, False, True)


@pytest.fixture
def damaged(tmp_path: Path) -> Callable[..., Path]:
    def write(damage: Callable[[Dataset], None]) -> Path:
        path = multiframe(series.head_series(), tmp_path / "all.dcm", EnhancedCTImageStorage)
        dataset = pydicom.dcmread(path)
        damage(dataset)
        dataset.save_as(path)
        return path

    return write


def test_frames_are_no_localizers_that_were_left_out(
    damaged: Callable[..., Path], tmp_path: Path
) -> None:
    """Files that are left out are counted as files, slices as slices."""
    path = damaged(lambda dataset: None)
    again = tmp_path / "again.dcm"
    again.write_bytes(path.read_bytes())
    facts = assemble([path, again]).geometry
    assert (facts["duplicates_dropped"], facts["localizers_dropped"]) == (1, 0)


def whole(dataset: Dataset) -> Dataset:
    return dataset


def shared(dataset: Dataset) -> Dataset:
    return dataset.SharedFunctionalGroupsSequence[0]


def third(dataset: Dataset) -> Dataset:
    return dataset.PerFrameFunctionalGroupsSequence[2]


@pytest.mark.parametrize(
    ("value", "vr", "said"),
    [(CUT_OFF, "SQ", "cannot be read (OSError)"), (b"17", "LO", "is no sequence")],
    ids=["cut off", "text"],
)
@pytest.mark.parametrize(
    ("holder", "keyword", "tag"),
    [
        (whole, "PerFrameFunctionalGroupsSequence", "(5200,9230)"),
        (whole, "SharedFunctionalGroupsSequence", "(5200,9229)"),
        (shared, "PixelMeasuresSequence", "(0028,9110)"),
        (third, "PlanePositionSequence", "(0020,9113)"),
        (third, "FrameContentSequence", "(0020,9111)"),
        (third, "CTImageFrameTypeSequence", "(0018,9329)"),
    ],
    ids=lambda part: part if isinstance(part, str) else part.__name__,
)
def test_a_sequence_that_cannot_be_read_is_named(
    damaged: Callable[..., Path],
    holder: Callable[[Dataset], Dataset],
    keyword: str,
    tag: str,
    value: bytes,
    vr: str,
    said: str,
) -> None:
    path = damaged(lambda dataset: encoded(holder(dataset), keyword, value, vr))
    refused = refusal([path])
    assert refused.reason is Reason.UNREADABLE
    assert refused.text.startswith("file all.dcm: ")
    assert f"{tag} {said}; send it again" in refused.text


@pytest.mark.parametrize(
    ("value", "vr"),
    [(b"1\\x\\3 ", "DS"), (b"1\\2\\3 ", "ZZ"), (b"", "ZZ")],
    ids=["no number", "unknown VR", "empty"],
)
def test_a_position_that_cannot_be_read_is_told_with_its_frame(
    damaged: Callable[..., Path], value: bytes, vr: str
) -> None:
    """Not taken from another frame, nor from what is said for all."""

    def damage(dataset: Dataset) -> None:
        position = third(dataset).PlanePositionSequence[0]
        encoded(position, "ImagePositionPatient", value, vr)

    refused = refusal([damaged(damage)])
    assert refused.reason is Reason.NO_POSITION
    assert "file all.dcm frame 3: Image Position (Patient) (0020,0032)" in refused.text


@pytest.mark.parametrize(
    ("holder", "keyword", "value", "vr"),
    [
        (whole, "InstanceNumber", b"one ", "IS"),
        (whole, "AcquisitionNumber", b"1e300 ", "IS"),
        (whole, "ImageType", b"CT", "ZZ"),
        (whole, "ReferringPhysicianName", b"", "ZZ"),
        (lambda one: shared(one).CTImageFrameTypeSequence[0], "FrameType", b"", "ZZ"),
        (whole, "RequestAttributesSequence", CUT_OFF, "SQ"),
        (third, "FrameVOILUTSequence", CUT_OFF, "SQ"),
        (lambda one: third(one).FrameContentSequence[0], "FrameAcquisitionNumber", b"1e30", "DS"),
        (lambda one: third(one).FrameContentSequence[0], "FrameAcquisitionNumber", b"x ", "LO"),
    ],
    ids=lambda part: part if isinstance(part, str) else "",
)
def test_what_no_frame_needs_may_be_damaged(
    damaged: Callable[..., Path],
    holder: Callable[[Dataset], Dataset],
    keyword: str,
    value: bytes,
    vr: str,
) -> None:
    path = damaged(lambda dataset: encoded(holder(dataset), keyword, value, vr))
    assert np.array_equal(assemble([path]).hu, series.head_hu())


def test_pixels_of_more_than_16_bits_are_not_cut_to_16(damaged: Callable[..., Path]) -> None:
    def widen(dataset: Dataset) -> None:
        dataset.PixelData = dataset.pixel_array.astype("<u4").tobytes()
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 32, 32, 31

    refused = refusal([damaged(widen)])
    assert refused.reason is Reason.UNREADABLE
    assert "its pixels are uint32, expected whole numbers of 16 bits" in refused.text


@pytest.mark.parametrize("number", [errno.EIO, errno.EMFILE, errno.ENOMEM])
def test_a_disk_that_answers_with_errors_says_nothing_of_the_files(
    damaged: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def fail(_path: Path) -> int:
        raise OSError(number, "said")

    path = damaged(lambda _dataset: None)
    monkeypatch.setattr(bounds, "check_file", fail)
    with pytest.raises(OSError, match="said"):
        assemble([path])


def test_an_os_error_that_the_parser_makes_up_is_of_the_file(
    damaged: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_path: Path) -> Dataset:
        raise OSError("No tag to read at file position 84")

    path = damaged(lambda _dataset: None)
    monkeypatch.setattr(pydicom, "dcmread", fail)
    refused = refusal([path])
    assert refused.reason is Reason.UNREADABLE
    assert "file all.dcm cannot be read: it breaks off" in refused.text
