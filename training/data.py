"""Training heads, simulated ahead into a folder.

    python -m training.data --first 0 --count 1500 --out out/heads --templates DIR --background DIR
    python -m training.data --first 90000 --count 60 --out out/validation --templates DIR

What the heads of a seed are for: `training.seeds`. Real cases lie in the same form beside them:
`training.real`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.progress import track

from ich_node.codes import SUBTYPES
from ich_node.infer.preprocess import SIZE
from training import seeds
from training.real.records import classes_of_labels, classes_of_slices
from training.simulate import NotDrawn, SimulatedHead, simulate_head, simulate_on

_ON_BACKGROUND = 0.25


@dataclass(frozen=True)
class Example:
    """One head on the plane of 256x256, before the network's preprocessing.

    Parameters
    ----------
    hu
        int16 (slice, 256, 256). Of a simulated head without what the scanner adds.
    spacing_mm
        (slice, row, column), mm.
    labels
        uint8 of the same shape: 0, 1 + index into `codes.SUBTYPES`, or `UNTYPED`; None where there
        is no mask.
    slice_classes
        float32 (slice, 6): which of `codes.CLASSES` a slice holds, NaN where it is not known.
    scanned
        A scanner has left its noise in it.
    classes
        float32 (6,): what is stated of the whole head, NaN where it is not known; None where that
        is no more than its slices tell.
    """

    hu: npt.NDArray[np.int16]
    spacing_mm: tuple[float, float, float]
    labels: npt.NDArray[np.uint8] | None
    slice_classes: npt.NDArray[np.float32]
    scanned: bool
    classes: npt.NDArray[np.float32] | None = None


def draw_scan(
    seed: int,
    bleeds: Sequence[str] | None = None,
    *,
    matrix: int | None = None,
    noise: bool = True,
    templates: Path | None = None,
) -> SimulatedHead:
    """Return a head in a scan whose thickness, field of view and matrix the seed draws.

    Parameters
    ----------
    matrix
        Instead of what the seed draws.
    bleeds, noise, templates
        As of `simulate_head`.
    """
    rng = np.random.default_rng((seed, 1))
    ranges = ((2.5, 6.5), (0.6, 2.5), (6.5, 8.0))
    thickness = float(rng.uniform(*ranges[int(rng.choice(3, p=(0.86, 0.07, 0.07)))]))
    coverage = float(rng.uniform(130, 175))
    drawn = int(rng.choice((256, 320, 384, 512), p=(0.35, 0.25, 0.2, 0.2)))
    return simulate_head(
        seed,
        bleeds,
        slices=round(coverage / thickness),
        matrix=matrix or drawn,
        thickness_mm=thickness,
        field_mm=float(rng.uniform(205, 285)),
        noise=noise,
        templates=templates,
    )


def draw_example(
    seed: int,
    templates: Path | None = None,
    background: Path | None = None,
    *,
    bleeds: Sequence[str] | None = None,
) -> Example:
    """Return a training head: simulated, or with bleeds drawn on a real one.

    Parameters
    ----------
    templates, bleeds
        As of `simulate_head`.
    background
        Folder of a real head; a quarter of the heads are drawn on it.
    """
    if background is not None and np.random.default_rng((seed, 3)).random() < _ON_BACKGROUND:
        return example(simulate_on(seed, background, bleeds), scanned=True)
    drawn = draw_scan(seed, bleeds, matrix=SIZE, noise=False, templates=templates)
    return example(drawn, scanned=False)


def example(head: SimulatedHead, *, scanned: bool) -> Example:
    """Return what training keeps of a head on the plane of 256x256."""
    return Example(
        np.rint(head.hu).astype(np.int16),
        head.spacing_mm,
        head.labels,
        classes_of_labels(head.labels),
        scanned,
    )


def save(item: Example, path: Path) -> None:
    """Write one example; a file under its own name is always whole."""
    part = path.with_suffix(".part.npz")
    arrays: dict[str, Any] = {
        "hu": item.hu,
        "spacing_mm": np.array(item.spacing_mm, np.float32),
        "slice_classes": item.slice_classes,
        "scanned": np.array(item.scanned),
    }
    if item.labels is not None:
        arrays["labels"] = item.labels
    if item.classes is not None:
        arrays["classes"] = item.classes
    np.savez_compressed(part, allow_pickle=False, **arrays)
    part.rename(path)


def load(path: Path) -> Example:
    """Read one example, simulated or exported from a real data set.

    Raises
    ------
    ValueError
        The file is none.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            hu = stored["hu"]
            labels, known = stored.get("labels"), stored.get("slice_classes")
            slices, rows, columns = (float(step) for step in stored["spacing_mm"])
            scanned = bool(stored["scanned"]) if "scanned" in stored else True
            classes = stored.get("classes")
    except (OSError, KeyError, ValueError) as error:
        raise ValueError(
            f"{path}: {type(error).__name__}: {error}; expected a head that `python -m "
            "training.data` or `python -m training.real export` wrote"
        ) from error
    if known is None:
        unknown = np.full((len(hu), 1 + len(SUBTYPES)), np.nan, np.float32)
        known = unknown if labels is None else classes_of_labels(labels)
    return Example(hu, (slices, rows, columns), labels, known, scanned, classes)


def known_classes(
    labels: npt.NDArray[np.uint8] | None, stated: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Return (slice, 6): what the labels of slices tell, and where they do not, what is stated."""
    if labels is None:
        return stated
    seen = classes_of_labels(labels)
    return np.where(np.isnan(seen), stated, seen)


def head_classes(
    slices: npt.NDArray[np.float32], stated: npt.NDArray[np.float32] | None
) -> npt.NDArray[np.float32]:
    """Return the classes of a head (6,): what its slices tell, and where they do not, the stated.

    Parameters
    ----------
    slices
        (slice, 6) as of `known_classes`: 1 in one of them is 1, else NaN in one of them is unknown.
    stated
        As `Example.classes`.
    """
    told = classes_of_slices(slices)
    return told if stated is None else np.where(np.isnan(told), stated, told)


def head_files(folder: Path, purpose: seeds.Purpose | None = None) -> list[Path]:
    """Return the heads that lie in a folder.

    Parameters
    ----------
    purpose
        What they are wanted for; None where any will do.

    Raises
    ------
    FileNotFoundError
        There are none.
    SeedError
        A simulated one is for another purpose.
    """
    found = sorted(path for path in folder.glob("*.npz") if ".part" not in path.name)
    if not found:
        raise FileNotFoundError(
            f"{folder} holds no heads (*.npz); `python -m training.data --out {folder}` draws them"
        )
    if purpose is not None:
        seeds.check(found, purpose)
    return found


def require_apart(heads: Path, validation: Path) -> None:
    """See to it that no head is both learned from and validated by.

    Raises
    ------
    FileNotFoundError
        A folder holds no heads.
    SeedError
        One is in both folders, or of seeds that are for another purpose.
    """
    learned = {path.name for path in head_files(heads, seeds.TRAINING)}
    for path in head_files(validation, seeds.VALIDATION):
        if path.name in learned:
            raise seeds.SeedError(f"{path} lies in {heads} too: take it out of one of the two")


def main() -> None:
    """Simulate heads into a folder, skipping those that are there."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=1500)
    parser.add_argument("--out", type=Path, default=Path("out/heads"))
    parser.add_argument("--bleed", choices=SUBTYPES, help="only this one, in every head")
    parser.add_argument("--templates", type=Path, help="folder with scct.nii.gz: the skull base")
    parser.add_argument("--background", type=Path, help="folder of a real head without a bleed")
    given = parser.parse_args()
    try:
        wanted = seeds.to_draw(given.first, given.count)
    except seeds.SeedError as error:
        raise SystemExit(f"error: {error}") from error
    bleeds = None if given.bleed is None else (given.bleed,)
    given.out.mkdir(parents=True, exist_ok=True)
    began, made = time.monotonic(), 0
    for seed in track(wanted, "heads"):
        path = given.out / seeds.file_name(seed)
        if path.exists():
            continue
        try:
            head = draw_example(seed, given.templates, given.background, bleeds=bleeds)
        except NotDrawn as error:
            print(f"left out: {error}")
        else:
            save(head, path)
            made += 1
    print(f"{made} heads, {made / (time.monotonic() - began):.2f} heads/s")


if __name__ == "__main__":
    main()
