"""Training heads, simulated ahead into a folder, ready as the network reads them.

Seeds: 0..89,999 train, 90,000..99,999 validate (calibration and thresholds), from 900,000 on test
(never seen before evaluation).

    python -m training.data --first 0 --count 800 --out out/heads
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ich_node.codes import SUBTYPES
from ich_node.infer.preprocess import SIZE, preprocess
from training.simulate import SimulatedHead, simulate_head

TRAIN_SEEDS = range(90_000)
VALIDATION_SEEDS = range(90_000, 100_000)
TEST_SEEDS = range(900_000, 1_000_000)

_COVERAGE_MM = 160.0


@dataclass(frozen=True)
class Example:
    """One head as the network reads it: `image` uint8 0..255 and `labels`, (slice, 256, 256)."""

    image: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.uint8]


def draw_scan(seed: int, bleeds: Sequence[str] | None = None) -> SimulatedHead:
    """Return a head in a scan whose matrix, thickness and field of view the seed draws."""
    rng = np.random.default_rng((seed, 1))
    thickness = float(rng.uniform(3.5, 6.0))
    return simulate_head(
        seed,
        bleeds,
        slices=round(_COVERAGE_MM / thickness),
        matrix=int(rng.choice((256, 320, 384, 512), p=(0.35, 0.25, 0.2, 0.2))),
        thickness_mm=thickness,
        field_mm=float(rng.uniform(215, 255)),
    )


def example(head: SimulatedHead) -> Example:
    """Preprocess a head and bring its labels to the network's plane by nearest neighbour."""
    rows, columns = (
        np.rint(np.linspace(0, n - 1, SIZE)).astype(int) for n in head.labels.shape[1:]
    )
    image = np.rint(preprocess(head.hu) * 255).astype(np.uint8)
    return Example(image, head.labels[:, rows][:, :, columns])


def save(item: Example, path: Path) -> None:
    """Write one example; a file under its own name is always whole."""
    part = path.with_suffix(".part.npz")
    np.savez_compressed(part, image=item.image, labels=item.labels)
    part.rename(path)


def load(path: Path) -> Example:
    """Read one example."""
    with np.load(path, allow_pickle=False) as stored:
        return Example(stored["image"], stored["labels"])


def slice_classes(labels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return (slice, 6): which of `codes.CLASSES` each slice holds."""
    flat = labels.reshape(len(labels), -1)
    subtypes = [(flat == 1 + index).any(1) for index in range(len(SUBTYPES))]
    return np.stack([flat.any(1), *subtypes], 1).astype(np.float32)


def main() -> None:
    """Simulate heads into a folder, skipping those that are there."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=800)
    parser.add_argument("--out", type=Path, default=Path("out/heads"))
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    made = 0
    for seed in range(given.first, given.first + given.count):
        path = given.out / f"{seed:06d}.npz"
        if not path.exists():
            save(example(draw_scan(seed)), path)
            made += 1
    print(f"{made} heads, {made / (time.monotonic() - began):.2f} heads/s")


if __name__ == "__main__":
    main()
