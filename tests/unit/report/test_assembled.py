"""Objects of volumes that the assembling stage itself made, simulated and real."""

from itertools import product
from pathlib import Path

import numpy as np
import pydicom
import pytest

from ich_node.assemble import assemble as stage
from ich_node.errors import Reason, SeriesRefused
from ich_node.geometry import PlaneMap
from ich_node.records import CtVolume, Refusal
from ich_node.report.build import build_not_analysed, build_results
from tests.support.validators import (
    dcentvfy_errors,
    dciodvfy_errors,
    dcmqi_masks,
    labels_from_masks,
)
from tests.support.volumes import (
    SPACING_MM,
    make_case,
    make_hu,
    make_labels,
    make_prediction,
    make_series,
    with_source,
    write_ct,
)
from tests.unit.report.conftest import SUBTYPE_OF_LABEL


@pytest.fixture
def any_object(monkeypatch):
    """Let everything pass as a head: it is the geometry that matters here."""
    monkeypatch.setattr(stage, "check_head", lambda *_: {})


def errors(path: Path) -> list[str]:
    """Errors without warnings: what is odd in a real patient's data is copied as it is."""
    return [line for line in dciodvfy_errors(path) if line.startswith("Error")]


def disagreements(files: list[Path], built: list[Path]) -> list[str]:
    """Errors that dcentvfy finds in the series with our objects and not in the series alone."""
    before = dcentvfy_errors(files)
    after = dcentvfy_errors([*files, *built])
    return [line for line in after if line.startswith("Error") and line not in before]


def assert_comes_back(volume: CtVolume, files: list[Path], folder: Path) -> None:
    """The mask that dcmqi reads in patient space is the one that was put in."""
    labels = make_labels(volume.hu.shape, ("subdural", "subarachnoid", "intraventricular"))
    results = build_results(volume, make_prediction(labels), folder)
    seen = labels_from_masks(dcmqi_masks(results.seg), SUBTYPE_OF_LABEL, volume)
    assert np.array_equal(seen, labels)
    for path in (results.seg, results.sr):
        assert errors(path) == []
    assert disagreements(files, [results.seg, results.sr]) == []


@pytest.mark.parametrize(
    "plane_map", [PlaneMap(*f) for f in product((False, True), repeat=3)], ids=str
)
@pytest.mark.parametrize("reverse", [False, True], ids=["", "reversed"])
def test_a_series_laid_out_in_any_way(any_object, tmp_path: Path, plane_map: PlaneMap, reverse):
    series = make_series(make_hu(), plane_map=plane_map)
    if reverse:
        for dataset in series:
            dataset.InstanceNumber = len(series) + 1 - dataset.InstanceNumber
    files = write_ct(series[::-1] if reverse else series, tmp_path / "ct")
    volume = stage.assemble(files)
    assert volume.source.plane_map == plane_map
    assert_comes_back(volume, files, tmp_path)


def test_the_factory_of_the_tests_makes_what_the_stage_makes(any_object, tmp_path: Path):
    plane_map = PlaneMap(True, True, False)
    series, volume, _ = make_case(plane_map=plane_map)
    found = stage.assemble(write_ct(series, tmp_path / "ct"))
    assert np.allclose(found.hu, np.rint(volume.hu), atol=0.51)
    assert np.allclose(found.spacing_mm, SPACING_MM)
    assert np.allclose(found.origin_mm, volume.origin_mm)
    assert np.allclose(found.direction, volume.direction)
    assert [h.SOPInstanceUID for h in found.source.headers] == [
        h.SOPInstanceUID for h in volume.source.headers
    ]


def test_an_oblique_series(any_object, tmp_path: Path):
    """Head turned by 10 degrees about the long axis and nodded by 8."""
    yaw, nod = np.deg2rad(10), np.deg2rad(8)
    turn = np.array([[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])
    tip = np.array([[1, 0, 0], [0, np.cos(nod), -np.sin(nod)], [0, np.sin(nod), np.cos(nod)]])
    rotation = tip @ turn
    series = make_series(make_hu())
    for dataset in series:
        position = rotation @ [float(part) for part in dataset.ImagePositionPatient]
        dataset.ImagePositionPatient = [f"{part:.6f}" for part in position]
        cosines = [*rotation[:, 0], *rotation[:, 1]]
        dataset.ImageOrientationPatient = [f"{part:.8f}" for part in cosines]
    files = write_ct(series, tmp_path / "ct")
    assert_comes_back(stage.assemble(files), files, tmp_path)


@pytest.mark.shared_data
def test_a_real_series(any_object, shared_data: Path, tmp_path: Path):
    """Slices of 5 mm of a head phantom, as the scanner wrote them."""
    files = sorted((shared_data / "philips-phantom" / "S21570" / "S2010").iterdir())
    assert_comes_back(stage.assemble(files), files, tmp_path)


@pytest.mark.shared_data
@pytest.mark.parametrize("folder", ["ge-head-tilt", "philips-phantom"])
def test_every_real_series_can_be_refused(shared_data: Path, tmp_path: Path, folder: str):
    series: dict[str, list[Path]] = {}
    for path in sorted((shared_data / folder).rglob("*")):
        if path.is_file() and path.name != "LICENSE":
            uid = pydicom.dcmread(path, stop_before_pixels=True).SeriesInstanceUID
            series.setdefault(uid, []).append(path)
    assert series
    for uid, paths in series.items():
        out = tmp_path / uid
        out.mkdir()
        headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in paths]
        refusal = Refusal(Reason.GANTRY_TILT, "gantry tilt of +18.5 degrees")
        results = build_not_analysed(headers, refusal, out)
        assert errors(results.sr) == []
        assert disagreements(paths, [results.sr]) == []


@pytest.mark.shared_data
def test_a_real_head_that_is_refused_gets_its_own_sentence(shared_data: Path, tmp_path: Path):
    files = sorted((shared_data / "ge-head-tilt").glob("*.dcm"))
    files = [file for index, file in enumerate(files) if index % 3]
    with pytest.raises(SeriesRefused) as refused:
        stage.assemble(files)
    headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in files]
    refusal = Refusal(refused.value.reason, refused.value.text)
    results = build_not_analysed(headers, refusal, tmp_path)
    said = [item for item in pydicom.dcmread(results.sr).iterall() if item.keyword == "TextValue"]
    assert any(refused.value.text in str(item.value) for item in said)


def test_a_volume_with_only_some_of_its_headers_is_no_volume(tmp_path: Path):
    """A length that differs is an error of ours and must not end as a SEG of fewer slices."""
    _, volume, prediction = make_case()
    fewer = with_source(volume, headers=volume.source.headers[:-1])
    with pytest.raises((ValueError, IndexError)):
        build_results(fewer, prediction, tmp_path)
