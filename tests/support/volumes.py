"""Small CT series, volumes and predictions, off-centre on every axis and without symmetry."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import Dataset

from ich_node.codes import CLASSES, SUBTYPES
from ich_node.geometry import PlaneMap
from ich_node.records import ClassScore, CtVolume, ModelIdentity, Prediction
from ich_node.selftest.series import build_series, save
from tests import identity

SHAPE = (10, 48, 40)
SPACING_MM = (5.0, 0.9, 0.8)
MODEL = ModelIdentity("smartnet-ich", "1.0.0", "ab" * 32, "cpu", "fp32")


def make_series(
    hu: npt.NDArray[np.float32],
    *,
    spacing_mm: tuple[float, float, float] = SPACING_MM,
    plane_map: PlaneMap | None = None,
    seed: int = 0,
) -> list[Dataset]:
    """Return the CT data sets of a canonical volume, inferior first, turned by a plane map."""
    plane_map = plane_map or PlaneMap()
    turned = []
    for index, dataset in enumerate(build_series(hu, spacing_mm=spacing_mm, seed=seed)):
        stored = np.frombuffer(dataset.PixelData, "<u2").reshape(hu.shape[1:])
        plane = np.ascontiguousarray(plane_map.to_source(stored))
        dataset.PixelData = plane.tobytes()
        dataset.Rows, dataset.Columns = plane.shape
        _place(dataset, index, hu.shape, spacing_mm, plane_map)
        turned.append(dataset)
    return turned


def _place(
    dataset: Dataset,
    index: int,
    shape: tuple[int, ...],
    spacing_mm: tuple[float, float, float],
    plane_map: PlaneMap,
) -> None:
    """Give a turned plane its position, orientation and spacing from where its corners came."""
    rows, columns = np.meshgrid(np.arange(shape[1]), np.arange(shape[2]), indexing="ij")
    where = np.stack([columns * spacing_mm[2], rows * spacing_mm[1]], axis=0)
    where = plane_map.to_source(where)  # (2: x, y; source row, source column), mm
    corner = [float(part) for part in dataset.ImagePositionPatient]
    along_row = where[:, 0, 1] - where[:, 0, 0]
    along_column = where[:, 1, 0] - where[:, 0, 0]
    lengths = [float(np.linalg.norm(step)) for step in (along_column, along_row)]
    dataset.PixelSpacing = [f"{length:.6g}" for length in lengths]
    cosines = [*(along_row / lengths[1]), 0.0, *(along_column / lengths[0]), 0.0]
    dataset.ImageOrientationPatient = [f"{float(part) + 0.0:g}" for part in cosines]
    dataset.ImagePositionPatient = [
        f"{corner[0] + where[0, 0, 0]:.6f}",
        f"{corner[1] + where[1, 0, 0]:.6f}",
        f"{corner[2]:.6f}",
    ]


def make_volume(
    series: Sequence[Dataset],
    hu: npt.NDArray[np.float32],
    *,
    spacing_mm: tuple[float, float, float] = SPACING_MM,
    plane_map: PlaneMap | None = None,
) -> CtVolume:
    """Return the volume that assembling the series gives."""
    headers = []
    for dataset in series:
        header = copy.deepcopy(dataset)
        del header.PixelData
        headers.append(header)
    half = [-0.5 * (count - 1) * step for count, step in zip(hu.shape, spacing_mm, strict=True)]
    return CtVolume.of_even_slices(
        hu,
        spacing_mm,
        origin_mm=(half[2], half[1], half[0]),
        headers=tuple(headers),
        plane_map=plane_map or PlaneMap(),
    )


def with_source(volume: CtVolume, **changes: Any) -> CtVolume:
    """The volume with something of its source slices changed."""
    changed = replace(volume, source=replace(volume.source, **changes))
    for header in changed.source.headers:
        identity.register(header)
    return changed


def make_hu(shape: tuple[int, int, int] = SHAPE, seed: int = 0) -> npt.NDArray[np.float32]:
    """A skull with brain inside and noise, off-centre, HU."""
    rng = np.random.default_rng(seed)
    rows, columns = np.meshgrid(
        np.linspace(-1, 1, shape[1]), np.linspace(-1, 1, shape[2]), indexing="ij"
    )
    radius = np.hypot((rows + 0.05) / 0.9, (columns - 0.05) / 0.8)
    plane = np.where(radius < 0.85, 35.0, np.where(radius < 1.0, 900.0, -1000.0))
    noisy = plane + rng.normal(0.0, 3.0, shape)
    return noisy.astype(np.float32)


def make_labels(
    shape: tuple[int, int, int] = SHAPE, subtypes: Sequence[str] = ("subdural", "intraparenchymal")
) -> npt.NDArray[np.uint8]:
    """A blob for each subtype: different sizes, off-centre on every axis, one with a hole."""
    labels = np.zeros(shape, dtype=np.uint8)
    slices, rows, columns = shape
    for index, name in enumerate(subtypes):
        first = 1 + index % max(slices - 4, 1)
        top = 3 + (index * (rows - 8)) // max(len(subtypes), 1)
        left = columns // 4 + 2 * index
        size = max(3, rows // 12)
        value = 1 + SUBTYPES.index(name)
        labels[first, top : top + size, left : left + size + 2] = value
        labels[first + 1, top : top + size + 2, left : left + 2 * size] = value
        labels[first + 1, top + 1, left + 1] = 0
        labels[first + 1, top, left + 2 * size + 3] = value
        labels[first + 2, top + 1, left + 2] = value
    return labels


def make_prediction(
    labels: npt.NDArray[np.uint8],
    *,
    present: Sequence[str] | None = None,
    probabilities: Mapping[str, float] | None = None,
    model: ModelIdentity = MODEL,
) -> Prediction:
    """A prediction whose classes with a voxel are present, and those named besides."""
    masked = [name for index, name in enumerate(SUBTYPES, start=1) if (labels == index).any()]
    there = set(masked) | set(present or ())
    if there:
        there.add("any")
    given = probabilities or {}
    scores = {
        name: ClassScore(given.get(name, 0.91 if name in there else 0.037), 0.5, name in there)
        for name in CLASSES
    }
    slices = tuple(
        0.9 - 0.01 * index if plane.any() else 0.02 + 0.001 * index
        for index, plane in enumerate(labels)
    )
    return Prediction(scores=scores, slice_probabilities=slices, labels=labels, model=model)


def make_case(
    *,
    shape: tuple[int, int, int] = SHAPE,
    spacing_mm: tuple[float, float, float] = SPACING_MM,
    subtypes: Sequence[str] = ("subdural", "intraparenchymal"),
    plane_map: PlaneMap | None = None,
    seed: int = 0,
) -> tuple[list[Dataset], CtVolume, Prediction]:
    """Return a series with pixels, its volume, and a prediction with these subtypes."""
    hu = make_hu(shape, seed)
    labels = make_labels(shape, subtypes)
    hu[labels > 0] += 35.0
    series = make_series(hu, spacing_mm=spacing_mm, plane_map=plane_map, seed=seed)
    volume = make_volume(series, hu, spacing_mm=spacing_mm, plane_map=plane_map)
    return series, volume, make_prediction(labels)


def write_ct(series: Sequence[Dataset], folder: Path) -> list[Path]:
    """Write data sets as CT files, one a slice."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, dataset in enumerate(series, start=1):
        path = folder / f"{number:04d}.dcm"
        save(dataset, path)
        paths.append(path)
    return paths
