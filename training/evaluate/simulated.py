"""Simulated heads of the test seeds, which no training and no calibration saw."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import torch

from ich_node.infer.predictor import Predictor, load_predictor
from training.data import draw_scan, example
from training.evaluate.heads import HeadResult, measure_head
from training.seeds import EVALUATION


def measure_heads(
    bundle: str, count: int, processes: int, templates: Path | None
) -> Iterator[HeadResult]:
    """Draw and measure the first heads of the test seeds, in their order.

    Parameters
    ----------
    bundle
        A shipped bundle's name, or a folder.
    templates
        As of `simulate_head`.

    Raises
    ------
    BundleError
        The bundle cannot be trusted or does not fit.
    """
    seeds = EVALUATION.seeds[:count]
    if processes == 1:
        predictor = load_predictor(bundle)
        yield from (measure_seed(predictor, seed, templates) for seed in seeds)
        return
    with ProcessPoolExecutor(processes, get_context("spawn"), _start, (bundle,)) as pool:
        yield from pool.map(partial(_in_process, templates=templates), seeds)


_loaded: list[Predictor] = []


def _start(bundle: str) -> None:
    """Load the model once in each process."""
    torch.set_num_threads(1)
    _loaded.append(load_predictor(bundle))


def _in_process(seed: int, templates: Path | None) -> HeadResult:
    return measure_seed(_loaded[0], seed, templates)


def measure_seed(predictor: Predictor, seed: int, templates: Path | None) -> HeadResult:
    """Draw the head of a seed, in the scan that the seed draws, and measure it."""
    head = draw_scan(seed, templates=templates)
    return measure_head(predictor, seed, example(head, scanned=True))
