"""`make bench`: seconds and memory to build and write a large SEG, beside highdicom's plain way.

300 slices of 512 x 512 with five segments, each of them on every slice: 1,500 frames.
"""

from __future__ import annotations

import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import highdicom as hd
import numpy as np
from pydicom import Dataset
from rich.console import Console
from rich.table import Table

from ich_node.codes import SUBTYPES
from ich_node.records import CtVolume, Prediction
from ich_node.report.headers import source_headers
from ich_node.report.identity import Work, work_of
from ich_node.report.objects import common_arguments, write
from ich_node.report.seg import build_seg, describe
from tests.support.volumes import make_prediction, make_series, make_volume

SHAPE = (300, 512, 512)
SPACING_MM = (0.5, 0.45, 0.45)
_FIRST_S, _PEAK_GB = 1.0, 1.5

Build = Callable[[CtVolume, Prediction, Sequence[Dataset], Work], Dataset]


def main() -> int:
    """Run the bench, each way in a process of its own; return 0 where ours meets its bar."""
    table = Table("way", "first, s", "second, s", "CPU of the second, s", "peak, GB", "file, MB")
    met = True
    for name in ("ich-node", "highdicom"):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            found = pool.apply(_measure, (name,))
        table.add_row(name, *found)
        if name == "ich-node":
            first_s, _, _, peak_gb, _ = map(float, found)
            met = first_s < _FIRST_S and peak_gb < _PEAK_GB
    Console().print(
        f"SEG of {' x '.join(map(str, SHAPE))} x {len(SUBTYPES)} segments, 1,500 frames"
    )
    Console().print(table)
    Console().print(
        f"bar: first under {_FIRST_S} s, peak under {_PEAK_GB} GB: {'met' if met else 'short'}"
    )
    return 0 if met else 1


def _measure(name: str) -> list[str]:
    build: Build = {"ich-node": build_seg, "highdicom": _plain}[name]
    labels = np.zeros(SHAPE, dtype=np.uint8)
    for value in range(1, 1 + len(SUBTYPES)):
        labels[:, 100:160, 60 * value : 60 * value + 50] = value
    hu = np.zeros(SHAPE, dtype=np.float32)
    volume = make_volume(make_series(hu, spacing_mm=SPACING_MM), hu, spacing_mm=SPACING_MM)
    prediction = make_prediction(labels)
    headers = source_headers(volume)
    work = work_of((header.SOPInstanceUID for header in headers), prediction.model)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "seg.dcm"
        took = []
        for _ in range(2):
            began, cpu = time.monotonic(), time.process_time()
            write(build(volume, prediction, headers, work), path, work.made)
            took.append((time.monotonic() - began, time.process_time() - cpu))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
        (first, _), (second, cpu) = took
        size = path.stat().st_size / 1e6
        return [f"{first:.2f}", f"{second:.2f}", f"{cpu:.2f}", f"{peak:.2f}", f"{size:.1f}"]


def _plain(_: CtVolume, prediction: Prediction, headers: Sequence[Dataset], work: Work) -> Dataset:
    """Build by the library alone, from one mask for each segment."""
    values = range(1, 1 + len(SUBTYPES))
    return hd.seg.Segmentation(
        source_images=headers,
        pixel_array=np.stack([prediction.labels == value for value in values], axis=-1),
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[
            describe(number, name, work) for number, name in enumerate(SUBTYPES, start=1)
        ],
        omit_empty_frames=True,
        **common_arguments(work, "seg"),
    )


if __name__ == "__main__":
    sys.exit(main())
