"""Locks that tell whether a process lives: the system frees one when its holder ends."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ich_node.errors import ConfigError

_LOOK_S = 0.2


@contextmanager
def take(folder: Path, *names: str, wait_s: float = 0.0) -> Iterator[str]:
    """Hold the first of these locks that can be had; two living processes never share one.

    Yields
    ------
    str
        Which one it is.

    Raises
    ------
    ConfigError
        Others hold them all, after `wait_s` seconds still.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    deadline = time.monotonic() + wait_s
    while True:
        for name in names:
            with (folder / name).open("w") as handle:
                if _locked(handle.fileno()):
                    yield name
                    return
        if time.monotonic() > deadline:
            raise ConfigError(_taken(folder, names))
        time.sleep(_LOOK_S)


def is_free(folder: Path, name: str) -> bool:
    """Tell whether nobody holds a lock: the process of this name has ended, or never was."""
    path = folder / name
    if not path.is_file():
        return True
    with path.open() as handle:
        return _locked(handle.fileno())


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _taken(folder: Path, names: Sequence[str]) -> str:
    return f"another process of this node holds {folder / names[-1]}; stop it first"
