"""Vessels with contrast medium are seen; blood, calcium, drains and bone are not taken for it."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pydicom
import pytest

from ich_node.assemble.contrast import bright_spots, check_contrast
from ich_node.errors import Reason, SeriesRefused
from tests.support import series
from training.simulate import simulate_head

SPACING_MM = (5.0, 1.0, 1.0)
MATRIX = (216, 180)
Hu = npt.NDArray[np.float32]


@pytest.fixture
def head() -> Hu:
    """A head of 120 mm, the middle of it at (12, 108, 90)."""
    return series.head_hu(24, MATRIX, SPACING_MM)


def spot(hu: Hu, slices: slice, row: int, column: int, radius: float, value: float) -> None:
    rows, columns = np.mgrid[: hu.shape[1], : hu.shape[2]]
    hu[slices, np.hypot(rows - row, columns - column) <= radius] = value


VESSELS = ((80, 90), (95, 60), (95, 120), (120, 70), (120, 110), (140, 90))


@pytest.mark.parametrize("value", [130.0, 200.0, 400.0])
@pytest.mark.parametrize("radius", [1.5, 2.5])
def test_bright_vessels_are_contrast_medium(head: Hu, value: float, radius: float) -> None:
    for row, column in VESSELS:
        spot(head, slice(6, 16), row, column, radius, value)
    with pytest.raises(SeriesRefused, match=r"over 50 mm of height .* \(6 in one\)") as raised:
        check_contrast(head, SPACING_MM)
    assert raised.value.reason is Reason.CONTRAST


def test_thin_and_noisy_slices_are_seen_as_well() -> None:
    hu = series.head_hu(120, MATRIX, (1.0, 1.0, 1.0))
    noise = np.random.default_rng(0).normal(0, 15, hu.shape).astype(np.float32)
    assert check_contrast(hu + noise, (1.0, 1.0, 1.0)) == {"bright_vessels_mm": 0.0}
    for row, column in VESSELS:
        spot(hu, slice(30, 80), row, column, 2.0, 200.0)
    with pytest.raises(SeriesRefused):
        check_contrast(hu + noise, (1.0, 1.0, 1.0))


def clot(hu: Hu) -> None:
    for row, column in VESSELS:
        spot(hu, slice(4, 20), row, column, 12, 100)


def calcium(hu: Hu) -> None:
    """Pineal gland and both choroid plexuses, and the basal ganglia above one another."""
    for row, column in ((110, 90), (120, 66), (120, 114), (95, 70), (95, 110)):
        spot(hu, slice(10, 14), row, column, 3, 300)


def falx(hu: Hu) -> None:
    hu[8:20, 60:100, 89:91] = 300


def drain(hu: Hu) -> None:
    for index in range(8, 22):
        spot(hu, slice(index, index + 1), 80 + index, 60 + index, 1.5, 250)


def base(hu: Hu) -> None:
    """Petrous bone on both sides, and islands of bone above it."""
    hu[4:9, 90:110, 40:140] = 900
    for row, column in VESSELS:
        spot(hu, slice(9, 11), row, column, 3, 500)


@pytest.mark.parametrize("paint", [clot, calcium, falx, drain, base])
def test_what_else_is_bright_is_not(head: Hu, paint) -> None:
    assert check_contrast(head, SPACING_MM)["bright_vessels_mm"] == 0
    paint(head)
    assert check_contrast(head, SPACING_MM)["bright_vessels_mm"] < 25


@pytest.mark.parametrize(
    "bleeds", [("intraparenchymal", "intraventricular"), ("subarachnoid", "subdural")]
)
def test_bleeds_of_simulated_heads_are_no_contrast_medium(bleeds) -> None:
    found = simulate_head(700_001, bleeds, matrix=256)
    spots, step = bright_spots(found.hu, found.spacing_mm)
    assert np.count_nonzero(spots >= 3) * step <= 10


@pytest.mark.shared_data
def test_a_real_head_without_contrast_medium_passes(shared_data: Path) -> None:
    """Tilted, with a skull base, old infarcts and calcified plexuses."""
    slices = [pydicom.dcmread(path) for path in (shared_data / "ge-head-tilt").glob("*.dcm")]
    slices.sort(key=lambda one: float(one.ImagePositionPatient[2]))
    hu = np.stack([one.pixel_array + float(one.RescaleIntercept) for one in slices])
    spacing = (5.3, *(float(part) for part in slices[0].PixelSpacing))
    found = check_contrast(np.maximum(hu, -1024).astype(np.float32), spacing)
    assert found["bright_vessels_mm"] <= 6
