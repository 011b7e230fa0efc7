"""Draw heads as a sheet of pictures, to look at.

    python -m training.simulate.preview --count 8 --out out/heads.png

A row is a head from the base to the vertex, 0 to 80 HU; the outline of each bleed has the colour
that its subtype has in the results.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from ich_node.codes import SUBTYPES
from training.seeds import TRAINING
from training.simulate.head import SimulatedHead, simulate_head

_COLUMNS = 10
_SIZE = 224
_COLOURS = ((255, 170, 0), (0, 200, 255), (0, 220, 90), (255, 60, 60), (220, 90, 255))


def row(head: SimulatedHead) -> npt.NDArray[np.uint8]:
    """Return a row of slices, RGB; where there are bleeds, half of them show one."""
    chosen = np.linspace(0, len(head.hu) - 1, _COLUMNS).round().astype(int)
    bleeding = np.flatnonzero(head.labels.any((1, 2)))
    if len(bleeding):
        at = np.linspace(0, len(bleeding) - 1, _COLUMNS // 2).round().astype(int)
        chosen = np.sort(np.concatenate([chosen[::2], bleeding[at]]))
    return np.hstack([picture(head.hu[index], head.labels[index]) for index in chosen])


def picture(hu: npt.NDArray[np.float32], labels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return one slice with its outlines, RGB."""
    size = (_SIZE, _SIZE)
    grey = cv2.resize((np.clip(hu / 80, 0, 1) * 255).astype(np.uint8), size)
    shown: npt.NDArray[np.uint8] = cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB)
    for index in range(len(SUBTYPES)):
        mask = cv2.resize((labels == 1 + index).astype(np.uint8), size)
        lines, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(shown, lines, -1, _COLOURS[index], 1)
    return shown


def main() -> None:
    """Draw the sheet and say how many heads a second were drawn."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--first", type=int, default=TRAINING.seeds[0])
    parser.add_argument("--count", type=int, default=8)
    parser.add_argument("--bleed", choices=SUBTYPES, help="only this one, in every head")
    parser.add_argument("--templates", type=Path, help="folder with scct.nii.gz")
    parser.add_argument("--out", type=Path, default=Path("out/heads.png"))
    given = parser.parse_args()
    wanted = None if given.bleed is None else (given.bleed,)
    began, rows = time.monotonic(), []
    for seed in range(given.first, given.first + given.count):
        head = simulate_head(seed, wanted, matrix=256, templates=given.templates)
        held = [SUBTYPES[value - 1] for value in np.unique(head.labels) if value]
        print(seed, ", ".join(held) or "no bleed")
        rows.append(row(head))
    print(f"{given.count / (time.monotonic() - began):.2f} heads/s of {len(head.hu)} slices")
    given.out.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(given.out), cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR))
    print(given.out)


if __name__ == "__main__":
    main()
