"""Killed at every named point, one process or all of it, a study is finished, once."""

from pathlib import Path

import pytest

from ich_node.faults import POINTS
from tests.faults.striking import Rule, Struck, struck_node
from tests.support.series import head_series, set_each, write

SLICES = 8
ANALYSIS = [name for name in POINTS if name.split(".")[0] in ("assemble", "infer", "report")]
CLOSING = [name for name in POINTS if name.startswith("close.")]
_AROUND = ("receive", "complete", "deliver", "prove")
AROUND = [name for name in POINTS if name.split(".")[0] in _AROUND]


def test_every_point_is_struck_by_one_of_these_tests() -> None:
    assert sorted(ANALYSIS + CLOSING + AROUND) == sorted(POINTS)


def all_is_well(node: Struck, study: str, paths: list[Path], objects: dict[str, int]) -> None:
    """Everything acknowledged is there, and the PACS has each object once."""
    assert len(node.sent.acknowledged) == len(paths)
    assert node.objects(study) == objects
    story = node.story(study)
    assert story["series"][0]["instances"] == len(paths)
    assert story["series"][0]["revision"] == 1
    kinds = [event["kind"] for event in story["events"]]
    assert len(kinds) == len(set(kinds)) or kinds.count("delivery_stored") == 1


@pytest.mark.parametrize("act", ["kill", "kill_group"])
@pytest.mark.parametrize("points", [ANALYSIS, AROUND], ids=["analysis", "around it"])
def test_an_analysed_study_is_finished_once(
    tmp_path: Path, tiny_bundle: Path, points: list[str], act: str
) -> None:
    """Each point kills the first process that comes to it."""
    paths = write(head_series(1, SLICES), tmp_path / "ct")
    with struck_node(tmp_path, tiny_bundle, [Rule(name, act) for name in points]) as node:
        study = node.send(paths)
        node.wait_for(study, "delivered")
        assert node.used() == len(points)
        all_is_well(node, study, paths, {"SEG": 1, "SR": 1})


@pytest.mark.parametrize("act", ["kill", "kill_group"])
def test_a_refused_study_is_answered_once(tmp_path: Path, tiny_bundle: Path, act: str) -> None:
    unread = set_each(PhotometricInterpretation="MONOCHROME1")(head_series(1, SLICES))
    paths = write(unread, tmp_path / "ct")
    with struck_node(tmp_path, tiny_bundle, [Rule(name, act) for name in CLOSING]) as node:
        study = node.send(paths)
        node.wait_for(study, "refused")
        assert node.used() == len(CLOSING)
        all_is_well(node, study, paths, {"SR": 1})
