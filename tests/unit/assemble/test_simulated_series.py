"""A simulated series is valid CT, always the same for a seed, and plainly simulated."""

import subprocess
import sys
from pathlib import Path

import pydicom
import pytest

from ich_node.selftest.series import build_series, write_series
from tests.support import series

DCIODVFY = Path(sys.executable).parent / "dciodvfy"


@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1"])
def test_files_are_valid_ct_without_a_warning(tmp_path: Path, signed: bool, syntax: str) -> None:
    paths = write_series(
        series.head_hu(),
        tmp_path,
        spacing_mm=series.SPACING_MM,
        signed=signed,
        transfer_syntax=syntax,
    )
    for path in (paths[0], paths[-1]):
        told = subprocess.run([DCIODVFY, "-new", path], capture_output=True, text=True)
        lines = (told.stdout + told.stderr).splitlines()
        assert told.returncode == 0, lines
        assert [line for line in lines if line.startswith(("Error", "Warning"))] == []


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second, other = (
        write_series(series.head_hu(), tmp_path / name, spacing_mm=series.SPACING_MM, seed=seed)
        for name, seed in (("a", 7), ("b", 7), ("c", 8))
    )
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    uids = [{pydicom.dcmread(path).SOPInstanceUID for path in paths} for paths in (first, other)]
    assert uids[0].isdisjoint(uids[1])
    assert len(uids[0]) == series.SLICES


def test_given_uids_take_the_place_of_those_of_the_seed() -> None:
    built = build_series(
        series.head_hu(),
        spacing_mm=series.SPACING_MM,
        study_uid="1.2.3",
        series_uid="1.2.3.4",
        patient_id="SIMULATED-X",
    )
    found = {(each.StudyInstanceUID, each.SeriesInstanceUID, each.PatientID) for each in built}
    assert found == {("1.2.3", "1.2.3.4", "SIMULATED-X")}
    usual = build_series(series.head_hu(), spacing_mm=series.SPACING_MM)
    assert not {each.SOPInstanceUID for each in built} & {each.SOPInstanceUID for each in usual}


def test_slices_share_nothing_that_a_change_could_reach() -> None:
    first, second, *_ = series.head_series()
    first.PatientID = "SIMULATED-CHANGED"
    assert second.PatientID != first.PatientID


def test_whoever_opens_it_sees_that_it_is_simulated() -> None:
    dataset = series.head_series()[0]
    for keyword in ("PatientName", "PatientID", "StudyDescription", "SeriesDescription"):
        assert str(dataset[keyword].value).startswith("SIMULATED")
