"""CT series for tests: a small head with nothing symmetric about it, and the means to change it.

A mutation takes the data sets of `head_series` (native little endian pixels, inferior slice
first), changes them and returns the list to write; `tests.support.mutations` has them by name.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)

from ich_node.geometry import PlaneMap
from ich_node.selftest.series import build_series, save
from tests import identity

SPACING_MM = (5.0, 3.0, 2.5)
SLICES = 12
MATRIX = (72, 68)

# The transfer syntaxes that a series can be written in without loss.
ENCODABLE = (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
    RLELossless,
    JPEGLSLossless,
    JPEG2000Lossless,
)

Series = list[Dataset]
Mutation = Callable[[Series], Series]


def head_hu(
    slices: int = SLICES,
    matrix: tuple[int, int] = MATRIX,
    spacing_mm: tuple[float, float, float] = SPACING_MM,
) -> npt.NDArray[np.float32]:
    """A skull with brain, a ventricle on the right, blood on the left in front; whole HU.

    Shape (slice, row, column), axes as in `CtVolume`. No two slices and no two turns are equal.
    """
    z, y, x = (
        ((np.arange(count) - (count - 1) / 2) * step).astype(np.float32)
        for count, step in zip((slices, *matrix), spacing_mm, strict=True)
    )
    z, y, x = z[:, None, None], y[None, :, None], x[None, None, :]

    def ball(centre: Sequence[float], radii: Sequence[float]) -> npt.NDArray[np.bool_]:
        parts = zip((z, y, x), centre, radii, strict=True)
        reach = sum(((axis - at) / radius) ** 2 for axis, at, radius in parts)
        return np.asarray(reach <= 1, np.bool_)

    hu = np.full((slices, *matrix), -1000, np.float32)
    hu[ball((0, 0, 0), (120, 98, 78))] = 40  # scalp
    hu[ball((0, 0, 0), (115, 92, 72))] = 900  # skull
    hu[ball((0, 0, 0), (105, 82, 62))] = 32  # brain
    hu[ball((0, 10, -20), (60, 35, 10))] = 8  # ventricle
    hu[ball((0, -45, 30), (40, 15, 20))] = 65  # blood
    ramp = np.arange(slices, dtype=np.float32)[:, None, None]
    return np.where(hu == 32, hu + ramp % 7, hu)


def head_series(seed: int = 0, slices: int = SLICES) -> Series:
    """The good series: `head_hu` as data sets, inferior slice first."""
    return build_series(head_hu(slices), spacing_mm=SPACING_MM, seed=seed)


def write(
    datasets: Sequence[Dataset], folder: Path, syntax: str = ExplicitVRLittleEndian
) -> list[Path]:
    """Write data sets as ``000.dcm`` and on; return the paths in the same order."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{index:03d}.dcm" for index in range(len(datasets))]
    for dataset, path in zip(datasets, paths, strict=True):
        identity.register(dataset)
        save(dataset, path, syntax)
    return paths


def pixels(dataset: Dataset) -> npt.NDArray[np.generic]:
    """The stored values of a native data set; a copy."""
    kind = "<i2" if dataset.PixelRepresentation else "<u2"
    flat = np.frombuffer(dataset.PixelData, kind)
    return flat.reshape(dataset.Rows, dataset.Columns).copy()


def set_pixels(dataset: Dataset, stored: npt.NDArray[np.generic]) -> None:
    """Replace the stored values; Rows and Columns follow."""
    dataset.Rows, dataset.Columns = stored.shape
    kind = "<i2" if dataset.PixelRepresentation else "<u2"
    dataset.PixelData = np.ascontiguousarray(stored.astype(kind)).tobytes()


def set_hu(datasets: Series, hu: npt.NDArray[np.float32]) -> Series:
    """Replace the pixels of all slices by these HU values."""
    for dataset, plane in zip(datasets, hu, strict=True):
        set_pixels(dataset, np.rint(plane - float(dataset.RescaleIntercept)))
    return datasets


def positions(datasets: Sequence[Dataset]) -> npt.NDArray[np.float64]:
    return np.array([dataset.ImagePositionPatient for dataset in datasets], np.float64)


def place(datasets: Series, where: npt.NDArray[np.float64]) -> Series:
    """Give every slice its Image Position (Patient)."""
    for dataset, position in zip(datasets, where, strict=True):
        dataset.ImagePositionPatient = [f"{part:.6f}" for part in position]
    return datasets


def turned(datasets: Series, plane_map: PlaneMap, feet_first: bool = False) -> Series:
    """Store the same voxels at the same places with turned rows and columns.

    ``feet_first`` numbers and lists the slices from superior to inferior.
    """
    row_mm, column_mm = (float(part) for part in datasets[0].PixelSpacing)
    rows, columns = datasets[0].Rows, datasets[0].Columns
    down, right = np.array([0.0, 1.0, 0.0]), np.array([1.0, 0.0, 0.0])
    corner = np.zeros(3)
    if plane_map.flip_rows:
        corner, down = corner + down * row_mm * (rows - 1), -down
    if plane_map.flip_cols:
        corner, right = corner + right * column_mm * (columns - 1), -right
    if plane_map.transpose:
        down, right = right, down
        row_mm, column_mm = column_mm, row_mm
    place(datasets, positions(datasets) + corner)
    for dataset in datasets:
        set_pixels(dataset, plane_map.to_source(pixels(dataset)))
        dataset.PixelSpacing = [row_mm, column_mm]
        dataset.ImageOrientationPatient = [*right, *down]
    if feet_first:
        datasets.reverse()
        for number, dataset in enumerate(datasets, start=1):
            dataset.InstanceNumber = number
            dataset.PatientPosition = "FFS"
    return datasets


def tilted(datasets: Series, degrees: float) -> Series:
    """Tip the slices about the patient's right-left axis, the table still moving along z."""
    angle = np.radians(degrees)
    for dataset in datasets:
        cosines = [1, 0, 0, 0, np.cos(angle), -np.sin(angle)]
        dataset.ImageOrientationPatient = [f"{part:.7f}" for part in cosines]
        dataset.GantryDetectorTilt = f"{degrees:g}"
    return datasets


def angled(datasets: Series, degrees: float) -> Series:
    """Turn the whole stack about the right-left axis: oblique, but a right-angled grid."""
    angle = np.radians(degrees)
    turn = np.array(
        [
            [1, 0, 0],
            [0, np.cos(angle), np.sin(angle)],
            [0, -np.sin(angle), np.cos(angle)],
        ]
    )
    return place(tilted(datasets, degrees), positions(datasets) @ turn.T)


def set_each(**values: object) -> Mutation:
    """A mutation that sets these elements in every slice; None deletes."""

    def mutate(datasets: Series) -> Series:
        for dataset in datasets:
            _set(dataset, values)
        return datasets

    return mutate


def set_one(**values: object) -> Mutation:
    """A mutation that sets these elements in the fourth slice only; None deletes."""

    def mutate(datasets: Series) -> Series:
        _set(datasets[3], values)
        return datasets

    return mutate


def _set(dataset: Dataset, values: dict[str, object]) -> None:
    for keyword, value in values.items():
        if value is None:
            del dataset[keyword]
        else:
            setattr(dataset, keyword, value)


def copy_of(dataset: Dataset, **values: object) -> Dataset:
    """A second instance with a UID of its own and these elements set."""
    twin = Dataset.from_json(dataset.to_json())
    twin.SOPInstanceUID = generate_uid()
    _set(twin, values)
    return twin


def without(index: int) -> Mutation:
    return lambda datasets: datasets[:index] + datasets[index + 1 :]


def localizer_of(dataset: Dataset) -> Dataset:
    return copy_of(
        dataset,
        ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"],
        ImageOrientationPatient=[0, 1, 0, 0, 0, -1],
    )
