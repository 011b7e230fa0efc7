"""Heads of a folder, as `training.real export` and `training.data` write them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ich_node.infer.predictor import Predictor
from training.data import Example, load
from training.evaluate.heads import HeadResult, measure_head
from training.simulate.scanner import expose


def measure_files(predictor: Predictor, paths: Sequence[Path]) -> Iterator[HeadResult]:
    """Measure heads in their order.

    Raises
    ------
    ValueError
        A file is none.
    """
    for number, path in enumerate(paths):
        yield measure_head(predictor, number, head_at(path, number))


def head_at(path: Path, number: int) -> Example:
    """Read a head; one that no scanner has seen gets a scanner of its number."""
    head = load(path)
    if head.scanned:
        return head
    hu = expose(np.random.default_rng((number, 5)), head.hu.astype(np.float32), head.spacing_mm)
    return replace(head, hu=np.rint(hu).astype(np.int16), scanned=True)
