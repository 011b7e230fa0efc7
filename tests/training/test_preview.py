"""A look at training heads shows what training sees."""

import sys

import numpy as np
import pytest
from PIL import Image

from tests.training.phantom import phantom
from training import preview


def _sheet(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["preview", *map(str, arguments)])
    preview.main()


def test_a_row_for_each_head_and_one_of_real_slices(tmp_path, monkeypatch, capsys):
    """Outlines in colour where there are bleeds; the scanner's noise; the real row below, grey."""
    asked = []

    def draw(seed, *folders, bleeds):
        asked.append((folders, bleeds))
        return phantom({3: ("subdural",)} if seed % 2 else {})

    monkeypatch.setattr(preview, "draw_example", draw)
    real = tmp_path / "real"
    real.mkdir()
    Image.new("L", (64, 64), 128).save(real / "a.png")
    out = tmp_path / "sheets" / "a.png"
    folders = (tmp_path / "t", tmp_path / "b")
    _sheet(
        monkeypatch,
        *("--first", 0, "--count", 2, "--bleed", "subdural", "--beside", real, "--out", out),
        *("--templates", folders[0], "--background", folders[1]),
    )
    assert asked == [(folders, ("subdural",))] * 2
    without, with_bleed, beside = np.split(np.asarray(Image.open(out)).astype(int), 3)
    coloured = [np.ptp(part, axis=2).max() > 100 for part in (without, with_bleed, beside)]
    assert coloured == [False, True, False]
    assert np.unique(beside).tolist() == [128]
    brain = without[100:120, 100:120, 0]
    assert brain.std() > 1
    told = capsys.readouterr().out
    assert "0: no bleed; slices of 5.0 mm" in told
    assert "1: subdural; slices of 5.0 mm" in told
    assert "heads/s" in told


def test_a_folder_without_slices_is_told_before_a_head_is_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr(preview, "draw_example", lambda *_, **__: pytest.fail("drawn"))
    with pytest.raises(SystemExit, match=r"holds no \*\.png"):
        _sheet(monkeypatch, "--beside", tmp_path)
