"""A sound series becomes its volume whatever its order and turn; a broken one its reason."""

import json
import random
import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, JPEG2000Lossless, RLELossless

from ich_node.assemble.assemble import _done, assemble
from ich_node.assemble.source import read
from ich_node.assemble.stack import stack_of
from ich_node.errors import Reason, SeriesRefused
from ich_node.geometry import PlaneMap
from ich_node.records import CtVolume
from ich_node.selftest.series import write_series
from tests.support import mutations, series
from tests.unit.assemble.refused import refusal

ALL_MAPS = [PlaneMap(*flags) for flags in product((False, True), repeat=3)]
ORIGIN_MM = (-83.75, -106.5, -27.5)


@contextmanager
def written(datasets: series.Series, syntax: str = ExplicitVRLittleEndian) -> Iterator[list[Path]]:
    """Files for one example of a property: Hypothesis shares fixtures between examples."""
    with tempfile.TemporaryDirectory() as folder:
        yield series.write(datasets, Path(folder), syntax)


def assembled(datasets: series.Series) -> CtVolume:
    with written(datasets) as paths:
        return assemble(paths)


def refusal_of(datasets: series.Series) -> SeriesRefused:
    with written(datasets) as paths:
        return refusal(paths)


def assert_is_the_head(volume: CtVolume) -> None:
    """Same HU at the same places in the patient as the head that was written."""
    expected = series.head_hu()
    assert volume.hu.dtype == np.float32
    assert volume.hu.flags.c_contiguous
    assert np.array_equal(volume.hu, expected)
    assert volume.spacing_mm == pytest.approx(series.SPACING_MM)
    assert volume.origin_mm == pytest.approx(ORIGIN_MM, abs=0.05)
    assert np.allclose(volume.direction, [[0, 0, 1], [0, 1, 0], [1, 0, 0]])


@pytest.mark.parametrize("name", mutations.SOUND)
def test_sound_series_gives_the_volume_it_was_made_from(name: str) -> None:
    volume = assembled(mutations.SOUND[name](series.head_series()))
    if name.startswith("padded"):
        assert np.all(volume.hu[:, :4, :4] == -1024)
        volume.hu[:, :4, :4] = -1000
    assert_is_the_head(volume)


@pytest.mark.parametrize("name", mutations.BROKEN)
def test_broken_series_is_refused_for_its_reason(name: str) -> None:
    reason, mutate = mutations.BROKEN[name]
    refused = refusal_of(mutate(series.head_series()))
    assert refused.reason == reason, refused.text


TO_BE_SENT = {
    *(Reason.MIXED_PATIENTS, Reason.MIXED_SERIES, Reason.MIXED_FRAME_OF_REFERENCE),
    *(Reason.MIXED_MATRIX, Reason.MIXED_ORIENTATION, Reason.NO_POSITION, Reason.NOT_AXIAL),
    *(Reason.TOO_FEW_SLICES, Reason.MISSING_SLICES),
}


@pytest.mark.parametrize(
    "name", [name for name, (reason, _) in mutations.BROKEN.items() if reason in TO_BE_SENT]
)
def test_a_refusal_says_what_to_send_instead(name: str) -> None:
    text = refusal_of(mutations.BROKEN[name][1](series.head_series())).text
    assert "send " in text, text


def test_missing_slices_are_told_by_the_files_beside_them(tmp_path: Path) -> None:
    """Heights alone say nothing in a list of images; they are counted from the lowest slice."""
    datasets = series.head_series()
    paths = series.write(datasets[:4] + datasets[6:], tmp_path)
    assert refusal(paths).text == (
        "missing slices: 2, between 15.00 mm (file 003.dcm) and 30.00 mm (file 004.dcm) above the "
        "lowest slice, where neighbours are 5.00 mm apart; at most 1 is bridged: send the missing "
        "images"
    )


def test_a_wide_step_is_told_by_the_files_beside_it(tmp_path: Path) -> None:
    datasets = mutations.moved((0, 0, 11.0), slice(6, None))(series.head_series())
    with pytest.raises(SeriesRefused) as raised:
        assemble(series.write(datasets, tmp_path), max_missing=9)
    assert raised.value.text == (
        "between 25.00 mm (file 005.dcm) and 41.00 mm (file 006.dcm) above the lowest slice "
        "nothing was sent; slices may be 15 mm apart: send the missing images"
    )


@pytest.mark.parametrize("name", mutations.BROKEN)
def test_no_refusal_tells_who_the_patient_is(name: str) -> None:
    datasets = mutations.BROKEN[name][1](series.head_series())
    for dataset in datasets:
        dataset.PatientBirthDate = "19510203"
    text = str(refusal_of(datasets))
    for secret in ("SIMULATED", "Simulated", "19510203", str(Path(tempfile.gettempdir()))):
        assert secret not in text


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(series.SLICES)))
def test_any_order_of_files_gives_the_same_volume(order: list[int]) -> None:
    """Neither the order of the paths nor that of the names matters."""
    datasets = series.head_series()
    with written([datasets[index] for index in order]) as paths:
        random.Random(0).shuffle(paths)
        volume = assemble(paths)
    assert_is_the_head(volume)
    assert [int(header.InstanceNumber) for header in volume.source.headers] == list(range(1, 13))


@pytest.mark.parametrize("feet_first", [False, True], ids=["head first", "feet first"])
@pytest.mark.parametrize("plane_map", ALL_MAPS, ids=repr)
def test_any_turn_of_the_slices_gives_the_same_volume(
    plane_map: PlaneMap, feet_first: bool
) -> None:
    """Prone, supine, decubitus, head or feet first: HU and patient coordinates are the same."""
    volume = assembled(series.turned(series.head_series(), plane_map, feet_first))
    assert_is_the_head(volume)
    assert volume.source.plane_map == plane_map
    for plane, header in zip(volume.hu, volume.source.headers, strict=True):
        assert plane_map.to_source(plane).shape == (header.Rows, header.Columns)


@pytest.mark.parametrize("plane_map", ALL_MAPS, ids=repr)
def test_header_and_volume_agree_where_a_source_pixel_lies(plane_map: PlaneMap) -> None:
    """PS3.3 C.7.6.2.1.1 applied to the header gives the volume's place for the same pixel."""
    volume = assembled(series.turned(series.head_series(), plane_map))
    index, row, column = 3, 5, 9
    header = volume.source.headers[index]
    cosines = np.array(header.ImageOrientationPatient, float)
    row_mm, column_mm = header.PixelSpacing
    said = (
        np.array(header.ImagePositionPatient, float)
        + column * column_mm * cosines[:3]
        + row * row_mm * cosines[3:]
    )

    marked = np.zeros((header.Rows, header.Columns))
    marked[row, column] = 1
    ((canonical_row, canonical_column),) = np.argwhere(plane_map.to_canonical(marked))
    steps = np.array([index, canonical_row, canonical_column]) * volume.spacing_mm
    found = np.array(volume.origin_mm) + np.array(volume.direction) @ steps

    assert found == pytest.approx(said, abs=1e-6)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, series.SLICES - 2))
def test_any_single_inner_slice_removed_is_bridged_and_said(index: int) -> None:
    """All others are as they were sent; the missing one is the mean of its neighbours."""
    datasets = series.without(index)(series.head_series())
    volume = assembled(datasets)
    expected = series.head_hu()
    expected[index] = (expected[index - 1] + expected[index + 1]) / 2
    assert np.array_equal(volume.hu, expected)
    assert volume.source.hu.shape[0] == series.SLICES - 1
    assert volume.geometry["interpolated_mm"] == [5.0 * index]
    assert f"{5 * (index - 1):.2f} and {5 * (index + 1):.2f} mm" in volume.geometry["done"][0]


@settings(max_examples=20, deadline=None)
@given(st.sets(st.integers(1, series.SLICES - 2), min_size=2, max_size=series.SLICES - 8))
def test_more_than_one_inner_slice_removed_is_refused(gone: set[int]) -> None:
    datasets = [each for index, each in enumerate(series.head_series()) if index not in gone]
    assert refusal_of(datasets).reason == Reason.MISSING_SLICES


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_any_loss_repetition_and_order_of_images_is_placed_or_refused(data: st.DataObject) -> None:
    """Whatever arrives: every slice that is read lies where it was taken, or none is read."""
    images = series.head_series()
    kept = data.draw(st.sets(st.integers(0, 11), min_size=7).map(sorted))
    twice = data.draw(st.lists(st.sampled_from(kept), max_size=4))
    again = data.draw(st.lists(st.sampled_from(kept), max_size=4, unique=True))
    arrived = [images[index] for index in kept + twice]
    arrived += [series.copy_of(images[index]) for index in again]
    arrived = data.draw(st.permutations(arrived))
    missing = kept[-1] - kept[0] + 1 - len(kept)
    if len(kept) < 8:
        assert refusal_of(arrived).reason == Reason.TOO_FEW_SLICES
    elif missing > 1:
        assert refusal_of(arrived).reason == Reason.MISSING_SLICES
    else:
        volume = assembled(arrived)
        assert np.array_equal(volume.source.hu, series.head_hu()[kept])
        at = (volume.source.origins_mm[:, 2] - ORIGIN_MM[2]) / 5.0
        assert np.rint(at).astype(int).tolist() == kept
        assert volume.geometry["duplicates_dropped"] == len(twice)
        assert volume.geometry["repeats_dropped"] == len(again)


@pytest.mark.parametrize("name", mutations.PLACED)
def test_honest_series_that_is_no_grid_is_placed_and_it_is_said(name: str) -> None:
    said, mutate = mutations.PLACED[name]
    volume = assembled(mutate(series.head_series()))
    assert said in "; ".join(volume.geometry["done"])
    assert volume.geometry["resampled"]
    assert json.loads(json.dumps(volume.geometry)) == volume.geometry
    for plane, header in zip(volume.source.hu, volume.source.headers, strict=True):
        index = int(header.InstanceNumber) - 1
        assert np.array_equal(plane, series.head_hu()[index])


@pytest.mark.parametrize(("slices", "told"), [(8, ["40 mm"]), (20, [])], ids=["part", "whole"])
def test_a_part_of_a_head_is_told_of(slices: int, told: list[str], tmp_path: Path) -> None:
    done = assemble(series.write(series.head_series(slices=slices), tmp_path)).geometry["done"]
    assert done == [f"the images cover {height}, not a whole head" for height in told]


@pytest.mark.parametrize(
    ("thickness", "told"),
    [("5", ["5 mm between slices of 5 mm were not imaged"]), ("7", []), ("-5", []), (None, [])],
    ids=["every second missing", "thick", "no thickness", "unknown"],
)
def test_what_lies_unseen_between_evenly_spaced_slices_is_told_of(
    thickness: str | None, told: list[str], tmp_path: Path
) -> None:
    datasets = series.set_each(SliceThickness=thickness)(series.head_series(slices=24)[::2])
    volume = assemble(series.write(datasets, tmp_path))
    assert volume.geometry["done"] == told
    assert volume.geometry["spacing_mm"][0] == 10.0
    assert not volume.geometry["resampled"]


def test_no_missing_slice_is_bridged_where_none_may_be() -> None:
    with (
        written(series.without(5)(series.head_series())) as paths,
        pytest.raises(SeriesRefused, match="missing slices: 1, between") as raised,
    ):
        assemble(paths, max_missing=0)
    assert raised.value.reason == Reason.MISSING_SLICES


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(-0.02, 0.02), min_size=series.SLICES, max_size=series.SLICES))
def test_jitter_of_positions_up_to_0_02_mm_is_accepted(jitter: list[float]) -> None:
    datasets = series.head_series()
    where = series.positions(datasets)
    where[:, 2] += jitter
    volume = assembled(series.place(datasets, where))
    assert np.array_equal(volume.hu, series.head_hu())
    assert volume.spacing_mm[0] == pytest.approx(5.0, abs=0.004)
    assert volume.geometry["position_jitter_mm"] <= 0.041


@settings(max_examples=20, deadline=None)
@given(st.floats(1, 30) | st.floats(-30, -1))
@example(1.25)  # half-way between two tenths: either may be said
def test_any_tilt_from_one_degree_is_taken_out_and_said(degrees: float) -> None:
    volume = assembled(series.tilted(series.head_series(), degrees))
    said = re.search(r"([+-]\d+\.\d) degrees", volume.geometry["done"][0])
    assert said is not None
    # Positions are written to a thousandth of a mm, the angle to a tenth of a degree.
    assert float(said.group(1)) == pytest.approx(degrees, abs=0.051)


def test_slices_a_little_sideways_of_one_another_are_called_no_tilt() -> None:
    """Positions that jitter within a pixel are no gantry's doing."""
    datasets = series.head_series()
    for dataset in datasets:
        dataset.PixelSpacing = [0.5, 0.5]
    where = series.positions(datasets)
    where[5, 0] += 0.4
    with written(series.place(datasets, where)) as paths:
        stack = stack_of(read(paths), (1, 0, 0, 0, 1, 0))
    [said] = _done(stack)
    assert not stack.straight
    assert said.startswith("slices lie up to 0.40 mm sideways of the lowest: every slice moved")
    assert "tilt" not in said


@pytest.mark.parametrize("degrees", [-25, 10, 30])
def test_stack_angled_as_a_whole_is_a_regular_grid(degrees: float) -> None:
    """Slices along the orbitomeatal line, stacked along their normal, are read as they are."""
    volume = assembled(series.angled(series.head_series(), degrees))
    assert np.array_equal(volume.hu, series.head_hu())
    assert volume.geometry["tilt_deg"] == pytest.approx(0, abs=0.01)
    assert volume.direction[2][0] == pytest.approx(np.cos(np.radians(degrees)))


def test_stack_angled_beyond_axial_is_refused() -> None:
    assert refusal_of(series.angled(series.head_series(), 40)).reason == Reason.NOT_AXIAL


@pytest.mark.parametrize("signed", [False, True], ids=["12 bit unsigned", "16 bit signed"])
@pytest.mark.parametrize("syntax", series.ENCODABLE, ids=lambda uid: uid.name)
def test_every_lossless_transfer_syntax_gives_the_same_hu(
    syntax: str, signed: bool, tmp_path: Path
) -> None:
    paths = write_series(
        series.head_hu(),
        tmp_path,
        spacing_mm=series.SPACING_MM,
        transfer_syntax=syntax,
        signed=signed,
    )
    volume = assemble(paths)
    assert_is_the_head(volume)
    assert volume.hu.dtype.isnative
    assert volume.geometry["transfer_syntax"] == [pydicom.uid.UID(syntax).name]


@pytest.mark.dcmtk
@pytest.mark.parametrize("flag", ["+el", "+e1"], ids=["process 14", "first-order prediction"])
def test_jpeg_lossless_of_another_encoder_gives_the_same_hu(flag: str, tmp_path: Path) -> None:
    for path in series.write(series.head_series(), tmp_path / "native"):
        compressed = tmp_path / path.name
        subprocess.run(["/usr/bin/dcmcjpeg", flag, path, compressed], check=True)
    assert_is_the_head(assemble(list(tmp_path.glob("*.dcm"))))


@pytest.mark.parametrize("matrix", [(256, 256), (1024, 1024), (300, 768)], ids=str)
def test_every_matrix_is_read(matrix: tuple[int, int], tmp_path: Path) -> None:
    """Cropped and oblong ones, with pixels that are no squares, too."""
    spacing = (12.0, 216 / matrix[0], 170 / matrix[1])
    hu = series.head_hu(8, matrix, spacing)
    volume = assemble(write_series(hu, tmp_path, spacing_mm=spacing))
    assert np.array_equal(volume.hu, hu)
    assert volume.spacing_mm == pytest.approx(spacing, rel=1e-4)


def test_files_of_several_transfer_syntaxes_make_one_volume(tmp_path: Path) -> None:
    datasets = series.head_series()
    paths = series.write(datasets[:5], tmp_path / "a", RLELossless)
    paths += series.write(datasets[5:], tmp_path / "b", ExplicitVRBigEndian)
    assert_is_the_head(assemble(paths))


def test_an_instance_sent_in_two_transfer_syntaxes_counts_once(tmp_path: Path) -> None:
    datasets = series.head_series()
    paths = series.write(datasets, tmp_path / "a")
    paths += series.write(datasets[2:4], tmp_path / "b", JPEG2000Lossless)
    volume = assemble(paths)
    assert_is_the_head(volume)
    assert volume.geometry["duplicates_dropped"] == 2


def test_geometry_says_what_was_found_and_done() -> None:
    datasets = mutations.localizer_first(mutations.instance_twice(series.head_series()))
    facts = assembled(series.set_each(LossyImageCompression="01")(datasets)).geometry
    assert json.loads(json.dumps(facts)) == facts
    assert facts["slices"] == 12
    assert facts["matrix"] == [72, 68]
    assert facts["spacing_mm"] == [5.0, 3.0, 2.5]
    assert facts["thickness_mm"] == 5.0
    assert facts["orientation"] == [1, 0, 0, 0, 1, 0]
    assert facts["patient_position"] == "HFS"
    assert facts["tilt_deg"] == 0
    assert facts["duplicates_dropped"] == 2
    assert facts["localizers_dropped"] == 1
    assert facts["lossy"] is True
    assert facts["transfer_syntax"] == ["Explicit VR Little Endian"]


def test_headers_are_the_slices_in_order_without_pixels() -> None:
    volume = assembled(series.head_series()[::-1])
    assert [float(header.SliceLocation) for header in volume.source.headers] == [
        -27.5 + 5 * index for index in range(12)
    ]
    assert all("PixelData" not in header for header in volume.source.headers)
