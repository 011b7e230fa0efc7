"""What training reads of a real case: whole, in its plane, and in the part of its patient."""

import numpy as np
import pytest
from rich.console import Console

from tests.support.datasets import write_masked, write_physionet, write_rsna
from training.real import physionet
from training.real.__main__ import main
from training.real.examples import arrays_of, export
from training.real.records import DataError, Fault, Loaded
from training.real.splits import PARTS, part_of
from training.real.summary import show_faults

HELD = ((), ("subdural",), ("subdural", "subarachnoid"), (), (), ())
MANY = dict.fromkeys(range(49, 61), HELD)


def loaded_of(hu, labels=None):
    return Loaded(hu, (5.0, 0.5, 0.4), labels, None, np.zeros(6, np.float32))


def test_planes_are_resized_as_the_shipped_model_reads_them_and_edges_stay():
    """A ramp stays a ramp, noise is averaged; spacing is that of the new grid."""
    hu = np.linspace(-1000, 2000, 512, dtype=np.float32)[None, :, None].repeat(2, 0).repeat(409, 2)
    noise = np.random.default_rng(0).normal(0, 20, (1, 512, 512)).astype(np.float32)
    assert arrays_of(loaded_of(noise))["hu"].std() < 12  # 20 without averaging
    arrays = arrays_of(loaded_of(hu))
    assert arrays["hu"].shape == (2, 256, 256)
    assert arrays["hu"].dtype == np.int16
    middles = (np.arange(256) + 0.5) * 2 - 0.5
    ramp = -1000 + 3000 * middles[4:-4] / 511
    np.testing.assert_allclose(arrays["hu"][1, 4:-4, 7], ramp, atol=0.51)
    np.testing.assert_allclose(arrays["spacing_mm"], [5, 0.5 * 512 / 256, 0.4 * 409 / 256], 1e-6)
    assert "labels" not in arrays
    assert "slice_classes" not in arrays


def test_labels_go_with_their_pixels_and_keep_their_values():
    """UNTYPED is a value like the others, and nothing lies between two of them."""
    labels = np.zeros((1, 512, 512), np.uint8)
    labels[0, 100:200, 300:400] = 255
    labels[0, 400:, :50] = 2
    hu = np.where(labels > 0, 70, 30).astype(np.float32)
    arrays = arrays_of(loaded_of(hu, labels))
    assert set(np.unique(arrays["labels"])) == {0, 2, 255}
    assert ((arrays["labels"] > 0) == (arrays["hu"] > 50)).mean() > 0.995


def test_each_patient_is_in_the_folder_of_its_part(tmp_path):
    cases = physionet.find(write_physionet(tmp_path / "data", MANY)).cases
    counts, faults = export(cases, tmp_path / "out", PARTS, 1)
    assert not faults
    assert sum(counts.values()) == len(MANY)
    for case in cases:
        part = part_of(case.patient, PARTS, 1)
        with np.load(tmp_path / "out" / part / f"physionet-{case.name}.npz") as stored:
            assert stored["hu"].shape == stored["labels"].shape == (6, 256, 256)
            assert stored["slice_classes"].shape == (6, 6)
            assert stored["classes"].tolist() == [1, 0, 1, 1, 0, 0]


def test_a_folder_split_otherwise_is_refused(tmp_path):
    """A patient exported twice would come to lie in two parts."""
    cases = physionet.find(write_physionet(tmp_path / "data", {49: HELD})).cases
    export(cases, tmp_path / "out", PARTS, 1)
    with pytest.raises(DataError, match="patients would come to lie in two parts"):
        export(cases, tmp_path / "out", PARTS, 2)


def test_what_is_there_is_kept(tmp_path):
    """An export that was broken off goes on; no part of a file stays under a name that is read."""
    cases = physionet.find(write_physionet(tmp_path / "data", MANY)).cases
    export(cases[:3], tmp_path / "out", PARTS, 1)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.npz")}
    export(cases, tmp_path / "out", PARTS, 1)
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.npz")}
    assert len(before) == 3
    assert len(after) == len(MANY)
    assert before.items() <= after.items()


def test_look_counts_by_class_and_exits_0_where_nothing_is_left_out(tmp_path, capsys):
    folder = write_rsna(tmp_path, {2: ("subdural",), 3: ("subdural", "epidural")})
    assert main(["rsna", str(folder)]) == 0
    told = capsys.readouterr().out
    assert "1 scans of 1 patients" in told
    counts = {
        line.split("│")[1].strip(): line.split("│")[2:6]
        for line in told.splitlines()
        if "│" in line
    }
    assert [int(cell) for cell in counts["subdural"]] == [1, 0, 0, 2]
    assert [int(cell) for cell in counts["intraparenchymal"]] == [0, 1, 0, 0]
    assert "Nothing is left out." in told


def test_look_lists_what_is_left_out_and_exits_1(tmp_path, capsys):
    """By headers one scan is at fault; loading all finds a second."""
    folder = write_physionet(tmp_path, {49: HELD, 50: HELD, 51: HELD})
    (folder / "masks" / "050.nii").unlink()
    table = folder / "hemorrhage_diagnosis_raw_ct.csv"
    table.write_text(table.read_text().replace("51,1,0,0,0,0,0,1,0", "51,1,0,0,0,0,1,0,0"))
    assert main(["physionet", str(folder)]) == 1
    told = capsys.readouterr().out
    assert "2 scans of 2 patients" in told
    assert "Left out: 1" in told
    assert main(["physionet", str(folder), "--load"]) == 1
    told = capsys.readouterr().out
    assert "1 scans of 1 patients" in told
    assert "Left out: 2" in told


def test_faults_are_shown_word_for_word(capsys):
    """Brackets are no markup."""
    show_faults(Console(width=80), [Fault("049", "expected [bold] and [0, 255]")])
    assert "expected [bold] and [0, 255]" in capsys.readouterr().out


def test_unknown_subtypes_are_counted_as_such(tmp_path, capsys):
    mask = np.zeros((6, 24, 20), np.uint8)
    mask[2, 8:12, 9:12] = 1
    write_masked(tmp_path / "data", tmp_path / "label", {"001": mask})
    assert main(["instance22", str(tmp_path), "--load"]) == 0
    told = capsys.readouterr().out.splitlines()
    cells = next(line for line in told if "epidural" in line).split("│")[2:6]
    assert [int(cell) for cell in cells] == [0, 0, 1, 0]


def test_export_tells_what_it_wrote_and_left_out(tmp_path, capsys):
    folder = write_physionet(tmp_path / "data", {49: HELD, 50: HELD})
    (folder / "masks" / "050.nii").unlink()
    assert main(["export", "physionet", str(folder), "--out", str(tmp_path / "out")]) == 0
    told = capsys.readouterr().out
    assert "Left out: 1" in told
    assert len(list((tmp_path / "out").rglob("physionet-049.npz"))) == 1
    (folder / "masks" / "049.nii").unlink()
    assert main(["export", "physionet", str(folder), "--out", str(tmp_path / "new")]) == 1


def test_a_wrong_folder_is_an_error_for_people(tmp_path, capsys):
    assert main(["bhsd", str(tmp_path)]) == 1
    assert "images is not there" in capsys.readouterr().err.replace("\n", "")
