"""A file that cannot be read is a reason that names it, and no file is touched."""

import shutil
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, RLELossless

from ich_node.assemble.assemble import assemble
from ich_node.errors import Reason, SeriesRefused
from tests.support import series
from tests.unit.assemble.refused import refusal


@pytest.mark.parametrize(
    "content",
    [b"", b"not DICOM at all", b"\0" * 128 + b"DICM", b"\0" * 128 + b"DICM" + b"\xff" * 400],
    ids=["empty", "text", "prefix only", "prefix and noise"],
)
def test_file_that_is_not_dicom_is_refused_by_its_name(tmp_path: Path, content: bytes) -> None:
    paths = series.write(series.head_series(), tmp_path)
    paths[4].write_bytes(content)
    with pytest.raises(SeriesRefused, match=r"004\.dcm") as raised:
        assemble(paths)
    assert raised.value.reason in (Reason.UNREADABLE, Reason.NOT_CT)
    assert str(tmp_path) not in raised.value.text


@pytest.mark.parametrize("kept", [0.02, 0.3, 0.6, 0.99])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, JPEG2000Lossless, RLELossless])
def test_file_that_breaks_off_is_refused(tmp_path: Path, kept: float, syntax: str) -> None:
    paths = series.write(series.head_series(), tmp_path, syntax)
    content = paths[4].read_bytes()
    paths[4].write_bytes(content[: int(kept * len(content))])
    with pytest.raises(SeriesRefused, match=r"004\.dcm"):
        assemble(paths)


def test_file_that_is_gone_is_refused(tmp_path: Path) -> None:
    paths = series.write(series.head_series(), tmp_path)
    paths[4].unlink()
    with pytest.raises(SeriesRefused, match=r"004\.dcm cannot be read") as raised:
        assemble(paths)
    assert raised.value.reason == Reason.UNREADABLE


@pytest.mark.parametrize("keyword", ["SOPInstanceUID", "SOPClassUID", "StudyInstanceUID"])
def test_file_without_its_identifying_uids_is_refused(tmp_path: Path, keyword: str) -> None:
    paths = series.write(series.head_series(), tmp_path)
    dataset = pydicom.dcmread(paths[4])
    del dataset[keyword]
    dataset.save_as(paths[4])
    with pytest.raises(SeriesRefused, match=r"004\.dcm") as raised:
        assemble(paths)
    assert raised.value.reason in (Reason.UNREADABLE, Reason.NOT_CT)


def test_no_file_at_all_is_too_few_slices() -> None:
    with pytest.raises(SeriesRefused, match="0 CT slices") as raised:
        assemble([])
    assert raised.value.reason == Reason.TOO_FEW_SLICES


def test_source_files_are_left_as_they_are(tmp_path: Path) -> None:
    paths = series.write(series.head_series(), tmp_path / "ct")
    shutil.copytree(tmp_path / "ct", tmp_path / "kept")
    assemble(paths)
    for path in paths:
        assert path.read_bytes() == (tmp_path / "kept" / path.name).read_bytes()


@pytest.mark.parametrize(
    ("element", "reasons"),
    [
        (b"\xe0\x7f\x10\x00OW", {Reason.NO_PIXEL_DATA}),
        (b"\x28\x00\x02\x00US", {Reason.UNREADABLE, Reason.NOT_HU}),
    ],
)
def test_an_element_of_a_vr_that_nobody_knows_is_a_reason(
    tmp_path: Path, element: bytes, reasons: set[Reason]
) -> None:
    """pydicom finds out only when the value is asked for, wherever that is."""
    paths = series.write(series.head_series(1, 10), tmp_path)
    for path in paths:
        data = path.read_bytes()
        assert data.count(element) == 1
        path.write_bytes(data.replace(element, element[:4] + b"GB"))
    assert refusal(paths).reason in reasons
