"""Real series get the outcome that a look at them demands."""

from pathlib import Path

import numpy as np
import pytest

from ich_node.assemble.assemble import assemble
from ich_node.assemble.head import check_head, look_inside
from ich_node.assemble.pixels import hounsfield
from ich_node.assemble.source import read
from ich_node.errors import Reason
from tests.unit.assemble.refused import refusal

pytestmark = pytest.mark.shared_data


def files(folder: Path) -> list[Path]:
    found = [path for path in folder.iterdir() if path.is_file() and path.name != "LICENSE"]
    assert found
    return found


def test_tilted_head_of_two_sections_is_read_and_it_is_said(shared_data: Path) -> None:
    """Its 21 acquisition numbers in 28 images split nothing: no two lie at one place."""
    volume = assemble(files(shared_data / "ge-head-tilt"))
    facts = volume.geometry
    assert facts["tilt_deg"] == pytest.approx(facts["gantry_tilt_tag_deg"], abs=0.02)
    assert facts["steps"] == "13 x 4.00 mm, 1 x 1.08 mm, 13 x 7.00 mm"
    assert "tilt of +18.5 degrees" in facts["done"][0]
    assert "read in even steps of 4.00 mm" in facts["done"][1]
    assert (facts["slices"], facts["planes_read"], facts["interpolated_mm"]) == (28, 37, [])
    assert facts["brain_like_ml"] > 900


@pytest.mark.parametrize(
    ("series", "reason"),
    [
        ("S21570/S1000", Reason.LOCALIZER),
        ("S21570/S2010", Reason.NOT_A_HEAD),
        ("S21570/S2030", Reason.NOT_A_HEAD),
        ("S21570/S4010", Reason.NOT_CT),
        ("S21610/S1000", Reason.LOCALIZER),
        ("S21610/S2010", Reason.NOT_A_HEAD),
    ],
)
def test_plastic_head_is_never_read(shared_data: Path, series: str, reason: Reason) -> None:
    """Its skull is hollow: there is no brain in it."""
    refused = refusal(files(shared_data / "philips-phantom" / series))
    assert refused.reason == reason, refused.text


def test_real_head_is_a_head(shared_data: Path) -> None:
    images = read(files(shared_data / "ge-head-tilt"))
    images.sort(key=lambda image: image.dataset.ImagePositionPatient[2])
    assert check_head(hounsfield(images), (4.0, 0.488, 0.488))["brain_like_ml"] > 900


def test_real_slices_with_bleeds_show_brain(shared_data: Path) -> None:
    for path in sorted((shared_data / "rsna-slices").glob("*.npy")):
        plane = np.maximum(np.load(path), -1024).astype(np.float32)[None]
        assert look_inside(plane, (5.0, 0.47, 0.47)).shows_brain.all(), path.name
