"""Whether a head ends outside the brain is seen in three of its slices."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import JPEG2000Lossless

from ich_node.assemble import ends
from ich_node.selftest.head import load_head
from ich_node.selftest.series import write_series


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    head = load_head(1)
    folder = tmp_path_factory.mktemp("head")
    return write_series(head.hu[:, ::2, ::2], folder, spacing_mm=(5.0, 1.8, 1.8), seed=1)


@pytest.mark.parametrize(
    ("lowest", "highest", "whole"),
    [(0, 31, True), (0, 24, False), (0, 15, False), (10, 31, False), (2, 31, True)],
)
def test_both_ends_must_lie_outside_the_brain(
    paths: list[Path], lowest: int, highest: int, whole: bool
) -> None:
    wide = max(lowest, highest - 12)
    assert ends.ends_outside(paths[lowest], paths[wide], paths[highest]) is whole


def test_a_neck_has_no_wide_brain(paths: list[Path]) -> None:
    assert not ends.ends_outside(paths[0], paths[1], paths[31])


def test_what_cannot_be_read_is_not_whole(paths: list[Path], tmp_path: Path) -> None:
    broken = tmp_path / "broken.dcm"
    broken.write_bytes(paths[0].read_bytes()[:2000])
    assert not ends.ends_outside(broken, paths[19], paths[31])
    assert not ends.ends_outside(tmp_path / "gone.dcm", paths[19], paths[31])


def test_the_command_says_a_word_for_each_stack(
    paths: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    whole, half = (paths[0], paths[19], paths[31]), (paths[0], paths[8], paths[16])
    assert ends.main([str(path) for path in (*whole, *half)]) == 0
    assert capsys.readouterr().out == "whole\nnot\n"


@pytest.mark.shared_data
def test_a_real_tilted_head_ends_outside_and_its_parts_do_not(shared_data: Path) -> None:
    slices = sorted((shared_data / "ge-head-tilt").glob("*.dcm"))
    slices.sort(key=lambda path: float(pydicom.dcmread(path).ImagePositionPatient[2]))
    assert ends.ends_outside(slices[0], slices[19], slices[27])
    assert not ends.ends_outside(slices[0], slices[12], slices[22])
    assert not ends.ends_outside(slices[11], slices[19], slices[27])


def test_compressed_slices_are_looked_at_too(paths: list[Path], tmp_path: Path) -> None:
    squeezed = []
    for index in (0, 19, 31):
        dataset = pydicom.dcmread(paths[index])
        dataset.compress(JPEG2000Lossless, generate_instance_uid=False)
        squeezed.append(tmp_path / f"{index}.dcm")
        dataset.save_as(squeezed[-1])
    assert ends.ends_outside(*squeezed)
    assert np.array_equal(
        pydicom.dcmread(squeezed[1]).pixel_array, pydicom.dcmread(paths[19]).pixel_array
    )
