"""What came back, held against what was sent: the same bytes, and blood where it was put."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom import Dataset

from ich_node.report import decode


@dataclass(frozen=True)
class Truth:
    """Where the blood is, in a series whose axes are those of the patient.

    Parameters
    ----------
    inside
        bool (slice, row, column): inferior to superior, anterior to posterior, right to left.
    origin_mm
        Patient coordinates (LPS) of the first voxel, as Image Position (Patient) gives them, mm.
    spacing_mm
        Of the axes of `inside`, mm.
    """

    inside: npt.NDArray[np.bool_]
    origin_mm: tuple[float, float, float]
    spacing_mm: tuple[float, float, float]


@dataclass(frozen=True)
class Overlap:
    """How well a segmentation lies: Dice, and the distance of the centroids, mm."""

    dice: float
    distance_mm: float


def truth_of(
    inside: npt.NDArray[np.bool_], first: Path, spacing_mm: tuple[float, float, float]
) -> Truth:
    """Return the truth of a written series from its first file, that of the inferior slice."""
    x, y, z = pydicom.dcmread(first, stop_before_pixels=True).ImagePositionPatient
    return Truth(inside, (float(x), float(y), float(z)), spacing_mm)


def overlap(seg: Dataset, truth: Truth) -> Overlap:
    """Compare all segments with the truth, by nothing but the SEG's own patient coordinates."""
    points = np.concatenate([_points(frame) for frame in decode.frames(seg)])
    steps = np.array(truth.spacing_mm)
    at = np.rint((points - truth.origin_mm)[:, ::-1] / steps).astype(int)
    voxels = {tuple(index) for index in at.tolist()}
    true = np.argwhere(truth.inside)
    both = len(voxels.intersection(map(tuple, true.tolist())))
    centre = (true.mean(0) * steps)[::-1] + truth.origin_mm
    return Overlap(
        dice=2 * both / (len(voxels) + len(true)),
        distance_mm=float(np.linalg.norm(points.mean(0) - centre)),
    )


def _points(frame: decode.Frame) -> npt.NDArray[np.float64]:
    """Patient coordinates of the voxels of a frame (PS3.3 C.7.6.2.1.1), shape (voxel, 3), mm."""
    rows, columns = np.nonzero(frame.mask)
    down, across = frame.pixel_spacing
    along_row, along_column = frame.orientation[:3], frame.orientation[3:]
    return np.asarray(
        frame.position + columns[:, None] * across * along_row + rows[:, None] * down * along_column
    )


def data_set_sha256(path: Path) -> str:
    """Hash the data set without file meta information, which each archive writes anew."""
    meta = pydicom.filereader.read_file_meta_info(path)
    # Preamble, prefix, and the element that states the length of the others (PS3.10 7.1).
    start = 128 + 4 + 12 + meta.FileMetaInformationGroupLength
    return hashlib.sha256(path.read_bytes()[start:]).hexdigest()
