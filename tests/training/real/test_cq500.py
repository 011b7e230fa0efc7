"""CQ500: three readers decide, and the node's own rules choose the series."""

import numpy as np
import pytest

from ich_node.selftest.series import build_series
from tests.support.datasets import row_of, write_reads
from tests.support.series import SPACING_MM, head_hu, set_each, tilted, write
from training.real import cq500
from training.real.records import DataError

BLEED = ("ICH", "SDH")


def write_scan(folder, *series):
    """A scan's folders, a series each, of data sets with the same Study Instance UID."""
    for index, datasets in enumerate(series):
        write(datasets, folder / "CQ500CT7 CQ500CT7" / "Unknown Study" / f"CT {index}")


def series_of(seed, slices=12, **values):
    return set_each(**values)(build_series(head_hu(slices), spacing_mm=SPACING_MM, seed=seed))


def test_a_class_is_present_where_two_of_three_say_so(tmp_path):
    write_reads(
        tmp_path,
        {
            "CQ500-CT-0": [("ICH", "IPH"), ("ICH", "IPH", "IVH"), ("ICH", "SAH")],
            "CQ500-CT-1": [BLEED, (), ()],
            "CQ500-CT-2": [("ICH", "EDH"), ("ICH", "EDH"), ("ICH", "EDH")],
        },
    )
    assert cq500.read_table(tmp_path / "reads.csv") == {
        0: row_of("intraparenchymal"),
        1: row_of(),
        2: row_of("epidural"),
    }


def test_readers_may_agree_on_a_bleed_and_not_on_its_kind(tmp_path):
    write_reads(tmp_path, {"CQ500-CT-0": [("ICH", "IPH"), ("ICH", "SAH"), ()]})
    assert cq500.read_table(tmp_path / "reads.csv")[0] == (1, 0, 0, 0, 0, 0)


def test_the_series_is_chosen_as_the_node_chooses(tmp_path):
    """Soft before bone, plain before contrast; folders and numbers of images say nothing."""
    write_reads(tmp_path, {"CQ500-CT-7": [BLEED] * 3})
    soft = series_of(2, 24, ConvolutionKernel="STANDARD")
    write_scan(
        tmp_path / "qct01",
        series_of(1, 25, ConvolutionKernel="BONE"),
        soft,
        series_of(3, 26, ConvolutionKernel="STANDARD", ContrastBolusAgent="OMNIPAQUE"),
    )
    found = cq500.find(tmp_path)
    assert not found.faults
    (case,) = found.cases
    assert (case.name, case.patient) == ("CQ500-CT-7", "CQ500-CT-7")
    loaded = cq500.load(case)
    np.testing.assert_array_equal(loaded.hu, head_hu(24))
    assert loaded.spacing_mm == pytest.approx(SPACING_MM)
    np.testing.assert_array_equal(loaded.classes, row_of("subdural"))
    assert loaded.labels is None
    assert loaded.slice_classes is None


def test_two_series_in_one_folder_are_told_apart(tmp_path):
    """By Series Instance UID, as some of its folders need."""
    write_reads(tmp_path, {"CQ500-CT-7": [BLEED] * 3})
    both = series_of(1, ConvolutionKernel="BONE") + series_of(2, ConvolutionKernel="STANDARD")
    write_scan(tmp_path, both)
    (case,) = cq500.find(tmp_path).cases
    assert len(cq500.load(case).hu) == 12


def test_a_scan_that_the_node_refuses_says_why(tmp_path):
    write_reads(tmp_path, {"CQ500-CT-7": [BLEED] * 3})
    datasets = series_of(1)
    write_scan(tmp_path, datasets[:4] + datasets[6:])
    (case,) = cq500.find(tmp_path).cases
    with pytest.raises(DataError, match=r"refuses .* missing slices: 2"):
        cq500.load(case)


def test_a_tilted_scan_is_read_upright_as_the_node_reads_it(tmp_path):
    write_reads(tmp_path, {"CQ500-CT-7": [BLEED] * 3})
    write_scan(tmp_path, tilted(series_of(1), 15))
    (case,) = cq500.find(tmp_path).cases
    rows = cq500.load(case).hu.shape[1]
    assert rows > series_of(1)[0].Rows


def test_a_folder_without_a_series_to_read_says_why(tmp_path):
    write_reads(tmp_path, {"CQ500-CT-7": [BLEED] * 3})
    write_scan(tmp_path, series_of(1)[:5])
    (case,) = cq500.find(tmp_path).cases
    with pytest.raises(DataError, match="none of its 1 series: 5 CT slices; at least 8"):
        cq500.load(case)
    for path in case.images[0].rglob("*.dcm"):
        path.unlink()
    with pytest.raises(DataError, match="no DICOM file in"):
        cq500.load(case)


def test_folders_and_reads_pair_by_number(tmp_path):
    """7 has no row, 70 no folder; neither is taken for the other."""
    write_reads(tmp_path, {"CQ500-CT-70": [BLEED] * 3, "CQ500-CT-8": [("SDH",)] * 3})
    write_scan(tmp_path, series_of(1))
    (tmp_path / "CQ500CT8 CQ500CT8").mkdir()
    found = cq500.find(tmp_path)
    assert not found.cases
    told = {fault.where: fault.text for fault in found.faults}
    assert "no row in reads.csv" in told["CQ500-CT-7"]
    assert "no folder 'CQ500CT70 CQ500CT70'" in told["CQ500-CT-70"]
    assert "no bleed and yet subdural" in told["CQ500-CT-8"]


def test_a_reader_that_is_missing_is_named(tmp_path):
    path = write_reads(tmp_path, {"CQ500-CT-7": [BLEED] * 3})
    path.write_text(path.read_text().replace("R3:SAH", "R3-SAH"))
    with pytest.raises(DataError, match=r"reads\.csv has no column R3:SAH; it has name, Category"):
        cq500.find(tmp_path)
