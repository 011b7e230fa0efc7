"""End slices are looked at in this process where nothing can happen, else in one of its own."""

from pathlib import Path

import pydicom
import pytest

from ich_node.pipeline import looking
from ich_node.pipeline.looking import Ends, look_at_ends
from ich_node.selftest.head import load_head
from ich_node.selftest.series import write_series


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    hu = load_head(1).hu[:, ::4, ::4]
    folder = tmp_path_factory.mktemp("head")
    return write_series(hu, folder, spacing_mm=(5.0, 3.6, 3.6), seed=1)


def stacks(paths: list[Path], native: bool) -> list[Ends]:
    whole, half = (paths[0], paths[19], paths[31]), (paths[0], paths[8], paths[16])
    gone = (paths[0].parent / "gone.dcm", paths[8], paths[16])
    return [Ends(three, native) for three in (whole, half, gone)]


@pytest.mark.parametrize("native", [True, False], ids=["here", "in a process of its own"])
def test_a_whole_head_is_told_from_half_of_one(paths: list[Path], native: bool) -> None:
    assert look_at_ends(stacks(paths, native)) == [True, False, False]


def test_both_ways_keep_the_order(paths: list[Path]) -> None:
    mixed = [*stacks(paths, native=False), *stacks(paths, native=True)][::2]
    assert look_at_ends(mixed) == [True, False, False]


def test_odd_values_in_one_series_do_not_hold_up_another(paths: list[Path], tmp_path: Path) -> None:
    odd = pydicom.dcmread(paths[0])
    odd.PixelSpacing = [0, 0]
    odd.save_as(tmp_path / "odd.dcm")
    first = Ends((tmp_path / "odd.dcm", paths[19], paths[31]), native=True)
    assert look_at_ends([first, *stacks(paths, native=True)]) == [False, True, False, False]


def test_what_ends_the_process_is_not_whole_and_those_behind_it_are_asked_again(
    paths: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\necho whole\nkill -9 $$\n")
    program.chmod(0o700)
    monkeypatch.setattr(looking.sys, "executable", str(program))
    assert look_at_ends(stacks(paths, native=False)) == [True, False, None]


def test_a_look_that_takes_too_long_is_ended(
    paths: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o700)
    monkeypatch.setattr(looking.sys, "executable", str(program))
    monkeypatch.setattr(looking, "_LOOK_S", 0.2)
    assert look_at_ends(stacks(paths, native=False)) == [False, None, None]
