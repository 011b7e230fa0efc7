"""What fails a self-test, and what is the own matter of another model."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ich_node.report.build import build_results
from ich_node.selftest import steps
from ich_node.selftest.judge import Truth
from ich_node.selftest.report import Outcome
from tests.support.volumes import make_case

SUBTYPE = "subdural"


def bench(folder: Path, *, found: tuple[str, ...], shipped: bool, mirrored: bool = False) -> Any:
    """The bench after the results of these findings came back; the truth is a subdural."""
    _, volume, prediction = make_case(subtypes=found)
    folder.mkdir(exist_ok=True)
    results = build_results(volume, prediction, folder)
    _, _, true = make_case(subtypes=(SUBTYPE,))
    inside = np.flip(true.labels > 0, 2) if mirrored else true.labels > 0
    received = [path for path in (results.seg, results.sr) if path is not None]
    return SimpleNamespace(
        pacs=SimpleNamespace(received=lambda: received),
        shipped_model=shipped,
        head=SimpleNamespace(subtype=SUBTYPE),
        truth=Truth(inside, volume.origin_mm, volume.spacing_mm),
    )


def outcomes(given: Any) -> list[Outcome]:
    acts = (steps._segmentation, steps._report)
    return [steps._step("step", act, given).outcome for act in acts]


@pytest.mark.parametrize("shipped", [True, False], ids=["shipped", "another"])
def test_a_bleed_found_in_its_place_passes(tmp_path: Path, shipped: bool) -> None:
    given = bench(tmp_path, found=(SUBTYPE,), shipped=shipped)
    assert outcomes(given) == [Outcome.PASSED, Outcome.PASSED]


@pytest.mark.parametrize(
    ("case", "segmentation", "report"),
    [
        ({"found": ()}, Outcome.FAILED, Outcome.FAILED),
        ({"found": ("intraparenchymal",)}, Outcome.PASSED, Outcome.FAILED),
        ({"found": (SUBTYPE,), "mirrored": True}, Outcome.FAILED, Outcome.PASSED),
    ],
    ids=["nothing", "another class", "elsewhere"],
)
def test_a_wrong_answer_fails_the_shipped_model_and_warns_of_another(
    tmp_path: Path, case: dict, segmentation: Outcome, report: Outcome
) -> None:
    """Every class is blood, so another class in the right place fails by its name alone."""
    assert outcomes(bench(tmp_path / "a", **case, shipped=True)) == [segmentation, report]
    softer = {Outcome.FAILED: Outcome.WARNING, Outcome.PASSED: Outcome.PASSED}
    expected = [softer[segmentation], softer[report]]
    assert outcomes(bench(tmp_path / "b", **case, shipped=False)) == expected


def test_a_broken_object_fails_whatever_the_model(tmp_path: Path) -> None:
    """What cannot be decoded is no answer of a model."""
    given = bench(tmp_path, found=(SUBTYPE,), shipped=False)
    broken = tmp_path / "broken.dcm"
    broken.write_bytes(given.pacs.received()[0].read_bytes()[:2000])
    given.pacs = SimpleNamespace(received=lambda: [broken])
    assert outcomes(given)[0] is Outcome.FAILED
