"""Whatever a decoder does with damaged pixels is one kind of error, and never the process's end."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import (
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from ich_node.decoding import Undecodable, stored_values
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


def test_a_decoder_that_fails_elsewhere_leaves_us_alone(tmp_path: Path) -> None:
    """GDCM alone knows lossless JPEG: where the process must live it runs in another."""
    [path] = write(head_series(1, 1), tmp_path, RLELossless)
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = JPEGLosslessSV1
    with pytest.raises(Undecodable, match="ended with status"):
        stored_values(dataset, at_any_price=False)
