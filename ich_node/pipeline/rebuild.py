"""The database looked at before a node starts on it: one that is damaged or gone is made anew."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from ich_node import logs
from ich_node.errors import StoreError
from ich_node.settings import Settings
from ich_node.store import events, mending, trail
from ich_node.store.engine import Engine
from ich_node.store.mending import Fault

_log = logs.get(__name__)


def open_whole(
    settings: Settings, prepare: Callable[[], Engine], at_work: Callable[[], Sequence[str]]
) -> Engine:
    """Open the database; one that is damaged is kept aside, and another is made.

    The receiver fills it from the spool; the log, and the first event of the new one, say so.

    Parameters
    ----------
    prepare
        Opens it, or makes it where there is none.
    at_work
        Names the processes of this node that may have it open.

    Raises
    ------
    StoreError
        It is damaged or gone, and a process of this node has it open still.
    """
    fault = mending.look_at(settings.database_url)
    if fault is None or (fault.gone and not _has_kept(settings)):
        return prepare()
    engine, said = _replace(fault, prepare, at_work())
    text = f"{said}; it is made anew from the spool, and everything in it is read and sent again"
    _log.error(text, path=str(fault.path))
    events.add(engine, trail.REBUILT, text)
    return engine


def _replace(
    fault: Fault, prepare: Callable[[], Engine], at_work: Sequence[str]
) -> tuple[Engine, str]:
    how = "gone" if fault.gone else "damaged"
    if at_work:
        raise StoreError(
            f"{fault.path} is {how} ({fault.text}) and {', '.join(at_work)} of this node may "
            "have it open: stop them, then start again"
        )
    # Of one that is gone too: a new one must not find the log and the index of another.
    aside = mending.put_aside(fault.path, time.time())
    engine = prepare()
    if fault.gone:
        return engine, f"the database was gone ({fault.text})"
    held = mending.keep_holds(aside, engine)
    said = f"the database was damaged ({fault.text}) and is kept as {aside.name}"
    if held is None:
        said += "; which destinations were held is lost: `ich-node hold` holds them again"
    return engine, said


def _has_kept(settings: Settings) -> bool:
    folders = (settings.spool_dir, settings.results_dir)
    return any(folder.is_dir() and any(folder.iterdir()) for folder in folders)


def told(settings: Settings) -> str:
    """Say for people what is wrong with the database and what to do; empty where nothing is."""
    fault = mending.look_at(settings.database_url)
    if fault is None or (fault.gone and not _has_kept(settings)):
        return ""
    how = "gone" if fault.gone else "damaged"
    return f"{fault.path} is {how} ({fault.text}): {mending.ADVICE}"
