"""What an analysing process holds while it lives."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ich_node import logs
from ich_node.assemble.stack import MAX_MISSING
from ich_node.infer.predictor import Predictor
from ich_node.pipeline.at_hand import AtHand
from ich_node.records import CtVolume, Prediction, Wanted
from ich_node.settings import Selection
from ich_node.store.engine import Engine
from ich_node.store.jobs import Jobs

_log = logs.get(__name__)


def end_process(text: str) -> None:
    """End this process; its successor has the device anew and takes up what is at hand."""
    _log.error("the device is lost; this process ends, another one starts", cause=text)
    logging.shutdown()
    os._exit(1)


@dataclass(frozen=True)
class Worker:
    """What an analysing process holds while it lives.

    ``process`` names this life of it, ``EXECUTOR:PID:...``; ``max_missing`` slices may be bridged;
    ``wanted`` is built beside SEG and SR.
    ``end_process`` is called, with the cause, when the device is lost.
    ``volumes`` and ``predictions`` hand over between the steps of the revision at hand.
    """

    process: str
    engine: Engine
    jobs: Jobs
    predictor: Predictor
    results_dir: Path
    destinations: tuple[str, ...]
    rules: Selection = field(default_factory=Selection)
    max_missing: int = MAX_MISSING
    wanted: Wanted = field(default_factory=Wanted)
    at_hand: AtHand = field(default_factory=AtHand)
    end_process: Callable[[str], None] = end_process
    volumes: dict[str, CtVolume] = field(default_factory=dict)
    predictions: dict[str, Prediction] = field(default_factory=dict)

    @contextmanager
    def holding(self, key: str) -> Iterator[None]:
        """Let go at the end of what was handed over between the steps of this revision."""
        try:
            yield
        finally:
            self.volumes.pop(key, None)
            self.predictions.pop(key, None)
