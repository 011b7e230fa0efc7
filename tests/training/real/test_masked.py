"""BHSD and INSTANCE22: image and mask pair by name, and values mean what they are said to."""

import numpy as np
import pytest

from ich_node.codes import SUBTYPES
from tests.support.datasets import SHAPE, row_of, save_nifti, tiny_hu, write_masked
from training.real import bhsd, instance22
from training.real.records import UNTYPED, DataError

NAMES = ("ID_2db7ee14_ID_2591d00dfc", "ID_2db7ee14_ID_f27e38fdfd", "ID_05331dc6_ID_47213b7e2e")


def mask_of(*values):
    """A slice for each value, empty for 0."""
    mask = np.zeros(SHAPE, np.uint8)
    for index, value in enumerate(values):
        mask[index, 8 : 10 + index, 9:12] = value
    return mask


def write_bhsd(folder, scans, axes="LAS"):
    root = folder / "label_192"
    write_masked(root / "images", root / "ground truths", scans, axes)
    return folder


def test_values_of_bhsd_are_its_own_order_of_subtypes(tmp_path):
    """1 to 5 are epidural, intraparenchymal, intraventricular, subarachnoid, subdural."""
    (case,) = bhsd.find(write_bhsd(tmp_path, {NAMES[0]: mask_of(1, 2, 3, 4, 5)}, "RPI")).cases
    loaded = bhsd.load(case)
    np.testing.assert_array_equal(loaded.hu, tiny_hu())
    order = ("epidural", "intraparenchymal", "intraventricular", "subarachnoid", "subdural")
    for index, name in enumerate(order):
        assert set(np.unique(loaded.labels[index])) == {0, 1 + SUBTYPES.index(name)}
    np.testing.assert_array_equal(
        loaded.slice_classes, [row_of(name) for name in order] + [row_of()]
    )
    np.testing.assert_array_equal(loaded.classes, np.ones(6))


def test_the_patient_of_bhsd_is_the_first_half_of_the_name(tmp_path):
    """Two scans of one patient; the same name that RSNA has for her."""
    cases = bhsd.find(write_bhsd(tmp_path, {name: mask_of(1) for name in NAMES})).cases
    assert [case.patient for case in cases] == ["ID_05331dc6", "ID_2db7ee14", "ID_2db7ee14"]
    assert [case.name for case in cases] == sorted(NAMES)


def test_the_labelled_part_of_bhsd_may_be_given_itself(tmp_path):
    write_bhsd(tmp_path, {NAMES[0]: mask_of(1)})
    assert bhsd.find(tmp_path / "label_192").cases == bhsd.find(tmp_path).cases


def test_a_name_without_a_patient_is_left_out(tmp_path):
    found = bhsd.find(write_bhsd(tmp_path, {"scan1": mask_of(1), NAMES[0]: mask_of(1)}))
    assert [case.name for case in found.cases] == [NAMES[0]]
    assert "its patient cannot be told" in found.faults[0].text


def test_a_value_that_means_nothing_is_refused(tmp_path):
    (case,) = bhsd.find(write_bhsd(tmp_path, {NAMES[0]: mask_of(1, 6)})).cases
    with pytest.raises(DataError, match=r"mask ID_2db7ee14_.* holds 6; expected 0 or 1, 2"):
        bhsd.load(case)


def test_files_pair_by_name_and_not_by_their_order(tmp_path):
    """As many images as masks: by the order of listings each would have a fellow."""
    root = write_bhsd(tmp_path, {name: mask_of(1) for name in NAMES}) / "label_192"
    (root / "images" / f"{NAMES[2]}.nii.gz").unlink()
    (root / "ground truths" / f"{NAMES[0]}.nii.gz").unlink()
    found = bhsd.find(tmp_path)
    assert [case.name for case in found.cases] == [NAMES[1]]
    assert {fault.where: "in ground truths" in fault.text for fault in found.faults} == {
        NAMES[0]: True,
        NAMES[2]: False,
    }


def test_a_mask_of_another_scan_is_left_out_when_listed(tmp_path):
    """Headers tell: nothing need be loaded."""
    root = write_bhsd(tmp_path, {NAMES[0]: mask_of(1)}) / "label_192"
    save_nifti(np.zeros((7, 24, 20), np.uint8), root / "ground truths" / f"{NAMES[0]}.nii.gz")
    found = bhsd.find(tmp_path)
    assert not found.cases
    assert "must be of its image's grid" in found.faults[0].text


def test_instance22_says_where_and_not_which(tmp_path):
    """Its subtypes are unknown where there is a bleed, and absent where there is none."""
    root = tmp_path / "train_2"
    write_masked(root / "data", root / "label", {"007": mask_of(0, 1), "008": mask_of(0, 0)})
    bleeding, clean = instance22.find(tmp_path).cases
    assert (bleeding.name, bleeding.patient) == ("007", "instance22-007")
    loaded = instance22.load(bleeding)
    assert set(np.unique(loaded.labels)) == {0, UNTYPED}
    np.testing.assert_array_equal(loaded.classes, [1, *[np.nan] * 5])
    np.testing.assert_array_equal(loaded.slice_classes[:1], [row_of()])
    np.testing.assert_array_equal(instance22.load(clean).classes, row_of())


@pytest.mark.parametrize("missing", ["data", "label"])
def test_a_missing_folder_is_named(tmp_path, missing):
    root = tmp_path / "train_2"
    write_masked(root / "data", root / "label", {"007": mask_of(1)})
    (root / missing).rename(root / "elsewhere")
    with pytest.raises(DataError, match=f"train_2/{missing} is not there"):
        instance22.find(tmp_path)
