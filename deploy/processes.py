"""What the processes of a running node cost, as proc(5) tells it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

_TICK_S = 1.0 / os.sysconf("SC_CLK_TCK")
_PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 1e6


@dataclass(frozen=True)
class Figures:
    """Of one process now: resident memory in MB, open file handles, threads."""

    resident_mb: float
    handles: int
    threads: int


def processes(pid: int) -> dict[str, int]:
    """Return `serve` and its processes by name, given the id of `serve`."""
    found = {"serve": pid}
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        found[Path(f"/proc/{child}/cmdline").read_text().split("\0")[3]] = int(child)
    return found


def seconds(pid: int) -> float:
    """Return the processor time used so far, s."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) * _TICK_S


def resident_mb(pid: int) -> float:
    """Return the resident memory, MB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_MB


def peak_mb(pid: int) -> float:
    """Return the most resident memory that there has been, MB."""
    return _status(pid, "VmHWM") * 1024 / 1e6


def figures(pid: int) -> Figures:
    """Look at a process."""
    handles = sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
    return Figures(resident_mb(pid), handles, _status(pid, "Threads"))


def second_half(done: Sequence[int]) -> int:
    """Return where the second half of the work begins: before that a process grows warm.

    Parameters
    ----------
    done
        How much was done at each look.
    """
    return next(at for at, number in enumerate(done) if number >= done[-1] / 2)


def growth(done: Sequence[int], figures: Sequence[float]) -> float:
    """Return how much a figure grows with each 100 that are done, by a straight line.

    Through the least in each twentieth of the work, or the most where that grows less: what is at
    hand comes and goes with its study, seen or not, and what leaks lifts both.
    """
    if len(set(done)) < 2:
        return 0.0
    parts = np.minimum(20 * (np.array(done) - done[0]) // (done[-1] - done[0]), 19)
    looks = [np.flatnonzero(parts == part) for part in set(parts)]
    values = np.array(figures)
    least = [found[values[found].argmin()] for found in looks]
    most = [found[values[found].argmax()] for found in looks]
    slopes = [np.polyfit(np.array(done)[ends], values[ends], 1)[0] for ends in (least, most)]
    return 100 * float(min(slopes))


def _status(pid: int, key: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))
