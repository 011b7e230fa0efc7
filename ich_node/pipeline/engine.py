"""The durable engine inside a process: launched once, listening to named queues."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from dbos import DBOS, DBOSConfig, DBOSPortableJSONSerializer, Queue

from ich_node.store.jobs import APPLICATION_NAME, APPLICATION_VERSION

# How often the engine looks for work, s: each look costs, and the wait for it too. An idle node
# has the time until the first series is complete to come to its pace.
BUSY_S, IDLE_S = 0.1, 2.0
# How often it looks for messages of a kind that we do not use, s.
MESSAGES_S = 60.0
_LOOK_S = 0.05
# What the engine may take to write down the end of the last job.
_LAST_WRITE_S = 0.5


def configure(url: str, executor_id: str) -> None:
    """Configure the engine; workflows are registered after this and before `launch`.

    Parameters
    ----------
    executor_id
        Name of this process. At launch the engine takes up what a process of this name left
        unfinished, so two living processes must never share one.
    """
    config: DBOSConfig = {
        "name": APPLICATION_NAME,
        "system_database_url": url,
        "application_version": APPLICATION_VERSION,
        "executor_id": executor_id,
        "serializer": DBOSPortableJSONSerializer(),
        "log_level": "WARNING",
        "enable_otlp": False,
        "notification_listener_polling_interval_sec": MESSAGES_S,
        # Of its twenty connections few are used, and only these grow a page cache of 2 MB.
        "db_engine_kwargs": {"pool_use_lifo": True},
    }
    DBOS(config=config)
    own = logging.getLogger("dbos")  # it brings a handler of its own; one log is enough
    own.handlers.clear()
    own.propagate = True


@dataclass
class Pace:
    """The pace at which this process looks for work. Made by `launch`."""

    queues: tuple[Queue, ...]
    busy: bool = True

    def keep(self, busy: bool) -> None:
        """Look often while there is work in sight, else seldom."""
        if busy == self.busy:
            return
        for queue in self.queues:
            queue.set_polling_interval_sec(BUSY_S if busy else IDLE_S)
        self.busy = busy


def launch(queues: Mapping[str, int]) -> Pace:
    """Start to work.

    Parameters
    ----------
    queues
        Name of each queue to listen to, and how many of its jobs may run here at once.
    """
    DBOS.listen_queues(list(queues))
    DBOS.launch()
    return Pace(
        tuple(
            DBOS.register_queue(
                name,
                worker_concurrency=concurrency,
                polling_interval_sec=BUSY_S,
                on_conflict="always_update",
            )
            for name, concurrency in queues.items()
        )
    )


def stop(timeout_s: float, at_work: Callable[[], Collection[str]]) -> None:
    """Take no new job, and wait for the running ones up to `timeout_s` seconds.

    The process must end after this. What has not ended stays taken, and the next process of this
    name takes it up.

    Parameters
    ----------
    at_work
        Names of the jobs that this process runs now.
    """
    # The engine's own end waits for threads of its own that only sleep: it goes on behind us.
    closing = threading.Thread(
        target=DBOS.destroy,
        kwargs={"workflow_completion_timeout_sec": math.ceil(timeout_s) + 60},
        daemon=True,
    )
    closing.start()
    deadline = time.monotonic() + timeout_s
    while at_work() and time.monotonic() < deadline:
        time.sleep(_LOOK_S)
    closing.join(_LAST_WRITE_S)
