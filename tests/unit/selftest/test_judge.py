"""The judge sees where a mask lies in the patient, by the SEG alone."""

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom import Dataset

from ich_node.geometry import PlaneMap
from ich_node.records import CtVolume, Prediction
from ich_node.report.build import build_results
from ich_node.selftest.judge import Truth, data_set_sha256, overlap
from tests.support.volumes import make_case

TURNS = [PlaneMap(*turn) for turn in product((False, True), repeat=3)]


def built(folder: Path, volume: CtVolume, prediction: Prediction) -> Path:
    folder.mkdir(exist_ok=True)
    results = build_results(volume, prediction, folder)
    assert results.seg is not None
    return results.seg


def case(folder: Path, turn: PlaneMap) -> tuple[Dataset, Truth]:
    """A SEG of a series whose planes are turned, and the truth in canonical axes."""
    _, volume, prediction = make_case(plane_map=turn)
    seg = pydicom.dcmread(built(folder, volume, prediction))
    return seg, Truth(prediction.labels > 0, volume.origin_mm, volume.spacing_mm)


@pytest.mark.parametrize("turn", TURNS, ids=str)
def test_a_true_mask_lies_on_the_bleed_however_the_planes_are_turned(
    tmp_path: Path, turn: PlaneMap
) -> None:
    found = overlap(*case(tmp_path, turn))
    assert found.dice == 1.0
    assert found.distance_mm < 0.01


@pytest.mark.parametrize("axis", [0, 1, 2], ids=["foot to head", "front to back", "side to side"])
def test_a_mirrored_mask_does_not(tmp_path: Path, axis: int) -> None:
    seg, truth = case(tmp_path, PlaneMap())
    found = overlap(seg, replace(truth, inside=np.flip(truth.inside, axis)))
    assert found.dice < 0.5
    assert found.distance_mm > 3.0


def test_a_shifted_position_is_seen(tmp_path: Path) -> None:
    """One slice further, the mask is 5 mm off."""
    seg, truth = case(tmp_path, PlaneMap())
    for groups in seg.PerFrameFunctionalGroupsSequence:
        position = groups.PlanePositionSequence[0]
        x, y, z = position.ImagePositionPatient
        position.ImagePositionPatient = [x, y, float(z) + 5.0]
    found = overlap(seg, truth)
    assert found.dice < 0.9
    assert found.distance_mm == pytest.approx(5.0, abs=0.01)


def test_the_hash_is_of_the_data_set_and_not_of_the_file(tmp_path: Path) -> None:
    """An archive writes file meta information of its own; a changed value is another object."""
    _, volume, prediction = make_case()
    path = built(tmp_path / "built", volume, prediction)
    kept = pydicom.dcmread(path)
    kept.file_meta.ImplementationVersionName = "ANOTHER"
    kept.save_as(tmp_path / "archived.dcm", enforce_file_format=True)
    assert data_set_sha256(tmp_path / "archived.dcm") == data_set_sha256(path)
    kept.SeriesDescription = "CHANGED"
    kept.save_as(tmp_path / "changed.dcm", enforce_file_format=True)
    assert data_set_sha256(tmp_path / "changed.dcm") != data_set_sha256(path)
