"""A look at the pixels of end slices, without a risk for the receiver that asks for it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from ich_node import logs
from ich_node.assemble.ends import WHOLE, ends_outside

_log = logs.get(__name__)

# Pixels that need no decoder. A decoder may take its process down, so it gets one of its own.
NATIVE = frozenset({ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian})
# So many series are looked at by one process, and so long it may take for them, s.
BATCH, _LOOK_S = 32, 60.0


@dataclass(frozen=True)
class Ends:
    """Three slices of a stack: lowest, one in the wide brain, highest; ``native``: uncompressed."""

    paths: tuple[Path, Path, Path]
    native: bool


LookAtEnds = Callable[[Sequence[Ends]], "list[bool | None]"]


def look_at_ends(stacks: Sequence[Ends]) -> list[bool | None]:
    """Tell of each stack whether it ends outside the brain.

    Returns
    -------
    list of bool or None
        False too for one that ended the looking process or took too long; None for those behind
        it, which can be asked for again.
    """
    compressed = [ends for ends in stacks if not ends.native]
    said = iter(_by_process(compressed) if compressed else [])
    return [_here(ends) if ends.native else next(said) for ends in stacks]


def _here(ends: Ends) -> bool:
    try:
        return ends_outside(*ends.paths)
    except Exception as error:  # one series with odd values must not hold up the others
        _log.warning("end slices cannot be looked at", **logs.cause(error))
        return False


def _by_process(stacks: Sequence[Ends]) -> list[bool | None]:
    paths = [str(path) for ends in stacks for path in ends.paths]
    command = [sys.executable, "-m", "ich_node.assemble.ends", *paths]
    try:
        done = subprocess.run(  # noqa: S603  our own interpreter and module
            command, capture_output=True, timeout=_LOOK_S, check=False
        )
        said = done.stdout
    except subprocess.TimeoutExpired as error:
        said = error.stdout or b""
    answers: list[bool | None] = [line == WHOLE for line in said.decode().splitlines()]
    if len(answers) < len(stacks):
        _log.warning("the end slices of a series cannot be looked at; it waits for its quiet time")
        answers.append(False)
    return answers + [None] * (len(stacks) - len(answers))
