"""Where images share a place one is read, by a rule; elsewhere nothing is split."""

import random
from pathlib import Path

import pytest

from ich_node.assemble.acquisitions import left_out_text, one_image_a_place
from ich_node.assemble.assemble import assemble
from ich_node.assemble.source import SourceImage
from ich_node.errors import Reason, SeriesRefused
from tests.support import mutations, series

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def kept(datasets: series.Series) -> tuple[list[int], dict[str, object]]:
    """The Acquisition Numbers kept, inferior first, and what is said of the others."""
    images = [SourceImage(f"{i}.dcm", dataset) for i, dataset in enumerate(datasets)]
    random.Random(0).shuffle(images)
    found, facts = one_image_a_place(images, AXIAL)
    return [int(image.dataset.AcquisitionNumber) for image in found], facts


def test_the_acquisition_that_covers_more_is_read_and_the_other_is_named() -> None:
    whole_is_second = mutations.again(2)(series.head_series())[4:]
    numbers, facts = kept(whole_is_second)
    assert numbers == [2] * 12
    assert facts["acquisitions_left_out"] == [{"acquisition_number": "1", "slices": 8}]


def test_of_two_whole_acquisitions_the_first_is_read() -> None:
    numbers, facts = kept(mutations.again(2)(series.head_series()))
    assert numbers == [1] * 12
    assert facts["acquisitions_left_out"] == [{"acquisition_number": "2", "slices": 12}]


def test_sections_that_meet_in_one_slice_make_one_stack() -> None:
    """The lower seven of one acquisition, the upper six of the other, one place in common."""
    datasets = mutations.again(2, slice(6, None))(series.head_series()[:12])
    numbers, facts = kept(datasets[:7] + datasets[12:])
    assert numbers == [1] * 7 + [2] * 5
    assert facts["acquisitions_left_out"] == [{"acquisition_number": "2", "slices": 1}]


def test_an_acquisition_that_was_not_read_is_told_of(tmp_path: Path) -> None:
    """What is done reaches the report; the record alone reaches no radiologist."""
    datasets = mutations.again(2)(series.head_series(slices=20))[4:]
    done = assemble(series.write(datasets, tmp_path)).geometry["done"]
    assert done == [
        "images of acquisition 1 that were not read: 16; "
        "at their places another acquisition of the series was read"
    ]


def test_an_acquisition_without_number_is_told_of_too() -> None:
    [said] = left_out_text([{"acquisition_number": "none", "slices": 3}])
    assert said.startswith("images of an acquisition without number that were not read: 3;")


def test_acquisition_numbers_that_count_slices_split_nothing() -> None:
    datasets = mutations.numbered_acquisitions(series.head_series())[:12]
    numbers, facts = kept(datasets)
    assert numbers == list(range(1, 13))
    assert facts == {"repeats_dropped": 0, "acquisitions_left_out": []}


def test_an_image_under_two_uids_counts_once() -> None:
    datasets = series.head_series()
    _, facts = kept([*datasets, series.copy_of(datasets[3])])
    assert facts == {"repeats_dropped": 1, "acquisitions_left_out": []}


@pytest.mark.parametrize("name", ["three acquisitions", "two kernels of one acquisition"])
def test_what_cannot_be_told_apart_is_refused(name: str) -> None:
    with pytest.raises(SeriesRefused, match="12 of 12 places") as raised:
        kept(mutations.BROKEN[name][1](series.head_series()))
    assert raised.value.reason == Reason.DUPLICATE_POSITIONS
