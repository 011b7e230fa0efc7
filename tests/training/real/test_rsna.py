"""RSNA: labels come to the slice they belong to, whatever the names and the table's order."""

import random
import warnings

import numpy as np
import pytest

from ich_node.assemble.source import read
from ich_node.geometry import PlaneMap
from tests.support.datasets import (
    RSNA_PATIENT,
    RSNA_SERIES,
    row_of,
    rsna_id,
    rsna_rows,
    rsna_slices,
    write_csv,
    write_rsna,
)
from tests.support.series import (
    SPACING_MM,
    head_hu,
    pixels,
    place,
    positions,
    set_pixels,
    tilted,
    turned,
)
from training.real import rsna
from training.real.dicom import pile_of
from training.real.records import DataError

HELD = {2: ("subdural",), 3: ("subdural", "epidural")}
TABLE, IMAGES = "stage_2_train.csv", "stage_2_train"


def load_only(folder):
    found = rsna.find(folder)
    assert not found.faults
    (case,) = found.cases
    return case, rsna.load(case)


def shuffle_rows(path, more=()):
    header, *rows = path.read_text().splitlines()
    rows += more
    random.Random(1).shuffle(rows)
    path.write_text("\n".join([header, *rows]) + "\n")


def test_a_series_is_sorted_by_position_and_its_labels_go_with_it(tmp_path):
    """File names are in another order than the slices, the table in a third."""
    folder = write_rsna(tmp_path, HELD)
    shuffle_rows(folder / TABLE)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # identifiers that are no UIDs are told of by nobody
        case, loaded = load_only(folder)
    assert (case.name, case.patient) == (RSNA_SERIES, RSNA_PATIENT)
    assert [path.stem for path in case.images] != [rsna_id(index) for index in range(9)]
    np.testing.assert_array_equal(loaded.hu, head_hu(9))
    assert loaded.spacing_mm == pytest.approx(SPACING_MM)
    expected = [row_of(*HELD.get(index, ())) for index in range(9)]
    np.testing.assert_array_equal(loaded.slice_classes, expected)
    np.testing.assert_array_equal(loaded.classes, row_of("subdural", "epidural"))
    assert loaded.labels is None


def test_tilted_and_missing_slices_are_still_labelled_slices(tmp_path):
    """The node refuses the volume; each slice shows what it shows."""
    datasets = tilted(rsna_slices(), 15)
    del datasets[4]
    write_rsna(tmp_path, {}, datasets)
    _, loaded = load_only(tmp_path)
    np.testing.assert_array_equal(loaded.hu, np.delete(head_hu(9), 4, 0))
    assert loaded.spacing_mm[0] == pytest.approx(5 * np.cos(np.radians(15)), abs=0.01)


@pytest.mark.parametrize("plane_map", [PlaneMap(True, False, True), PlaneMap(False, True, True)])
def test_slices_stored_otherwise_are_turned_as_heads_are_read(tmp_path, plane_map):
    """Numbered from above, rows and columns exchanged or reversed; spacing goes with its axis."""
    write_rsna(tmp_path, {}, turned(rsna_slices(), plane_map, feet_first=True))
    _, loaded = load_only(tmp_path)
    np.testing.assert_array_equal(loaded.hu, head_hu(9))
    assert loaded.spacing_mm == pytest.approx(SPACING_MM)


@pytest.mark.shared_data
def test_a_real_tilted_series_with_uneven_steps_is_a_pile(shared_data):
    """28 slices, 18.5 degrees, steps of 4.2 and 7.4 mm: brain in the middle, air at the corners."""
    paths = sorted((shared_data / "ge-head-tilt").glob("*.dcm"), reverse=True)
    pile = pile_of(read(paths))
    assert pile.hu.shape == (28, 512, 512)
    assert sorted(pile.names) == [path.name for path in reversed(paths)]
    assert pile.hu[14, 256, 256] == pytest.approx(30, abs=30)
    assert pile.hu[:, 0, 0].max() < -900
    assert pile.spacing_mm[1:] == pytest.approx((0.488, 0.488), abs=1e-3)


def store(datasets, signed, hu):
    """Store HU in 12 bits, with an intercept of 0, called signed or not."""
    for dataset, plane in zip(datasets, hu, strict=True):
        dataset.RescaleIntercept = "0"
        dataset.PixelRepresentation = int(signed)
        set_pixels(dataset, plane.astype(np.int16).astype(np.uint16) & 0x0FFF)


@pytest.mark.parametrize("signed", [True, False])
def test_signed_values_in_twelve_bits_keep_their_sign(tmp_path, signed):
    """Also where the header calls them unsigned; air is not 3096 HU."""
    datasets, hu = rsna_slices(), head_hu(9)
    hu[:, :3] = -1900  # padding
    store(datasets, signed, hu)
    write_rsna(tmp_path, {}, datasets)
    _, loaded = load_only(tmp_path)
    np.testing.assert_array_equal(loaded.hu, np.maximum(hu, -1024))


def test_unsigned_values_with_an_intercept_are_left_alone(tmp_path):
    """Bone of 2,900 HU is above the sign bit and stays bone."""
    datasets = rsna_slices()
    bright = pixels(datasets[0])
    bright[0, 0] = 2900 + 1024
    set_pixels(datasets[0], bright)
    write_rsna(tmp_path, {}, datasets)
    _, loaded = load_only(tmp_path)
    assert loaded.hu[0, 0, 0] == 2900


def test_rows_that_are_repeated_count_once(tmp_path):
    """The published table repeats the rows of four images."""
    folder = write_rsna(tmp_path, HELD)
    rows = (folder / TABLE).read_text().splitlines()[1:7]
    shuffle_rows(folder / TABLE, rows)
    _, loaded = load_only(folder)
    assert loaded.slice_classes[2].tolist() == list(row_of("subdural"))


def test_rows_that_contradict_each_other_stop_everything(tmp_path):
    folder = write_rsna(tmp_path, HELD)
    with (folder / TABLE).open("a") as file:
        file.write(f"{rsna_id(0)}_any,1\n")
    with pytest.raises(DataError, match=rf"line 56: {rsna_id(0)}_any is 1, an earlier row says 0"):
        rsna.find(folder)


@pytest.mark.parametrize(
    ("row", "wrong"),
    [
        ("ID_0_any,0.5", "line 56, column Label: '0.5', expected 0 or 1"),
        ("ID_0_chronic,0", "line 56: ID is 'ID_0_chronic', expected"),
        ("ID_0_any", "line 56 has 1 values, expected 2"),
    ],
)
def test_a_row_of_another_form_is_named_by_its_line(tmp_path, row, wrong):
    folder = write_rsna(tmp_path, HELD)
    with (folder / TABLE).open("a") as file:
        file.write(row + "\n")
    with pytest.raises(DataError, match=wrong):
        rsna.find(folder)


def test_what_has_no_fellow_is_left_out_and_said(tmp_path):
    """An image without rows, one with too few, rows without an image, a subtype without any."""
    folder = write_rsna(tmp_path, HELD)
    lines = (folder / TABLE).read_text().splitlines(keepends=True)
    lines = [line for line in lines if not line.startswith(rsna_id(0))]
    lines.remove(f"{rsna_id(1)}_epidural,0\n")
    lines[lines.index(f"{rsna_id(2)}_any,1\n")] = f"{rsna_id(2)}_any,0\n"
    (folder / TABLE).write_text("".join(lines))
    (folder / IMAGES / f"{rsna_id(8)}.dcm").unlink()
    found = rsna.find(folder)
    assert len(found.cases[0].images) == 5
    told = {fault.where: fault.text for fault in found.faults}
    assert told[rsna_id(1)] == f"{TABLE} has no row for epidural"
    assert told[rsna_id(2)].startswith(f"{TABLE} says no bleed and yet subdural")
    assert "no file" in told[rsna_id(8)]
    assert "no rows" in next(text for where, text in told.items() if rsna_id(0) in where)


def test_the_image_known_to_be_cut_off_is_passed_over(tmp_path):
    """In the table and the folder of every copy; nothing to be told of."""
    folder = write_rsna(tmp_path, HELD)
    (folder / IMAGES / "ID_6431af929.dcm").write_bytes(b"cut")
    with (folder / TABLE).open("a") as file:
        file.writelines(f"{row[0]},{row[1]}\n" for row in rsna_rows({"ID_6431af929": ()}))
    case, _ = load_only(folder)
    assert len(case.images) == 9


def test_a_file_under_another_images_name_is_left_out(tmp_path):
    """Its labels would be another's."""
    folder = write_rsna(tmp_path, HELD)
    one, other = (folder / IMAGES / f"{rsna_id(index)}.dcm" for index in (0, 1))
    one.write_bytes(other.read_bytes())
    (fault,) = rsna.find(folder).faults
    assert fault.where == rsna_id(0)
    assert f"holds SOP Instance UID {rsna_id(1)}" in fault.text


def test_a_series_of_two_patients_is_left_out(tmp_path):
    datasets = rsna_slices()
    datasets[3].PatientID = "ID_00000001"
    write_rsna(tmp_path, {}, datasets)
    found = rsna.find(tmp_path)
    assert not found.cases
    assert (
        found.faults[0].text == f"its images are of patients ID_00000001, {RSNA_PATIENT}; "
        "leave it out"
    )


def test_two_images_of_one_place_are_named(tmp_path):
    datasets = rsna_slices()
    where = positions(datasets)
    where[1] = where[0]
    write_rsna(tmp_path, {}, place(datasets, where))
    (case,) = rsna.find(tmp_path).cases
    with pytest.raises(DataError, match=rf"{rsna_id(0)}\.dcm and {rsna_id(1)}\.dcm .* same place"):
        rsna.load(case)


def test_a_file_that_is_no_dicom_is_named_and_the_others_stay(tmp_path):
    folder = write_rsna(tmp_path, HELD)
    (folder / IMAGES / f"{rsna_id(0)}.dcm").write_bytes(b"no DICOM")
    found = rsna.find(folder)
    assert len(found.cases[0].images) == 8
    assert found.faults[0].where == rsna_id(0)


def test_a_folder_of_something_else_says_what_is_missing(tmp_path):
    with pytest.raises(DataError, match="stage_2_train is not there; unpack the images beside"):
        rsna.find(tmp_path)
    (tmp_path / IMAGES).mkdir()
    with pytest.raises(DataError, match=r"stage_2_train\.csv is not there"):
        rsna.find(tmp_path)
    write_csv(tmp_path / TABLE, ["id", "Label"], [])
    with pytest.raises(DataError, match="has no column ID; it has id, Label"):
        rsna.find(tmp_path)
