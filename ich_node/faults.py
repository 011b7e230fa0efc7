"""Named points of the pipeline at which a test may strike. The product never installs a hook.

Each stands before or after something that lasts: at any of them the process may die, and after a
restart nothing acknowledged may be missing and nothing may be there twice.
"""

from __future__ import annotations

from collections.abc import Callable

POINTS = (
    "receive.begun",  # the bytes are in memory
    "receive.written",  # synced under the part's name
    "receive.renamed",  # synced under their own name, no row yet
    "receive.committed",  # the row is there, the peer has no answer yet
    "complete.begun",
    "complete.committed",
    *(
        f"{stage}.{moment}"
        for stage in ("assemble", "infer", "report", "close")
        for moment in ("begun", "done", "committed")  # noted; worked out; entered as done
    ),
    "report.built",  # the folder of results has its name, no row yet
    "deliver.begun",
    "deliver.sent",  # the destination has them, no row says so
    "deliver.committed",
    "prove.begun",
    "prove.asked",  # the destination was asked, no row says what for
)

Hook = Callable[[str, str], None]

_hook: Hook | None = None


def install(hook: Hook) -> None:
    """Call `hook` at every point that this process comes to, with its name and what it is about."""
    global _hook  # noqa: PLW0603  one process, one hook
    _hook = hook


def point(name: str, about: str) -> None:
    """Come to a point with an object (its UID) or a series (its UID, or its revision's key)."""
    if _hook is not None:
        _hook(name, about)
