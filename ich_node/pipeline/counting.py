"""Asking another system, at growing pauses, how many instances of a series it holds."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from ich_node import logs
from ich_node.complete.evidence import AGREE_S
from ich_node.complete.snapshot import Count
from ich_node.settings import Destination, Settings
from ich_node.store import events
from ich_node.store.engine import DatabaseError, Engine
from ich_node.store.revisions import Receiving

_log = logs.get(__name__)

_LONGEST_PAUSE_S = 60.0

# Asks in the background for a series: where to, and Study and Series Instance UID.
Ask = Callable[[str, str], "Future[int]"]


def askers(
    settings: Settings, when_answered: Callable[[], None], engine: Engine | None = None
) -> dict[str, Ask]:
    """Return how to ask the PACS of each source, by the source's name.

    A thread for each PACS: one that hangs holds up its own sources only. What was asked enters the
    audit trail in `engine`.
    """
    if not any(source.query for source in settings.sources):
        return {}
    from ich_node.deliver.query import count_instances  # a receiver that asks nobody needs no SCU

    def asker(destination: Destination) -> Ask:
        thread = ThreadPoolExecutor(1, thread_name_prefix=f"query-{destination.name}")
        count = partial(count_instances, destination, settings.dicom.ae_title, tls=settings.tls)

        def ask(study: str, series: str) -> Future[int]:
            asked = thread.submit(count, study, series)
            if engine is not None:
                asked.add_done_callback(partial(_note, engine, destination, study, series))
            asked.add_done_callback(lambda _: when_answered())
            return asked

        return ask

    asked = {source.query for source in settings.sources}
    of_pacs = {item.name: asker(item) for item in settings.destinations if item.name in asked}
    return {source.name: of_pacs[source.query] for source in settings.sources if source.query}


def _note(
    engine: Engine, destination: Destination, study: str, series: str, answer: Future[int]
) -> None:
    """Enter a query that was answered in the trail."""
    if answer.exception() is not None:
        return
    data = destination.model_dump(include={"ae_title", "host", "port", "tls"})
    text = f"{destination.name} asked by C-FIND how many instances it holds: {answer.result()}"
    try:
        events.add(engine, "queried", text, study=study, series=series, data=data)
    except DatabaseError as error:
        _log.error("a query cannot be noted", **logs.cause(error))


@dataclass
class Counting:
    """What was asked about one series since its last image came.

    Parameters
    ----------
    ask
        Asks once more.
    counts
        The answers, the first first.
    """

    ask: Ask
    counts: tuple[Count, ...] = ()
    failed: str = ""
    _asked: Future[int] | None = None
    _asked_at: float = 0.0
    _due: float = 0.0
    _pause_s: float = 1.05 * AGREE_S

    def look(self, found: Receiving, now: float) -> None:
        """Take an answer that has come, and ask again when it is time; `now` is epoch, s."""
        if self._asked is not None and self._asked.done():
            self._take(self._asked)
            self._asked, self._due = None, self._asked_at + self._pause_s
            self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
        if self._asked is None and now >= self._due:
            self._asked_at = now
            self._asked = self.ask(found.study_instance_uid, found.series_instance_uid)

    def _take(self, answer: Future[int]) -> None:
        error = answer.exception()
        if error is None:
            self.counts = (*self.counts, Count(self._asked_at, answer.result()))
            return
        text = str(error) if isinstance(error, Exception) else type(error).__name__
        if text != self.failed:
            self.failed = text
            _log.warning("a PACS cannot be asked for its number of instances", cause=text)
