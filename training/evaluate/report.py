"""The report: a Markdown page of bars and figures, with its pictures beside it.

A folder of rows holds all that a report is made of, so that it can be made again without the model:
`model.json`, the rows, and the pictures that only the model can draw.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ich_node.codes import CLASSES
from ich_node.infer.predictor import Predictor
from training.evaluate import plots
from training.evaluate.bars import Bar
from training.evaluate.heads import HeadRow, HeadSlice
from training.evaluate.real import PNG, BoxRow, RealRows, ScanRow, SliceRow
from training.evaluate.real_bars import png_scores, real_bars, real_tables
from training.evaluate.rows import read_rows
from training.evaluate.simulated_bars import (
    simulated_bars,
    simulated_tables,
    slice_cases,
    volume_cases,
    volume_pairs,
)

MODEL, LOOKS, REPORT = "model.json", "looks.png", "report.md"
# What was measured, and the title of its page.
REAL, SIMULATED, FOLDER = "Real slices and scans", "Simulated heads", "Heads of a folder"
Tables = Mapping[str, list[list[str]]]


@dataclass(frozen=True)
class Page:
    """What a report says: bars, tables by title, pictures (file and what it shows)."""

    title: str
    about: str
    bars: list[Bar]
    tables: Tables
    pictures: tuple[tuple[str, str], ...]


def write_model(folder: Path, predictor: Predictor, title: str, data: str) -> None:
    """Write what was measured and on which data; the title of its page says of what kind."""
    folder.mkdir(parents=True, exist_ok=True)
    one = predictor.identity
    stated = {
        "title": title,
        "name": one.name,
        "version": one.version,
        "sha256": one.sha256,
        "precision": one.precision,
        "slice_thresholds": predictor.bundle.slice_thresholds,
        "backgrounds": predictor.bundle.backgrounds,
        "data": data,
    }
    (folder / MODEL).write_text(json.dumps(stated, indent=2) + "\n", encoding="utf-8")


def make_report(folder: Path) -> Page:
    """Make the report of a folder of rows anew, draw its pictures, and return it.

    Raises
    ------
    FileNotFoundError
        The folder holds no rows.
    """
    page = _real(folder) if _model(folder)["title"] == REAL else _heads(folder)
    (folder / REPORT).write_text(markdown(page), encoding="utf-8")
    return page


def read_heads(folder: Path) -> tuple[HeadRow, ...]:
    """Return the heads of a folder of rows."""
    return read_rows(folder / "heads.jsonl", HeadRow)


def _real(folder: Path) -> Page:
    rows = RealRows(
        read_rows(folder / "slices.jsonl", SliceRow),
        read_rows(folder / "boxes.jsonl", BoxRow),
        read_rows(folder / "scans.jsonl", ScanRow),
    )
    cut = _cuts(folder)["any"]
    halves = {"both halves": "", "odd half": "odd", "even half": "even"}
    pictures = [(LOOKS, "Slices, Grad-CAM of any and mean of the deepest map")]
    if any(row.group == PNG for row in rows.slices):
        curves = {name: png_scores(rows.slices, half) for name, half in halves.items()}
        called = {name: (truth, scores, scores >= cut) for name, (truth, scores) in curves.items()}
        plots.draw_roc({"8-bit slices": called}, folder / "roc.png")
        plots.draw_reliability({"8-bit slices": curves["both halves"]}, folder / "reliability.png")
        pictures += [
            ("roc.png", "ROC of the 8-bit slices; marked is the shipped threshold"),
            ("reliability.png", "Reliability on the 8-bit slices; the figures are cases"),
        ]
    return Page(
        REAL,
        _about(folder),
        real_bars(rows, cut, _model(folder)["backgrounds"]),
        real_tables(rows, cut),
        tuple(pictures),
    )


def _heads(folder: Path) -> Page:
    heads, title = read_heads(folder), _model(folder)["title"]
    slices: Sequence[HeadSlice] = read_rows(folder / "slices.jsonl", HeadSlice)
    volumes, single = volume_cases(heads), slice_cases(slices, _cuts(folder))
    plots.draw_roc({"Volumes": volumes, "Slices": single}, folder / "roc.png")
    both = {"Volumes, any": volumes["any"][:2], "Slices, any": single["any"][:2]}
    plots.draw_reliability(both, folder / "reliability.png")
    plots.draw_bland_altman(*volume_pairs(heads, 0), folder / "bland_altman.png")
    _draw_features(folder, slices)
    pictures = (
        ("roc.png", "ROC of volumes and slices; marked is the shipped threshold"),
        ("reliability.png", "Reliability; the figures are cases, taken for independent"),
        ("bland_altman.png", "Volume found and true"),
        ("tsne.png", "Features of slices"),
        (LOOKS, "Slices, Grad-CAM of any and mean of the deepest map"),
    )
    tables = simulated_tables(heads, slices, _cuts(folder))
    # What is expected of simulated heads is not of others: their bleeds are of other sizes.
    held = simulated_bars(heads) if title == SIMULATED else []
    return Page(title, _about(folder), held, tables, pictures)


def _draw_features(folder: Path, slices: Sequence[HeadSlice]) -> None:
    with np.load(folder / "features.npz", allow_pickle=False) as stored:
        features = stored["features"].astype(np.float32)
        kept = [(int(seed), int(index)) for seed, index in stored["slices"]]
    rows = {(row.seed, row.index): row for row in slices}
    names = [_name_of(rows[key]) for key in kept]
    plots.draw_tsne(features, names, folder / "tsne.png")


def _name_of(row: HeadSlice) -> str:
    """Return the class of a slice by which its point is coloured: the largest, or any it holds."""
    if row.held[0] == 0:
        return "none"
    known = np.nan_to_num(row.true_ml[1:]) if np.nansum(row.true_ml[1:]) else row.held[1:]
    return CLASSES[1 + int(np.nanargmax(known))] if np.nansum(known) else CLASSES[0]


def _cuts(folder: Path) -> dict[str, float]:
    cuts: dict[str, float] = _model(folder)["slice_thresholds"]
    return cuts


def measured_sha256(folder: Path) -> str:
    """Return the SHA-256 of the weights that a folder of rows was measured with."""
    return str(_model(folder)["sha256"])


def _model(folder: Path) -> dict[str, Any]:
    """Return what `write_model` wrote.

    Raises
    ------
    ValueError
        An earlier version did.
    """
    stated: dict[str, Any] = json.loads((folder / MODEL).read_text("utf-8"))
    if "title" not in stated:
        raise ValueError(f"{folder / MODEL} is of an earlier version; measure again")
    return stated


def _about(folder: Path) -> str:
    one = _model(folder)
    return (
        f"Model {one['name']} {one['version']} (SHA-256 {one['sha256'][:16]}, {one['precision']}) "
        f"on {one['data']}. Intervals are 95 %: DeLong's for AUC, Clopper and Pearson's for "
        "proportions, bootstrap for means and, over heads, for the slices of heads. Research use "
        "only."
    )


def markdown(page: Page) -> str:
    """Return the page as Markdown."""
    parts = [f"# {page.title}", *figures(page, "##"), "## Pictures"]
    parts += [f"![{shows}]({name})\n\n{shows}." for name, shows in page.pictures]
    return "\n\n".join(parts) + "\n"


def figures(page: Page, level: str) -> list[str]:
    """Return the Markdown of what a page says of what, its bars and its tables, with headings."""
    lines = [[one.what, one.expected, one.found, one.verdict] for one in page.bars]
    parts = [page.about]
    if lines:
        parts += [f"{level} Bars", _table([["bar", "expected", "found", ""], *lines])]
    for title, table in page.tables.items():
        parts += [f"{level} {title}", _table(table)]
    return parts


def _table(lines: Sequence[Sequence[str]]) -> str:
    head, *rest = lines
    rows = [head, ["---"] * len(head), *rest]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in r) + " |" for r in rows)
