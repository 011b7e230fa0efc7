"""Every row that is unfinished has a job that lives: looked at at each start, and every 30 s.

The tables are the truth. A job can be lost all the same: its process died for good, the engine
parked it or could not write its end, or nobody listens to its queue any more. Whatever the tables
call unfinished is then given another one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from ich_node import logs
from ich_node.pipeline.pauses import pause_s
from ich_node.states import DeliveryEvent, DeliveryState, IllegalTransition
from ich_node.store import deliveries, proofs, revisions
from ich_node.store import destinations as store_destinations
from ich_node.store import jobs as job_port
from ich_node.store.deliveries import Due, Ended
from ich_node.store.engine import Engine, writing
from ich_node.store.jobs import Jobs

_log = logs.get(__name__)

PERIOD_S = 30.0


def analyses(engine: Engine, jobs: Jobs) -> list[str]:
    """Give every unfinished revision whose job is lost another; return their keys."""
    found = revisions.unfinished(engine)
    named = {item: job_port.analysis_id(item.key, item.attempt) for item in found}
    live = job_port.live(jobs, list(named.values()))
    lost = [item for item, job in named.items() if job not in live]
    mended = []
    for item in lost:
        pause = pause_s(item.attempt)
        text = f"the job of its analysis was lost; another one starts in {pause:.0f} s"
        try:
            with writing(engine) as connection:
                done = revisions.requeue(connection, jobs, item, text, pause)
        except IllegalTransition:  # it has ended since
            continue
        if done:
            _log.warning("requeued", revision=item.key, text=text)
            mended.append(item.key)
    return mended


def due_deliveries(engine: Engine, jobs: Jobs, destinations: Collection[str]) -> list[str]:
    """Give every delivery that is due and whose job is lost another; return revision keys.

    One whose destination is configured no more is given up, with that reason; that of a destination
    which is held has no job until it is released.

    Parameters
    ----------
    destinations
        Names of those that are configured.
    """
    named = {
        item: job_port.delivery_id(item.key, item.destination, item.attempt)
        for item in deliveries.due(engine)
    }
    live = job_port.live(jobs, list(named.values()))
    held = store_destinations.held(engine)
    mended = []
    for item, job in named.items():
        if item.destination not in destinations:
            text = _abandon(engine, jobs, item)
        elif item.destination in held:
            continue
        elif job not in live and _requeue(engine, jobs, item):
            text = "the job of this attempt was lost"
        else:
            continue
        _log.warning("delivery mended", revision=item.key, destination=item.destination, text=text)
        mended.append(item.key)
    return mended


def _abandon(engine: Engine, jobs: Jobs, item: Due) -> str:
    """End a delivery whose destination is gone: what was stored there stays stored."""
    text = f"no destination {item.destination!r} is configured any more"
    event = DeliveryEvent.UNPROVABLE
    if item.state is not DeliveryState.AWAITING:
        text, event = f"{text}; `ich-node resend` sends again", DeliveryEvent.REFUSED
    deliveries.record(engine, jobs, item.key, item.destination, item.attempt, Ended(event, text))
    return text


def _requeue(engine: Engine, jobs: Jobs, item: Due) -> bool:
    """Enqueue the next attempt, unless this one has ended since."""
    pause = pause_s(item.attempt)
    text = f"the job of attempt {item.attempt} was lost; the next one starts in {pause:.0f} s"
    event, only = DeliveryEvent.REQUEUED, item.attempt
    try:
        with writing(engine) as connection:
            return deliveries.ask(
                connection, jobs, item.key, item.destination, event, text, pause, only
            )
    except IllegalTransition:
        return False


def hasten(engine: Engine, jobs: Jobs) -> list[str]:
    """Have what destinations reported read now, not at the next attempt; return revision keys."""
    hastened = []
    for key, name in proofs.answered(engine):
        event, text = DeliveryEvent.ANSWERED, "storage commitment was reported"
        try:
            with writing(engine) as connection:
                deliveries.ask(connection, jobs, key, name, event, text)
        except IllegalTransition:  # an attempt has read it since
            continue
        hastened.append(key)
    return hastened


@dataclass(frozen=True)
class Takeover:
    """Finds jobs that the engine calls taken and that nobody works at.

    Parameters
    ----------
    executor
        Name of this process.
    queues
        Tells by its name whether a queue is one of ours.
    at_work
        Names of the jobs that this process runs now.
    dead
        Tells whether the process of this name has ended: its lock is free.
    suspects
        Our own jobs that were not at work at the last look.
    """

    executor: str
    queues: Callable[[str], bool]
    at_work: Callable[[], Collection[str]]
    dead: Callable[[str], bool]
    suspects: set[str] = field(default_factory=set)

    def look(self, jobs: Jobs) -> list[str]:
        """Put such jobs back into their queues; return their names.

        One of our own is put back at the second look that finds it idle: between the engine's
        taking it and its start there is a moment.
        """
        taken = [item for item in job_port.running(jobs) if self.queues(item.queue)]
        at_work = set(self.at_work())
        idle = {
            item.job_id
            for item in taken
            if item.executor == self.executor and item.job_id not in at_work
        }
        lost = [
            item
            for item in taken
            if (item.job_id in idle & self.suspects)
            or (item.executor != self.executor and self.dead(item.executor))
        ]
        for item in lost:
            job_port.give_back(jobs, item)
            _log.warning("job taken over", job=item.job_id, executor=item.executor)
        self.suspects.clear()
        self.suspects.update(idle - {item.job_id for item in lost})
        return [item.job_id for item in lost]
