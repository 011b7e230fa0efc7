"""Whatever a decoder does with damaged pixels is one kind of error, and never the process's end."""

import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import IO

import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from ich_node import decoding
from ich_node.decoding import Undecodable, frame_digests, stored_values
from tests.support import bombs
from tests.support.series import head_series, pixels, write

SYNTAXES = [RLELossless, JPEGLSLossless, JPEG2000Lossless]


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda uid: uid.name)
def test_what_is_whole_comes_out_as_it_went_in(tmp_path: Path, syntax: str) -> None:
    [dataset] = head_series(1, 1)
    [path] = write([dataset], tmp_path, syntax)
    assert np.array_equal(stored_values(pydicom.dcmread(path)), pixels(dataset))


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda uid: uid.name)
def test_damage_anywhere_in_a_code_stream_ends_no_process(tmp_path: Path, syntax: str) -> None:
    """In a process of its own, since it would be ours that ends."""
    write(head_series(1, 1), tmp_path, syntax)
    script = f"""
import random, pydicom
from ich_node.decoding import Undecodable, stored_values
from tests.soak.damage import damaged
rng, ends = random.Random(7), set()
for _ in range(60):
    dataset = pydicom.dcmread({str(tmp_path / "000.dcm")!r})
    data = dataset.PixelData
    dataset.PixelData = data[:16] + damaged(rng, data[16:], 0, 400)
    try:
        stored_values(dataset)
        ends.add("decoded")
    except (Undecodable, MemoryError):
        ends.add("refused")
print(sorted(ends))
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "'refused'" in done.stdout


def of(path: Path) -> tuple[pydicom.Dataset, memoryview]:
    """Return a data set without its pixels, and these as they are encoded."""
    dataset = pydicom.dcmread(path)
    value = memoryview(dataset.PixelData)
    del dataset.PixelData
    return dataset, value


def two_frames(folder: Path, syntax: str) -> Path:
    [dataset] = head_series(1, 1)
    values = np.stack([pixels(dataset), pixels(dataset) // 2])
    dataset.NumberOfFrames = 2
    dataset.PixelData = values.tobytes()
    [path] = write([dataset], folder, syntax)
    return path


@pytest.mark.parametrize("syntax", [*SYNTAXES, ExplicitVRBigEndian], ids=lambda uid: uid.name)
def test_equal_frames_have_equal_digests_whatever_their_encoding(
    tmp_path: Path, syntax: str
) -> None:
    plain = list(frame_digests(*of(two_frames(tmp_path / "plain", ExplicitVRLittleEndian))))
    assert len(set(plain)) == 2
    assert list(frame_digests(*of(two_frames(tmp_path / "other", syntax)))) == plain


def test_a_decoder_that_may_end_its_process_runs_in_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = of(two_frames(tmp_path, RLELossless))
    here = list(frame_digests(*found))
    monkeypatch.setattr(decoding, "_DECODERS", {})
    monkeypatch.setattr(decoding, "get_decoder", None)
    assert list(frame_digests(*found)) == here


def test_a_decoder_that_fails_elsewhere_leaves_us_alone(tmp_path: Path) -> None:
    """GDCM alone knows lossless JPEG: where the process must live it runs in another."""
    header, _value = of(two_frames(tmp_path, RLELossless))
    header.NumberOfFrames, header.file_meta.TransferSyntaxUID = 1, JPEGLosslessSV1
    stream = bombs.stream(JPEGLosslessSV1, header.Rows, header.Columns, tmp_path)
    without_a_table = stream.replace(b"\xff\xc4", b"\xff\xfe")
    with pytest.raises(Undecodable, match="ended with status"):
        list(frame_digests(header, memoryview(encapsulate([without_a_table]))))


def test_no_more_copies_of_pixels_lie_on_the_disk_than_decoders_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy is made by who may start a process, while nobody else may."""
    children, made, taken = threading.Semaphore(1), tempfile.TemporaryFile, []

    def making() -> IO[bytes]:
        taken.append(not children.acquire(blocking=False))
        return made()

    monkeypatch.setattr(decoding, "_children", children)
    monkeypatch.setattr(decoding.tempfile, "TemporaryFile", making)
    monkeypatch.setattr(decoding, "_DECODERS", {})
    list(frame_digests(*of(two_frames(tmp_path, RLELossless))))
    assert taken == [True]
