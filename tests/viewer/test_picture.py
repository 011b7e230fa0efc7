"""The judge of the screenshots, judged by drawn ones; and what was fetched is what was pinned."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.viewer import programs
from tests.viewer.picture import compare, compare_outline, magenta

BOX = {"x": 40.0, "y": 20.0, "width": 560.0, "height": 600.0}
CENTRE, RADIUS = (300, 350), 45


def disc(row: int, column: int, radius: float) -> np.ndarray:
    rows, columns = np.indices((640, 640))
    return np.hypot(rows - row, columns - column) < radius


def screenshot(path: Path, overlay: np.ndarray | None = None) -> Path:
    """A head with a rim of bone, a bleed, and perhaps half-transparent colour over it."""
    grey = np.zeros((640, 640), float)
    for radius, value in ((200, 128), (190, 200), (186, 255), (170, 200), (166, 120)):
        grey[disc(320, 320, radius)] = value
    grey[disc(*CENTRE, RADIUS)] = 230
    pixels = np.repeat(grey[..., None], 3, axis=2)
    if overlay is not None:
        pixels[overlay] = 0.5 * pixels[overlay] + 0.5 * np.array([190, 0, 150])
    Image.fromarray(pixels.astype(np.uint8)).save(path)
    return path


@pytest.mark.parametrize(
    ("overlay", "passes"),
    [
        (disc(*CENTRE, RADIUS), True),
        (disc(CENTRE[0], CENTRE[1] + 2, RADIUS), False),
        (disc(*CENTRE, RADIUS - 4), False),
        (disc(*CENTRE, RADIUS) | disc(400, 250, 12), False),
        (None, False),
    ],
    ids=["on it", "two pixels beside it", "smaller", "and elsewhere", "none"],
)
def test_only_an_overlay_on_the_bleed_passes(
    tmp_path: Path, overlay: np.ndarray | None, passes: bool
) -> None:
    before = screenshot(tmp_path / "before.png")
    after = screenshot(tmp_path / "after.png", overlay)
    assert compare(before, after, BOX).lies_on_the_bleed == passes
    assert (magenta(after, BOX) > 100) == (overlay is not None)


def dashes(row: int, column: int, radius: float, until_deg: float = 360) -> np.ndarray:
    """A dashed circle, or an arc of it."""
    rows, columns = np.indices((640, 640))
    angle = np.degrees(np.arctan2(rows - row, columns - column)) % 360
    line = disc(row, column, radius + 1) & ~disc(row, column, radius - 1)
    return line & (angle % 10 < 6) & (angle < until_deg)


@pytest.mark.parametrize(
    ("outline", "passes"),
    [
        (dashes(*CENTRE, RADIUS), True),
        (dashes(CENTRE[0], CENTRE[1] + 2, RADIUS), False),
        (dashes(*CENTRE, RADIUS - 5), False),
        (dashes(*CENTRE, RADIUS, until_deg=180), False),
        (np.zeros((640, 640), bool), False),
    ],
    ids=["round it", "two pixels beside it", "smaller", "half of it", "none"],
)
def test_only_an_outline_round_the_bleed_passes(
    tmp_path: Path, outline: np.ndarray, passes: bool
) -> None:
    """With text beside it."""
    before = screenshot(tmp_path / "before.png")
    pixels = np.asarray(Image.open(before)).copy()
    pixels[outline] = pixels[CENTRE[0] : CENTRE[0] + 12, 420:460] = (0, 255, 0)
    Image.fromarray(pixels).save(tmp_path / "after.png")
    seen = compare_outline(before, tmp_path / "after.png", BOX)
    assert seen.lies_on_the_bleed == passes, seen


def test_colour_before_the_overlay_was_opened_does_not_pass(tmp_path: Path) -> None:
    marked = screenshot(tmp_path / "both.png", disc(*CENTRE, RADIUS))
    assert not compare(marked, marked, BOX).lies_on_the_bleed


def test_a_package_that_is_not_the_pinned_one_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "CACHE", tmp_path)
    (tmp_path / programs.OHIF.tarball).write_bytes(b"something else")
    with pytest.raises(ValueError, match=r"ohif-app-3\.13\.2\.tgz: SHA-256 is"):
        programs.unpacked(programs.OHIF)
    assert list(tmp_path.iterdir()) == []


def test_a_program_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert "chromium, nodejs, npm, orthanc" in programs.missing()
