"""What a reader sees: results that came through the node, opened in OHIF, judged by the picture."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator

import pytest
from pydicom import Dataset

from tests.viewer import phantom, programs
from tests.viewer.picture import DICE, SHIFT_PX, Overlay, compare, compare_outline, magenta
from tests.viewer.site import (
    PICTURES,
    Viewer,
    one_column_off,
    one_slice_off,
    viewer,
    without_outlines,
)

pytestmark = [pytest.mark.viewer, pytest.mark.timeout(1200)]

Change = Callable[[Dataset], None] | None
# What is wrong, and how the picture gives it away.
CONTROLS: dict[str, tuple[Change, Callable[[Overlay], bool]]] = {
    "no SEG": (None, lambda seen: seen.dice == 0),
    "mask one column off": (one_column_off, lambda seen: seen.shift_px > SHIFT_PX),
    "mask one slice off": (one_slice_off, lambda seen: seen.dice < DICE),
}
BLEED, CLEAN, REFUSED = range(3)
SEG, SR = "ICH AI segmentation", "ICH AI report"


def bone(seed: int) -> list[Dataset]:
    """A series that the node does not read."""
    datasets = phantom.series(seed)
    for dataset in datasets:
        dataset.ConvolutionKernel = "BONEPLUS"
    return datasets


@pytest.fixture(scope="module")
def studies() -> list[list[Dataset]]:
    """Each of a patient of its own: the viewer lists a patient's other studies too."""
    return [phantom.series(BLEED), phantom.series(CLEAN, bleeds=False), bone(REFUSED)]


@pytest.fixture(scope="module")
def shown(
    tmp_path_factory: pytest.TempPathFactory, studies: list[list[Dataset]]
) -> Iterator[Viewer]:
    shutil.rmtree(PICTURES, ignore_errors=True)  # no picture here is of an earlier run
    if missing := programs.missing():
        pytest.skip(missing)
    try:
        with viewer(tmp_path_factory.mktemp("viewer"), studies) as running:
            yield running
    except programs.Unreachable as error:
        pytest.skip(str(error))


def uid(studies: list[list[Dataset]], number: int) -> str:
    return str(studies[number][0].StudyInstanceUID)


@pytest.mark.parametrize("series", [SEG, "ICH AI label map"])
def test_the_overlay_lies_where_the_bleed_is(
    shown: Viewer, studies: list[list[Dataset]], series: str
) -> None:
    """Dice above 0.95, centroids within one screen pixel, and no colour before it is opened."""
    folder = series.replace(" ", "-")
    told = shown.look(folder, uid(studies, BLEED), series, phantom.telling_slice())
    assert told["errors"] == []
    seen = compare(told["before"], told["after"], told["box"])
    print(f"\n{series}: Dice {seen.dice:.3f}, centroid {seen.shift_px:.2f} px away")
    assert seen.lies_on_the_bleed, seen
    assert "Intraparenchymal haemorrhage" in told["text"]
    assert magenta(told["after"], told["box"]) > 1000


@pytest.mark.parametrize("name", CONTROLS)
def test_what_is_wrong_does_not_pass(
    shown: Viewer, studies: list[list[Dataset]], name: str
) -> None:
    """A mask that is one column or one slice off, or not there, is told from a right one."""
    change, gives_it_away = CONTROLS[name]
    study, row = uid(studies, BLEED), SEG if change else ""
    with shown.changed(study, SEG, change):
        told = shown.look(name.replace(" ", "-"), study, row, phantom.telling_slice())
    assert told["errors"] == []
    seen = compare(told["before"], told["after"], told["box"])
    print(f"\n{name}: Dice {seen.dice:.3f}, centroid {seen.shift_px:.2f} px away")
    assert not seen.lies_on_the_bleed
    assert gives_it_away(seen), seen


FAILS, PURPOSE = "Something went wrong", "Research use only. Not a medical device."


def test_a_report_with_a_bleed_outlines_it_where_it_is_largest(
    shown: Viewer, studies: list[list[Dataset]]
) -> None:
    """Dice above 0.95, centroids within one screen pixel; and the volume stands beside it."""
    largest = phantom.largest_slice()
    told = shown.look("report-positive", uid(studies, BLEED), SR, largest)
    assert told["errors"] == []
    seen = compare_outline(told["before"], told["after"], told["box"])
    print(f"\n{SR}: Dice {seen.dice:.3f}, centroid {seen.shift_px:.2f} px away")
    assert seen.lies_on_the_bleed, seen
    assert told["opened_at"] == largest + 1
    assert f"Volume: {phantom.volume_ml():.2f} mL" in told["text"]
    assert FAILS not in told["text"]


@pytest.mark.parametrize(
    ("name", "number", "says"),
    [
        ("negative", CLEAN, ("No intracranial haemorrhage found", "hemorrhage: Absent")),
        ("not-analysed", REFUSED, ("Not analysed: Convolution Kernel", "Reason for not being")),
    ],
)
def test_a_report_without_a_bleed_is_text_on_the_page(
    shown: Viewer, studies: list[list[Dataset]], name: str, number: int, says: tuple[str, ...]
) -> None:
    """No error of page, console or request; result and purpose can be read."""
    told = shown.look(f"report-{name}", uid(studies, number), SR)
    assert told["errors"] == []
    for text in (*says, PURPOSE):
        assert text in told["text"]
    assert FAILS not in told["text"]


def test_a_report_that_cannot_be_opened_is_noticed(
    shown: Viewer, studies: list[list[Dataset]]
) -> None:
    """At a group without outlines the viewer shows nothing; so the tests before can fail too."""
    study = uid(studies, BLEED)
    with shown.changed(study, SR, without_outlines):
        told = shown.look("report-without-outlines", study, SR)
    assert "mL" not in told["text"]
    assert PURPOSE not in told["text"]


def test_the_presentation_state_is_listed_as_one_that_this_viewer_cannot_show(
    shown: Viewer, studies: list[list[Dataset]]
) -> None:
    """A sign of warning in the list of series, where nothing else has one."""
    told = shown.look("presentation-state", uid(studies, BLEED))
    assert told["errors"] == []
    assert [row.split("\n")[0] for row in told["warned"]] == ["PR"]
    assert "ICH AI outlines" in told["warned"][0]


@pytest.mark.parametrize(
    ("name", "number", "row", "index", "marked"),
    [
        ("summary", BLEED, "ICH AI summary", None, True),
        ("overlay", BLEED, "ICH AI overlay", phantom.telling_slice(), True),
        ("overlay-elsewhere", BLEED, "ICH AI overlay", 2, False),
        ("summary-negative", CLEAN, "ICH AI summary", None, False),
        ("summary-not-analysed", REFUSED, "ICH AI summary", None, False),
    ],
)
def test_the_captures_are_shown(
    shown: Viewer,
    studies: list[list[Dataset]],
    name: str,
    number: int,
    row: str,
    index: int | None,
    marked: bool,
) -> None:
    """Pictures for viewers without SEG and SR, the bleed marked on the slices that have it."""
    told = shown.look(f"capture-{name}", uid(studies, number), row, index)
    assert told["errors"] == []
    assert told["text"].count(row) == 2  # in the list of series, and where it is shown
    assert (magenta(told["after"], told["box"]) > 100) == marked
