"""The port to the durable engine: jobs enter it in the transaction that makes them due.

The engine (DBOS) keeps its tables in the same database. Workflows are named by string, so that
whoever enqueues needs neither the pipeline nor a model.
"""

from __future__ import annotations

from typing import cast

from dbos import DBOS, DBOSClient, DBOSPortableJSONSerializer, EnqueueOptions

from ich_node.errors import StoreError
from ich_node.store.engine import Connection

# A running job belongs to the version that began it: the constant changes only together with the
# names of the workflows whose steps changed.
APPLICATION_NAME = "ich-node"
APPLICATION_VERSION = "1"
ANALYSE_WORKFLOW = "analyse"
ANALYSE_QUEUE = "analyse"
DELIVER_WORKFLOW = "deliver"

Jobs = DBOSClient


def delivery_queue(destination: str) -> str:
    """Name of the queue of one destination: a PACS that is down holds up no other."""
    return f"deliver:{destination}"


def prepare(url: str) -> None:
    """Create or update the engine's own tables.

    Raises
    ------
    StoreError
        The database cannot be reached or changed.
    """
    try:
        DBOS.migrate(url)
    except Exception as error:
        raise StoreError(f"the job tables cannot be brought up to date: {error}") from error


def open_jobs(url: str) -> Jobs:
    """Open the port for a process that enqueues.

    The portable JSON serializer is given because the engine's default is pickle.
    """
    return DBOSClient(
        system_database_url=url,
        serializer=DBOSPortableJSONSerializer(),
        application_name=APPLICATION_NAME,
    )


def enqueue_analysis(
    jobs: Jobs, connection: Connection, revision_key: str, attempt: int, priority: int
) -> None:
    """Make the analysis of a revision due, if this transaction commits."""
    options: EnqueueOptions = {
        "workflow_name": ANALYSE_WORKFLOW,
        "queue_name": ANALYSE_QUEUE,
        "workflow_id": f"study:{revision_key}:{attempt}",
        "app_version": APPLICATION_VERSION,
        "priority": priority,
    }
    jobs.enqueue_in_transaction(connection, options, revision_key)


def enqueue_delivery(
    jobs: Jobs,
    connection: Connection,
    revision_key: str,
    destination: str,
    attempt: int,
    delay_s: float = 0.0,
) -> None:
    """Make one attempt to deliver due, `delay_s` seconds from now, if this transaction commits."""
    options: EnqueueOptions = {
        "workflow_name": DELIVER_WORKFLOW,
        "queue_name": delivery_queue(destination),
        "workflow_id": f"deliver:{destination}:{revision_key}:{attempt}",
        "app_version": APPLICATION_VERSION,
    }
    if delay_s > 0:
        options["delay_seconds"] = delay_s
    jobs.enqueue_in_transaction(connection, options, revision_key, destination, attempt)


def status_of(jobs: Jobs, job_id: str) -> str | None:
    """Return the engine's status of a job, or None where it knows no such job."""
    found = jobs.list_workflows(workflow_ids=[job_id])
    return cast(str, found[0].status) if found else None
