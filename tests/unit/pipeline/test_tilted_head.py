"""A real head under a tilted gantry, in two sections: landmarks and a burnt-in bleed stay put."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from pydicom import Dataset
from scipy.ndimage import gaussian_filter, map_coordinates

from ich_node.assemble.assemble import assemble
from ich_node.codes import SUBTYPES
from ich_node.infer.predictor import load_predictor
from ich_node.pipeline.folder import analyze_folder
from ich_node.records import CtVolume, Prediction
from ich_node.report import decode
from tests.support.volumes import make_prediction

pytestmark = pytest.mark.shared_data

Array = npt.NDArray[np.float64]
LABEL = 1 + SUBTYPES.index("intraparenchymal")
# In the left hemisphere, where 4 mm slices go over to 7 mm ones.
CENTRE_MM, RADIUS_MM = np.array([28.0, 8.0, 32.0]), 18.0
BLOOD_HU = 300.0  # above all brain, below bone
BONE_HU = 300.0
FRESH_HU = 65.0


@pytest.fixture
def folder(shared_data: Path) -> Path:
    return shared_data / "ge-head-tilt"


def points_of(header: Dataset) -> Array:
    """Patient coordinates of every pixel, shape (row, column, 3), mm (PS3.3 C.7.6.2.1.1)."""
    cosines = np.array(header.ImageOrientationPatient, float)
    rows, columns = np.indices((header.Rows, header.Columns))
    down, across = (float(part) for part in header.PixelSpacing)
    return (
        np.array(header.ImagePositionPatient, float)
        + columns[..., None] * across * cosines[:3]
        + rows[..., None] * down * cosines[3:]
    )


def edges(plane: Array, centre: Array, count: int = 24) -> Array:
    """Where rays from a centre leave the skull, (row, column), to a fraction of a pixel.

    NaN where there is no bone, or none so dense just inside that its edge is sharp.
    """
    smooth = gaussian_filter(plane, 1.5)  # else a grazing ray meets noise before the edge
    found = []
    for angle in np.linspace(0, 2 * np.pi, count, endpoint=False):
        way = np.arange(0, 400, 0.25)
        ray = centre[:, None] + np.outer([np.sin(angle), np.cos(angle)], way)
        hu = map_coordinates(smooth, ray, order=1, cval=-1024)
        bone = np.flatnonzero(hu > BONE_HU)
        if not bone.size or hu[bone[-1] - 12] < 2 * BONE_HU:  # three pixels further in
            found.append(np.full(2, np.nan))
            continue
        last = int(bone[-1])
        part = (hu[last] - BONE_HU) / (hu[last] - hu[last + 1])
        found.append(ray[:, last] + part * (ray[:, last + 1] - ray[:, last]))
    return np.array(found)


def test_skull_landmarks_map_back_to_their_pixels_within_half_a_pixel(folder: Path) -> None:
    volume = assemble(sorted(folder.glob("*.dcm")))
    on_a_plane = 0
    seen: list[float] = []
    for header in volume.source.headers:
        points = points_of(header)
        grid = (points - volume.origin_mm) @ np.array(volume.direction) / volume.spacing_mm
        height = float(grid[0, 0, 0])
        index = round(height)
        if abs(height - index) > 0.02:
            continue
        on_a_plane += 1
        sent = volume.source.hu[volume.source.headers.index(header)]
        centre = np.argwhere(sent > BONE_HU).mean(0)
        row, column = np.rint(centre).astype(int)
        shift = grid[row, column, 1:] - (row, column)
        there = edges(volume.hu[index], centre + shift) - shift
        off = np.linalg.norm(there - edges(sent, centre), axis=1)
        seen.extend(off[np.isfinite(off)].tolist())
    assert on_a_plane >= 14
    assert len(seen) > 250
    assert max(seen) < 0.5


def plain(_: Array) -> Array | float:
    return BLOOD_HU


def fresh(hu: Array) -> Array | float:
    """Blood as it is, under the grain of the slice."""
    return FRESH_HU + hu - gaussian_filter(hu, 2)


def burn(
    source: Path, folder: Path, blood_of: Callable[[Array], Array | float] = plain
) -> tuple[float, Array]:
    """Write the slices with a ball of blood; return its volume in them, mL, and its centroid."""
    folder.mkdir()
    datasets = [pydicom.dcmread(path) for path in sorted(source.glob("*.dcm"))]
    normal = np.cross(*np.array(datasets[0].ImageOrientationPatient, float).reshape(2, 3))
    datasets.sort(key=lambda each: float(np.array(each.ImagePositionPatient, float) @ normal))
    heights = np.array([np.array(each.ImagePositionPatient, float) @ normal for each in datasets])
    edges_mm = np.concatenate([heights[:1], (heights[:-1] + heights[1:]) / 2, heights[-1:]])
    total, moment = 0.0, np.zeros(3)
    for index, dataset in enumerate(datasets):
        points = points_of(dataset)
        inside = np.linalg.norm(points - CENTRE_MM, axis=-1) < RADIUS_MM
        stored = dataset.pixel_array.copy()
        slope, intercept = float(dataset.RescaleSlope), float(dataset.RescaleIntercept)
        blood = np.broadcast_to(blood_of(stored * slope + intercept), stored.shape)
        stored[inside] = np.rint((blood[inside] - intercept) / slope)
        dataset.PixelData = stored.tobytes()
        dataset.save_as(folder / f"{index:03d}.dcm")
        area = float(np.prod([float(part) for part in dataset.PixelSpacing]))
        ml = area * (edges_mm[index + 1] - edges_mm[index]) / 1000
        total += ml * inside.sum()
        moment += ml * points[inside].sum(0)
    return total, moment / total


def network(volume: CtVolume) -> Prediction:
    """Return the burnt mask as the volume that is read shows it."""
    index = np.moveaxis(np.indices(volume.hu.shape), 0, -1) * volume.spacing_mm
    points = np.array(volume.origin_mm) + index @ np.array(volume.direction).T
    near = np.linalg.norm(points - CENTRE_MM, axis=-1) < RADIUS_MM + 8
    labels = np.where((volume.hu > (BLOOD_HU + 35) / 2) & near, LABEL, 0)
    return make_prediction(labels.astype(np.uint8))


def headers_of(folder: Path) -> dict[str, Dataset]:
    headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in folder.iterdir()]
    return {str(header.SOPInstanceUID): header for header in headers}


def centroid(seg: Path, headers: dict[str, Dataset]) -> Array:
    """Patient coordinates of the middle of a segmentation, mm."""
    weight, moment = 0.0, np.zeros(3)
    for frame in decode.frames(pydicom.dcmread(seg)):
        header = headers[frame.source_uid]
        # A slice stands for its thickness, but where the sections meet.
        points = points_of(header)[frame.mask]
        weight += len(points) * float(header.SliceThickness)
        moment += points.sum(0) * float(header.SliceThickness)
    return np.asarray(moment / weight)


def test_shipped_model_finds_a_bleed_in_the_tilted_slices_where_it_is(
    folder: Path, tmp_path: Path
) -> None:
    """No test of how well it finds: bleeds drawn into this head were among what it learned from."""
    _, true_centre = burn(folder, tmp_path / "ct", fresh)
    predictor = load_predictor("smartnet-ich", "cpu")
    told = analyze_folder(tmp_path / "ct", tmp_path / "out", predictor.predict, lambda _: None)
    assert told["findings"]["intraparenchymal"]["present"]
    found = centroid(tmp_path / "out" / "seg.dcm", headers_of(tmp_path / "ct"))
    off = float(np.linalg.norm(found - true_centre))
    print(f"centroid {off:.1f} mm off")
    assert off < 5.0


def test_bleed_burnt_into_the_slices_is_told_where_and_as_large_as_it_is(
    folder: Path, tmp_path: Path
) -> None:
    true_ml, true_centre = burn(folder, tmp_path / "ct")
    told = analyze_folder(tmp_path / "ct", tmp_path / "out", network, lambda _: None)
    assert told["status"] == "analysed", told["reason_text"]
    assert told["findings"]["any"]["volume_ml"] == pytest.approx(true_ml, rel=0.02)
    assert true_ml == pytest.approx(4 / 3 * np.pi * RADIUS_MM**3 / 1000, rel=0.03)
    assert len(told["slice_probabilities"]) == 28

    files = headers_of(tmp_path / "ct")
    steps = {float(each.SliceThickness) for each in files.values()}
    off = centroid(tmp_path / "out" / "seg.dcm", files) - true_centre
    header = next(iter(files.values()))
    cosines = np.array(header.ImageOrientationPatient, float).reshape(2, 3)
    assert np.abs(cosines @ off).max() < 0.5 * 0.488
    assert abs(np.cross(*cosines) @ off) < 0.5 * min(steps)
