"""The durable engine inside a process: launched once, listening to named queues."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from dbos import DBOS, DBOSConfig, DBOSPortableJSONSerializer

from ich_node.store.jobs import APPLICATION_NAME, APPLICATION_VERSION

# The engine looks for work at this pace, s: it bounds the wait of a series in an idle node.
POLL_SECONDS = 0.2


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
    }
    DBOS(config=config)
    own = logging.getLogger("dbos")  # it brings a handler of its own; one log is enough
    own.handlers.clear()
    own.propagate = True


def launch(queues: Mapping[str, int]) -> None:
    """Start to work.

    Parameters
    ----------
    queues
        Name of each queue to listen to, and how many of its jobs may run here at once.
    """
    DBOS.listen_queues(list(queues))
    DBOS.launch()
    for name, concurrency in queues.items():
        DBOS.register_queue(
            name,
            worker_concurrency=concurrency,
            polling_interval_sec=POLL_SECONDS,
            on_conflict="always_update",
        )


def stop(timeout_s: int) -> None:
    """Take no new job, wait for the running ones up to `timeout_s` seconds, and end."""
    DBOS.destroy(workflow_completion_timeout_sec=timeout_s)
