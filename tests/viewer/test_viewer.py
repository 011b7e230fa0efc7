"""What a reader sees: results that came through the node, opened in OHIF, judged by the picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from pydicom import Dataset

from tests.viewer import phantom, programs
from tests.viewer.picture import compare, magenta
from tests.viewer.site import Viewer, one_column_off, one_slice_off, viewer, without_outlines

pytestmark = [pytest.mark.viewer, pytest.mark.timeout(1200)]

Change = Callable[[Dataset], None] | None
CONTROLS: dict[str, Change] = {
    "no SEG": None,
    "mask one column off": one_column_off,
    "mask one slice off": one_slice_off,
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
    study, row = uid(studies, BLEED), SEG if CONTROLS[name] else ""
    with shown.changed(study, SEG, CONTROLS[name]):
        told = shown.look(name.replace(" ", "-"), study, row, phantom.telling_slice())
    assert told["errors"] == []
    seen = compare(told["before"], told["after"], told["box"])
    print(f"\n{name}: Dice {seen.dice:.3f}, centroid {seen.shift_px:.2f} px away")
    assert not seen.lies_on_the_bleed, seen


def opened(told: dict, says: str) -> bool:
    """Tell whether a report is there to be read, and nothing says that it could not be opened."""
    return says in told["text"] and "Something went wrong" not in told["text"]


@pytest.mark.parametrize(
    ("name", "number", "says"),
    [
        ("positive", BLEED, "mL"),
        ("negative", CLEAN, "No intracranial haemorrhage found"),
        ("not-analysed", REFUSED, "Not analysed"),
    ],
)
def test_every_kind_of_report_opens(
    shown: Viewer, studies: list[list[Dataset]], name: str, number: int, says: str
) -> None:
    """No error of page, console or request; and its result can be read."""
    told = shown.look(f"report-{name}", uid(studies, number), SR)
    assert told["errors"] == []
    assert opened(told, says)


def test_a_report_that_cannot_be_opened_is_noticed(
    shown: Viewer, studies: list[list[Dataset]]
) -> None:
    """A group without outlines makes the viewer fail; so the test before can fail too."""
    study = uid(studies, BLEED)
    with shown.changed(study, SR, without_outlines):
        told = shown.look("report-without-outlines", study, SR)
    assert not opened(told, "mL")


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
