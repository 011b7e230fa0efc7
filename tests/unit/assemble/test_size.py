"""A series that becomes more than memory holds is refused with its numbers, not decoded first."""

import copy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import (
    EnhancedCTImageStorage,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
)

from ich_node.assemble import pixels, source
from ich_node.assemble.assemble import assemble
from ich_node.errors import Reason
from tests.support import bombs, series
from tests.support.frames import multiframe
from tests.unit.assemble.refused import refusal


def test_ten_slices_of_8000_x_8000_of_a_few_kilobytes_are_refused(tmp_path: Path) -> None:
    """By a child, whose memory tells that none was decoded: each is 128 MB, the volume 2.5 GB."""
    datasets = series.head_series(slices=10)
    [large] = series.write([wide(datasets[0])], tmp_path / "one", RLELossless)
    encoded = pydicom.dcmread(large)
    for index, dataset in enumerate(datasets):
        encoded.SOPInstanceUID, encoded.InstanceNumber = dataset.SOPInstanceUID, index
        encoded.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        encoded.ImagePositionPatient = dataset.ImagePositionPatient
        encoded.save_as(tmp_path / f"{index}.dcm")
    script = f"""
import resource
from pathlib import Path
from ich_node.assemble.assemble import assemble
from ich_node.errors import SeriesRefused
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    assemble(list(Path({str(tmp_path)!r}).glob("*.dcm")))
except SeriesRefused as refused:
    print(refused)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, timeout=100
    )
    told, cost_mb = done.stdout.splitlines()
    assert told == (
        "too_large: 10 slices of 8000 x 8000 are 640 million voxels, at most 268 million are "
        "read; send thicker slices or a smaller matrix"
    )
    assert int(cost_mb) < 100


def wide(dataset: pydicom.Dataset) -> pydicom.Dataset:
    found = copy.deepcopy(dataset)
    series.set_pixels(found, np.zeros((8000, 8000), np.uint16))
    return found


def test_frames_count_as_slices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = multiframe(series.head_series(), tmp_path / "all.dcm", EnhancedCTImageStorage)
    monkeypatch.setattr(pixels, "MOST_VOXELS", 12 * 72 * 68 - 1)
    monkeypatch.setattr(pixels, "stored_values", lambda _dataset: pytest.fail("decoded"))
    refused = refusal([path])
    assert refused.reason is Reason.TOO_LARGE
    assert "12 slices of 72 x 68 are" in refused.text


def test_a_volume_of_the_most_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixels, "MOST_VOXELS", 12 * 72 * 68)
    assert assemble(series.write(series.head_series(), tmp_path)).hu.shape == (12, 72, 68)


def test_a_grid_that_only_the_geometry_makes_large_is_refused(tmp_path: Path) -> None:
    """Tilted slices are moved sideways by so many of their pixels, which may be tiny."""
    datasets = series.tilted(series.head_series(), 20)
    refused = refusal(series.write(series.set_each(PixelSpacing=[1e-3, 1e-3])(datasets), tmp_path))
    assert refused.reason is Reason.TOO_LARGE
    assert "that its geometry asks for are" in refused.text


def test_a_code_stream_of_another_size_is_told_with_the_file(tmp_path: Path) -> None:
    paths = series.write(series.head_series(), tmp_path, JPEG2000Lossless)
    dataset = pydicom.dcmread(paths[3])
    stream = bombs.stream(JPEG2000Lossless, 30000, 30000, tmp_path)
    dataset.PixelData = pydicom.encaps.encapsulate([stream])
    dataset.save_as(paths[3])
    refused = refusal(paths)
    assert refused.reason is Reason.UNREADABLE
    assert "file 003.dcm" in refused.text
    assert "30000 rows x 30000 columns x 1 samples, its header 72 rows" in refused.text


def test_elements_are_counted_over_all_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What one file may have is too much of a thousand."""
    paths = series.write(series.head_series(), tmp_path)
    monkeypatch.setattr(source, "MOST_ELEMENTS", 200)
    refused = refusal(paths)
    assert refused.reason is Reason.UNREADABLE
    assert "4 of 12 files have 240 elements already, at most 200 are read" in refused.text


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless])
@pytest.mark.parametrize("where", ["before", "behind"])
def test_a_file_with_more_elements_than_can_be_read_is_named(
    tmp_path: Path, where: str, syntax: str
) -> None:
    """A million empty ones, before its pixels or behind them."""
    paths = series.write(series.head_series(), tmp_path, syntax)
    whole = paths[5].read_bytes()
    at = whole.index(b"\xe0\x7f\x10\x00O") if where == "before" else len(whole)
    paths[5].write_bytes(whole[:at] + b"\x29\x00\x10\x10LO\0\0" * 1_000_000 + whole[at:])
    refused = refusal(paths)
    assert refused.reason is Reason.UNREADABLE
    assert "file 005.dcm cannot be read: it has more than 262144 elements" in refused.text


def test_bytes_are_summed_over_all_files_before_one_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = series.write(series.head_series(), tmp_path)
    monkeypatch.setattr(source, "_MOST_BYTES", 8 << 10)
    monkeypatch.setattr(source, "_read", lambda _path: pytest.fail("read"))
    refused = refusal(paths)
    assert refused.reason is Reason.TOO_LARGE
    assert "1 of 12 files have 0 MB already, not deflated, at most 0 MB are read" in refused.text


def test_what_all_frames_share_counts_for_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand elements in a file of a few frames of four pixels are millions in slices."""
    path = multiframe(series.head_series(), tmp_path / "all.dcm", EnhancedCTImageStorage)
    dataset = pydicom.dcmread(path)
    for number in range(100):
        dataset.add_new(0x00291000 + number, "LO", "")
    dataset.RequestAttributesSequence = [pydicom.Dataset() for _ in range(100)]
    # Of a stated length it stays in every slice as the bytes that it is, and costs nothing more.
    dataset["RequestAttributesSequence"].is_undefined_length = True
    dataset.save_as(path)
    monkeypatch.setattr(source, "MOST_ELEMENTS", 12 * 200)
    monkeypatch.setattr(pixels, "stored_values", lambda _dataset: pytest.fail("decoded"))
    refused = refusal([path])
    assert refused.reason is Reason.UNREADABLE
    assert "its frames as slices have" in refused.text
