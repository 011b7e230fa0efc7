"""PhysioNet: subtypes of the table's slices reach the mask's voxels only where there is one."""

import numpy as np
import pytest

from ich_node.codes import SUBTYPES
from tests.support.datasets import (
    PHYSIONET_COLUMNS,
    physionet_rows,
    row_of,
    save_nifti,
    tiny_hu,
    write_csv,
    write_physionet,
)
from training.real import physionet
from training.real.records import UNTYPED, DataError

HELD = ((), ("subdural",), ("subdural", "subarachnoid"), ("intraventricular",), (), ())
TABLE = "hemorrhage_diagnosis_raw_ct.csv"


def load_only(folder):
    found = physionet.find(folder)
    assert not found.faults
    (case,) = found.cases
    return physionet.load(case)


@pytest.mark.parametrize("axes", ["LAS", "RAS", "LPI", "ALS"])
@pytest.mark.parametrize("value", [255, 1])
def test_one_subtype_types_the_mask_of_its_slice_and_two_leave_it_untyped(tmp_path, axes, value):
    """Also where the file counts from the top: SliceNumber counts as the file does."""
    loaded = load_only(write_physionet(tmp_path, {49: HELD}, axes, value))
    np.testing.assert_array_equal(loaded.hu, tiny_hu())
    found = [set(np.unique(plane)) - {0} for plane in loaded.labels]
    subdural, inside = (1 + SUBTYPES.index(name) for name in ("subdural", "intraventricular"))
    assert found == [set(), {subdural}, {UNTYPED}, {inside}, set(), set()]
    assert loaded.labels[3, 8, 9] == inside
    np.testing.assert_array_equal(loaded.slice_classes, [row_of(*held) for held in HELD])
    expected = row_of("subdural", "subarachnoid", "intraventricular")
    np.testing.assert_array_equal(loaded.classes, expected)


def test_scans_are_paired_with_rows_and_masks_by_number(tmp_path):
    """The table lists the patients in another order than the folders."""
    folder = write_physionet(tmp_path, {100: HELD, 49: HELD[::-1], 7: HELD})
    found = physionet.find(folder)
    assert {case.name: case.patient for case in found.cases} == {
        name: f"physionet-{name}" for name in ("100", "049", "007")
    }
    for case in found.cases:
        assert {case.images[0].name, case.mask.name} == {f"{case.name}.nii"}
        held = HELD[::-1] if case.name == "049" else HELD
        np.testing.assert_array_equal(
            physionet.load(case).slice_classes, [row_of(*one) for one in held]
        )


def test_a_table_in_reverse_order_is_found_out(tmp_path):
    folder = write_physionet(tmp_path, {49: HELD})
    write_csv(folder / TABLE, PHYSIONET_COLUMNS, physionet_rows(49, HELD[::-1]))
    with pytest.raises(DataError, match=r"in 2 of 6 slices .SliceNumber 2, 5.; in reverse order a"):
        load_only(folder)


def test_a_mask_that_the_table_does_not_know_is_found_out(tmp_path):
    """One slice differs; the reverse order differs in three."""
    folder = write_physionet(tmp_path, {49: HELD})
    held = [*HELD[:3], (), *HELD[4:]]
    write_csv(folder / TABLE, PHYSIONET_COLUMNS, physionet_rows(49, held))
    with pytest.raises(DataError, match=r"in 1 of 6 slices .SliceNumber 4.; in reverse order 3 wo"):
        load_only(folder)


def test_slice_numbers_of_a_file_from_above_are_told_as_the_table_has_them(tmp_path):
    folder = write_physionet(tmp_path, {49: HELD}, "LPI")
    held = [*HELD[:3], (), *HELD[4:]]
    write_csv(folder / TABLE, PHYSIONET_COLUMNS, physionet_rows(49, held[::-1]))
    with pytest.raises(DataError, match="SliceNumber 3"):
        load_only(folder)


def test_files_and_rows_without_fellows_are_said(tmp_path):
    """A scan without rows, rows without a scan, a mask that is missing, slices too few."""
    folder = write_physionet(tmp_path, {49: HELD, 50: HELD, 51: HELD, 52: HELD})
    (folder / "masks" / "051.nii").unlink()
    (folder / "ct_scans" / "050.nii").unlink()
    rows = [row for number in (50, 51, 52) for row in physionet_rows(number, HELD)]
    write_csv(folder / TABLE, PHYSIONET_COLUMNS, rows[:-1])
    found = physionet.find(folder)
    assert not found.cases
    told = {fault.where: fault.text for fault in found.faults}
    assert "049.nii has no rows" in told["049"]
    assert "050.nii is not there" in told["050"]
    assert "051.nii is not there" in told["051"]
    assert told["052"].startswith(f"052.nii has 6 slices, {TABLE} lists 5 from 1 to 5")


def test_a_mask_with_two_values_is_refused(tmp_path):
    folder = write_physionet(tmp_path, {49: HELD})
    mask = (np.arange(6 * 24 * 20) % 3).reshape(6, 24, 20).astype(np.uint8)
    save_nifti(mask, folder / "masks" / "049.nii")
    with pytest.raises(DataError, match=r"mask 049\.nii holds 2; expected 0 or 1, 255"):
        load_only(folder)


@pytest.mark.parametrize(
    ("row", "wrong"),
    [
        ([49, 1, 0, 0, 0, 0, 0, 1, 0], "line 8: slice 1 of patient 49 was in line 2"),
        ([49, 7, 0, 0, 0, 0, 1, 1, 0], "line 8: No_Hemorrhage is 1 and so is a subtype"),
        ([49, 7, 0, 0, 0, 0, 0, 0, 0], "line 8: No_Hemorrhage is 0 and so is a subtype, or none"),
        ([49, 0, 0, 0, 0, 0, 0, 1, 0], "line 8, column SliceNumber: '0', expected a whole number"),
        ([49, 7, 0, 0, "", 0, 0, 1, 0], "line 8, column Subarachnoid: '', expected 0 or 1"),
    ],
)
def test_a_row_that_cannot_be_is_named_by_its_line(tmp_path, row, wrong):
    rows = [*physionet_rows(49, HELD), row]
    write_csv(tmp_path / TABLE, PHYSIONET_COLUMNS, rows)
    with pytest.raises(DataError, match=wrong):
        physionet.find(tmp_path)
