"""Parts of a data set by patient: nobody is in two of them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping

from training.real.records import Case

PARTS: Mapping[str, float] = {"train": 0.7, "validate": 0.15, "test": 0.15}


def split_by_patient(
    cases: Iterable[Case], fractions: Mapping[str, float] = PARTS, seed: int = 42
) -> dict[str, tuple[Case, ...]]:
    """Split cases by patient.

    The part of a patient follows from the patient's name and the seed alone: cases that are added
    or taken away move nobody, and a patient of two data sets is in the same part of both. The
    fractions are met on average; a small data set may miss them.

    Parameters
    ----------
    cases
        In any order.
    fractions
        Share of the patients by part; together 1.
    seed
        Another seed gives another split.

    Returns
    -------
    dict
        The cases of each part, in the order given.

    Raises
    ------
    ValueError
        The fractions are not shares of 1.
    """
    if min(fractions.values()) < 0 or not math.isclose(sum(fractions.values()), 1.0):
        raise ValueError(f"fractions are {dict(fractions)}, expected shares that sum to 1")
    parts: dict[str, list[Case]] = {name: [] for name in fractions}
    for case in cases:
        parts[part_of(case.patient, fractions, seed)].append(case)
    return {name: tuple(found) for name, found in parts.items()}


def part_of(patient: str, fractions: Mapping[str, float], seed: int) -> str:
    """Return the part of one patient."""
    digest = hashlib.sha256(f"{seed}:{patient}".encode()).digest()
    share = int.from_bytes(digest[:8], "big") / 2**64
    reached = 0.0
    for name, fraction in fractions.items():
        reached += fraction
        if share < reached:
            return name
    return [name for name, fraction in fractions.items() if fraction > 0][-1]
