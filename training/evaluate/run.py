"""Measure, and leave the rows and what only the model can draw in a folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from rich.progress import track

from ich_node.codes import SUBTYPES
from ich_node.infer.predictor import Predictor, load_predictor
from training.data import Example, draw_scan, example, head_files
from training.evaluate import real
from training.evaluate.exported import head_at, measure_files
from training.evaluate.heads import HeadResult
from training.evaluate.looks import Look, look_at
from training.evaluate.plots import draw_looks
from training.evaluate.reading import read_boxes, read_dicom_slice, read_npy
from training.evaluate.report import FOLDER, LOOKS, REAL, SIMULATED, write_model
from training.evaluate.rows import write_rows
from training.evaluate.simulated import measure_heads
from training.seeds import EVALUATION


def run_real(
    bundle: str, shared: Path, cranium: Path | None, subdural: Path | None, out: Path
) -> None:
    """Measure a bundle on real slices and scans: see `real.measure`."""
    predictor = load_predictor(bundle)
    rows = real.measure(predictor, shared, cranium, subdural)
    drawn_on = " and ".join(predictor.bundle.backgrounds) or "none"
    stated = f"real slices and scans (background of its training: {drawn_on})"
    write_model(out, predictor, REAL, stated)
    for name in ("slices", "boxes", "scans"):
        write_rows(out / f"{name}.jsonl", getattr(rows, name))
    looks = list(_real_looks(predictor, shared / "rsna-slices", subdural))
    draw_looks(looks, "the reader's box", out / LOOKS)


def _real_looks(predictor: Predictor, folder: Path, subdural: Path | None) -> Iterator[Look]:
    drawn = folder / "gt.csv"
    boxes = read_boxes(drawn) if drawn.is_file() else {}
    for path in sorted(folder.glob("*.npy")):
        hu = read_npy(path)[0]
        marked = np.zeros(hu.shape, bool)
        for box in boxes.get(path.stem, []):
            marked[box.rows, box.columns] = True
        yield look_at(predictor, path.stem[-12:], hu, marked)
    if subdural is not None:
        hu = read_dicom_slice(subdural)[0]
        yield look_at(predictor, subdural.stem, hu, np.zeros(hu.shape, bool))


def run_simulated(
    bundle: str, count: int, processes: int, templates: Path | None, out: Path
) -> None:
    """Measure a bundle on the first heads of the test seeds."""
    predictor = load_predictor(bundle)
    heads = measure_heads(bundle, count, processes, templates)
    found = list(track(heads, "heads", total=count))
    base = "of the templates" if templates else "without templates"
    seeds = f"seeds {EVALUATION.seeds[0]} to {EVALUATION.seeds[count - 1]}"
    stated = f"{count} simulated heads ({seeds}, skull base {base})"
    write_model(out, predictor, SIMULATED, stated)

    def drawn(seed: int) -> Example:
        return example(draw_scan(seed, templates=templates), scanned=True)

    _keep(predictor, found, drawn, out)


def run_folder(bundle: str, folder: Path, out: Path) -> None:
    """Measure a bundle on the heads of a folder: a site's own, as `training.real` exports them."""
    predictor = load_predictor(bundle)
    paths = head_files(folder)
    found = list(track(measure_files(predictor, paths), "heads", total=len(paths)))
    write_model(out, predictor, FOLDER, f"{len(paths)} heads of a folder")
    _keep(predictor, found, lambda number: head_at(paths[number], number), out)


def _keep(
    predictor: Predictor, found: list[HeadResult], head_of: Callable[[int], Example], out: Path
) -> None:
    """Leave the rows of heads, features of some slices, and what the model makes of a few."""
    write_rows(out / "heads.jsonl", [one.head for one in found])
    write_rows(out / "slices.jsonl", [row for one in found for row in one.slices])
    np.savez_compressed(
        out / "features.npz",
        features=np.concatenate([one.features for one in found]),
        slices=np.array([(one.head.seed, index) for one in found for index in one.of]),
    )
    draw_looks(list(_looks(predictor, found, head_of)), "the truth", out / LOOKS)


def _looks(
    predictor: Predictor, found: list[HeadResult], head_of: Callable[[int], Example]
) -> Iterator[Look]:
    """Give the largest section of the first bleed of each subtype, and a slice without one."""
    for index, name in enumerate(SUBTYPES, 1):
        for one in found:
            if one.head.true_ml[index] > 0:
                largest = max(one.slices, key=lambda row: row.true_ml[index]).index
                yield _look(predictor, head_of(one.head.seed), largest, name)
                break
    for one in found:
        if one.head.held[0] == 0:
            middle = len(one.slices) // 2
            yield _look(predictor, head_of(one.head.seed), middle, "none")
            break


def _look(predictor: Predictor, head: Example, index: int, name: str) -> Look:
    hu = head.hu[index].astype(np.float32)
    blank = np.zeros(hu.shape, bool)
    return look_at(predictor, name, hu, blank if head.labels is None else head.labels[index] > 0)
