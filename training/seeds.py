"""What a simulated head is for follows from its seed: none is learned from and measured by."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Purpose:
    """What heads are for, in words, and the seeds of those that are."""

    words: str
    seeds: range

    def __str__(self) -> str:
        return f"{self.seeds[0]} to {self.seeds[-1]} ({self.words})"


TRAINING = Purpose("to learn from", range(90_000))
VALIDATION = Purpose("to validate and calibrate by", range(90_000, 100_000))
EVALUATION = Purpose("to measure by", range(900_000, 1_000_000))


class SeedError(Exception):
    """A head would serve two purposes."""


def to_draw(first: int, count: int) -> range:
    """Return the seeds of heads that a folder is to hold.

    Raises
    ------
    SeedError
        They are not all to learn from, nor all to validate by.
    """
    seeds = range(first, first + count)
    for own in (TRAINING, VALIDATION):
        if seeds and seeds[0] in own.seeds and seeds[-1] in own.seeds:
            return seeds
    raise SeedError(
        f"--first {first} --count {count}: expected seeds of {TRAINING} or of {VALIDATION}; "
        f"those of {EVALUATION} are drawn by `python -m training.evaluate` alone"
    )


def file_name(seed: int) -> str:
    """Return the name of the file that keeps a head."""
    return f"{seed:06d}.npz"


def stated(paths: Iterable[Path]) -> dict[str, Any]:
    """Return which heads these files are: ranges of seeds, and how many are not simulated."""
    files = list(paths)
    numbers = sorted(int(path.stem) for path in files if path.stem.isdecimal())
    names = {path.name for path in files}
    simulated = [seed for seed in numbers if file_name(seed) in names]
    ranges: list[list[int]] = []
    for seed in simulated:
        if ranges and seed == ranges[-1][1] + 1:
            ranges[-1][1] = seed
        else:
            ranges.append([seed, seed])
    return {"seeds": ranges, "others": len(files) - len(simulated)}


def check(paths: Iterable[Path], own: Purpose) -> None:
    """See to it that simulated heads among these files are for a purpose.

    Raises
    ------
    SeedError
        One of them is for another.
    """
    others = [one for one in (TRAINING, VALIDATION, EVALUATION) if one != own]
    for path in paths:
        seed = int(path.stem) if path.stem.isdecimal() else -1
        for other in others:
            if seed in other.seeds and path.name == file_name(seed):
                raise SeedError(
                    f"{path} is one of the heads {other}; expected are those of {own}: take it "
                    "out of the folder"
                )
