"""How well a bundle finds simulated bleeds that no training or calibration saw.

    python -m training.evaluate.heads --bundle smartnet-ich

Prints a row for each head, then the bar: ten heads with bleeds, median Dice at least 0.6 and `any`
present in at least nine; five without, none present. Exit status 1 where it is not met.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from ich_node.codes import SUBTYPES
from ich_node.geometry import PlaneMap
from ich_node.infer.predictor import Predictor, load_predictor
from ich_node.records import CtVolume
from training.data import TEST_SEEDS
from training.plain import SimulatedHead, simulate_head

BLEEDING = tuple(zip(TEST_SEEDS[10:20], SUBTYPES * 2, strict=True))
CLEAN = tuple(TEST_SEEDS[20:25])
SMALLEST_MEDIAN_DICE = 0.6
FEWEST_FOUND = 9


@dataclass(frozen=True)
class Row:
    """What came of one head: names of what is there and what was found, Dice, mL, seconds."""

    seed: int
    true: tuple[str, ...]
    found: tuple[str, ...]
    dice: float
    subtype_dice: float
    true_ml: float
    found_ml: float
    seconds: float


def as_volume(head: SimulatedHead) -> CtVolume:
    """Give a simulated head the form that the predictor takes, without going through DICOM."""
    return CtVolume(
        hu=head.hu,
        spacing_mm=head.spacing_mm,
        origin_mm=(0.0, 0.0, 0.0),
        direction=((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0)),
        headers=(),
        plane_map=PlaneMap(),
        geometry={},
    )


def dice(found: npt.NDArray[np.bool_], true: npt.NDArray[np.bool_]) -> float:
    """Return Dice; 1 where both are empty."""
    both, all_ = int((found & true).sum()), int(found.sum() + true.sum())
    return 2 * both / all_ if all_ else 1.0


def evaluate(predictor: Predictor, head: SimulatedHead) -> Row:
    """Run one head."""
    began = time.monotonic()
    volume = as_volume(head)
    prediction = predictor.predict(volume)
    held = [1 + index for index in range(len(SUBTYPES)) if (head.labels == 1 + index).any()]
    own = [dice(prediction.labels == value, head.labels == value) for value in held]
    return Row(
        seed=head.seed,
        true=tuple(SUBTYPES[value - 1] for value in held),
        found=tuple(name for name, score in prediction.scores.items() if score.present),
        dice=dice(prediction.labels > 0, head.labels > 0),
        subtype_dice=statistics.mean(own) if own else 1.0,
        true_ml=float((head.labels > 0).sum()) * volume.voxel_ml,
        found_ml=float((prediction.labels > 0).sum()) * volume.voxel_ml,
        seconds=time.monotonic() - began,
    )


def shortfalls(bleeding: list[Row], clean: list[Row]) -> list[str]:
    """Return what is missing to the bar."""
    faults = []
    median = statistics.median(row.dice for row in bleeding)
    if median < SMALLEST_MEDIAN_DICE:
        faults.append(f"median Dice {median:.3f}, expected at least {SMALLEST_MEDIAN_DICE}")
    found = sum("any" in row.found for row in bleeding)
    if found < FEWEST_FOUND:
        faults.append(f"{found} of {len(bleeding)} found, expected at least {FEWEST_FOUND}")
    wrong = [row.seed for row in clean if row.found]
    if wrong:
        faults.append(f"a bleed was seen in clean heads {wrong}")
    return faults


def show(row: Row) -> None:
    """Print one row."""
    print(
        f"{row.seed}  true {','.join(row.true) or '-':18} found {','.join(row.found) or '-':36} "
        f"Dice {row.dice:.3f}, by subtype {row.subtype_dice:.3f}, "
        f"mL {row.true_ml:.1f} -> {row.found_ml:.1f}, {row.seconds:.1f} s",
        flush=True,
    )


def run(predictor: Predictor) -> tuple[list[Row], list[Row]]:
    """Run every head of the bar, showing each."""
    bleeding, clean = [], []
    for seed, name in BLEEDING:
        bleeding.append(evaluate(predictor, simulate_head(seed, (name,))))
        show(bleeding[-1])
    for seed in CLEAN:
        clean.append(evaluate(predictor, simulate_head(seed, ())))
        show(clean[-1])
    return bleeding, clean


def main() -> int:
    """Evaluate a bundle; return the exit status."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--bundle", default="smartnet-ich")
    given = parser.parse_args()
    torch.set_num_threads(2)
    bleeding, clean = run(load_predictor(given.bundle, "cpu"))
    faults = shortfalls(bleeding, clean)
    print(
        f"median Dice {statistics.median(row.dice for row in bleeding):.3f} (by subtype "
        f"{statistics.median(row.subtype_dice for row in bleeding):.3f}), found "
        f"{sum('any' in row.found for row in bleeding)} of {len(bleeding)}, false alarms "
        f"{sum(bool(row.found) for row in clean)} of {len(clean)}"
    )
    for fault in faults:
        print(f"short of the bar: {fault}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
