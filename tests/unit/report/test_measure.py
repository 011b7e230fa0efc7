"""Volumes are counts times the volume of a voxel, and `any` is the union."""

import numpy as np
import pytest

from ich_node.report.measure import percent, volume_text, volumes_ml, voxels


def test_any_is_the_union_of_the_subtypes():
    labels = np.array([[[0, 1, 1], [5, 5, 5]]], dtype=np.uint8)
    assert volumes_ml(labels, np.array([0.25])) == {
        "any": 1.25,
        "epidural": 0.5,
        "subdural": 0.0,
        "subarachnoid": 0.0,
        "intraparenchymal": 0.0,
        "intraventricular": 0.75,
    }


def test_a_voxel_counts_for_what_its_slice_stands_for():
    labels = np.array([[[1, 0]], [[1, 1]], [[0, 0]]], dtype=np.uint8)
    assert volumes_ml(labels, np.array([0.25, 1.0, 7.0]))["epidural"] == 2.25


@pytest.mark.parametrize("side_mm", [0.1, 0.35, 0.45])
def test_a_voxel_however_small_has_a_volume(side_mm: float):
    labels = np.array([[[2, 0]]], dtype=np.uint8)
    found = volumes_ml(labels, np.array([side_mm**3 / 1000]))
    assert found["subdural"] == found["any"] == pytest.approx(side_mm**3 / 1000, rel=1e-5)
    assert found["epidural"] == 0
    assert len(repr(found["any"])) <= 16


def test_a_label_without_a_subtype_is_refused():
    with pytest.raises(ValueError, match="label 6"):
        voxels(np.array([6], dtype=np.uint8))


@pytest.mark.parametrize(("ml", "text"), [(0, "0.0 mL"), (0.004, "< 0.1 mL"), (12.34, "12.3 mL")])
def test_a_bleed_is_never_told_as_nothing(ml: float, text: str):
    assert volume_text(ml) == text


def test_probabilities_are_told_in_tenths_of_a_percent():
    assert percent(0.12345) == 12.3
