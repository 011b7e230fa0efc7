"""Draw training heads as a sheet of pictures, to look at, beside real slices where there are some.

    python -m training.preview --count 8 --out out/heads.png

A row is a head from the base to the vertex as training sees it, scanner and all, 0 to 80 HU; the
outline of each bleed has the colour that its subtype has in the results.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from ich_node.codes import SUBTYPES
from training.augment import scan
from training.data import draw_example
from training.evaluate.reading import halved, read_png
from training.seeds import TRAINING

_COLUMNS = 10
_SIZE = 224
_COLOURS = ((255, 170, 0), (0, 200, 255), (0, 220, 90), (255, 60, 60), (220, 90, 255))

Picture = npt.NDArray[np.uint8]


def row(hu: npt.NDArray[np.float32], labels: npt.NDArray[np.uint8]) -> Picture:
    """Return a row of slices, RGB; where there are bleeds, half of them show one."""
    chosen = np.linspace(0, len(hu) - 1, _COLUMNS).round().astype(int)
    bleeding = np.flatnonzero(labels.any((1, 2)))
    if len(bleeding):
        at = np.linspace(0, len(bleeding) - 1, _COLUMNS // 2).round().astype(int)
        chosen = np.sort(np.concatenate([chosen[::2], bleeding[at]]))
    return np.hstack([picture(hu[index], labels[index]) for index in chosen])


def picture(hu: npt.NDArray[np.float32], labels: npt.NDArray[np.uint8]) -> Picture:
    """Return one slice with its outlines, RGB."""
    size = (_SIZE, _SIZE)
    grey = cv2.resize((np.clip(hu / 80, 0, 1) * 255).astype(np.uint8), size)
    shown: Picture = cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB)
    for index in range(len(SUBTYPES)):
        mask = cv2.resize((labels == 1 + index).astype(np.uint8), size)
        lines, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(shown, lines, -1, _COLOURS[index], 1)
    return shown


def row_beside(folder: Path) -> Picture:
    """Return a row of a folder's slices of 8 bit (PNG, 0 to 80 HU), RGB.

    Raises
    ------
    ValueError
        It holds none, or one of another kind.
    """
    paths = [path for path, _ in halved(folder)]
    at = np.linspace(0, len(paths) - 1, _COLUMNS).round().astype(int)
    slices = [read_png(paths[index])[0] for index in at]
    return np.hstack([picture(hu, np.zeros(hu.shape, np.uint8)) for hu in slices])


def main() -> None:
    """Draw the sheet and say how many heads a second were drawn."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--first", type=int, default=TRAINING.seeds[0])
    parser.add_argument("--count", type=int, default=8)
    parser.add_argument("--bleed", choices=SUBTYPES, help="only this one, in every head")
    parser.add_argument("--templates", type=Path, help="folder with scct.nii.gz")
    parser.add_argument("--background", type=Path, help="folder of a real head without a bleed")
    parser.add_argument("--beside", type=Path, help="folder of real slices (PNG): a row of them")
    parser.add_argument("--out", type=Path, default=Path("out/heads.png"))
    given = parser.parse_args()
    wanted = None if given.bleed is None else (given.bleed,)
    try:
        beside = [] if given.beside is None else [row_beside(given.beside)]
    except (OSError, ValueError) as error:
        raise SystemExit(f"error: {error}") from error
    began, rows = time.monotonic(), []
    for seed in range(given.first, given.first + given.count):
        head = draw_example(seed, given.templates, given.background, bleeds=wanted)
        hu = head.hu.astype(np.float32)
        labels = np.zeros(hu.shape, np.uint8) if head.labels is None else head.labels
        if not head.scanned:
            hu = scan(np.random.default_rng((seed, 2)), hu, head.spacing_mm)
        held = [SUBTYPES[value - 1] for value in np.unique(labels) if value]
        print(f"{seed}: {', '.join(held) or 'no bleed'}; slices of {head.spacing_mm[0]:.1f} mm")
        rows.append(row(hu, labels))
    print(f"{given.count / (time.monotonic() - began):.2f} heads/s")
    given.out.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(given.out), cv2.cvtColor(np.vstack(rows + beside), cv2.COLOR_RGB2BGR))
    print(given.out)


if __name__ == "__main__":
    main()
