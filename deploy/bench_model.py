"""`make bench-model`: seconds for a 32-slice study through the shipped model, on this machine.

The node's way (precision and memory format as `auto` chooses) beside plain PyTorch in single
precision with the same weights, in turn, in one run; and whether the two masks agree.
"""

from __future__ import annotations

import os
import platform
import statistics
import sys
import time

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from ich_node.infer.bundle import load_network, read_bundle
from ich_node.infer.predictor import Predictor, load_predictor
from ich_node.records import CtVolume, Prediction
from training.evaluate.metrics import dice
from training.evaluate.reading import volume_of_array
from training.simulate import simulate_head

BUNDLE = "smartnet-ich"
ROUNDS = 7
LARGEST_RATIO = 0.5
LONGEST_S = {"cpu": 20.0, "cuda": 1.0}
SMALLEST_DICE = 0.99
_SEED = 900_410
_THREADS = 2

_console = Console()


def main() -> int:
    """Run the bench; return 1 where a bar is missed."""
    torch.set_num_threads(_THREADS)
    bundle = read_bundle(BUNDLE)
    own = load_predictor(BUNDLE)
    plain = Predictor(bundle, load_network(bundle).to(own.device), own.device, bf16=False)
    head = simulate_head(_SEED, ("intraparenchymal", "subdural"))
    volume = volume_of_array(head.hu, head.spacing_mm)
    results = {"node": own.predict(volume), "plain fp32": plain.predict(volume)}  # warms up too
    seconds: dict[str, list[float]] = {name: [] for name in results}
    for _ in range(ROUNDS):
        for name, predictor in (("node", own), ("plain fp32", plain)):
            seconds[name].append(_seconds(predictor, volume))
    return _tell(seconds, results, own)


def _seconds(predictor: Predictor, volume: CtVolume) -> float:
    began = time.perf_counter()
    predictor.predict(volume)
    return time.perf_counter() - began


def _tell(seconds: dict[str, list[float]], results: dict[str, Prediction], own: Predictor) -> int:
    table = Table("32 slices of 512 x 512", "median s", "least s", "most s")
    for name, taken in seconds.items():
        table.add_row(
            name, f"{statistics.median(taken):.2f}", f"{min(taken):.2f}", f"{max(taken):.2f}"
        )
    _console.print(table)
    median = {name: statistics.median(taken) for name, taken in seconds.items()}
    ratio = median["node"] / median["plain fp32"]
    masks = [result.labels > 0 for result in results.values()]
    agreement = dice(masks[0], masks[1])
    marked = int(np.sum(masks[1]))
    identity = own.identity
    print(
        f"ratio {ratio:.2f}; masks agree with Dice {agreement:.4f} ({marked} voxels); "
        f"{identity.name} {identity.version} in {identity.precision} on {identity.device}, "
        f"{_THREADS} threads of {os.cpu_count()} x {platform.processor() or platform.machine()}"
    )
    met = (
        (ratio <= LARGEST_RATIO or own.device.type != "cpu")
        and median["node"] < LONGEST_S[own.device.type]
        and agreement >= SMALLEST_DICE
        and marked > 0
    )
    bars = f"{LARGEST_RATIO}, {LONGEST_S}, {SMALLEST_DICE}, and something marked"
    print("met" if met else f"short of the bar: {bars}")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
