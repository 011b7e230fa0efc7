"""The port to the durable engine: jobs enter it in the transaction that makes them due.

The engine (DBOS) keeps its tables in the same database. Workflows are named by string, so that
whoever enqueues needs neither the pipeline nor a model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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

_LIVE = ("ENQUEUED", "DELAYED", "PENDING")

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


def analysis_id(revision_key: str, attempt: int) -> str:
    """Name of the job that analyses a revision."""
    return f"study:{revision_key}:{attempt}"


def attempt_of(job_id: str) -> int:
    """Return the number of the attempt that a job was named for."""
    return int(job_id.rpartition(":")[2])


def delivery_id(revision_key: str, destination: str, attempt: int) -> str:
    """Name of the job that makes one attempt to deliver."""
    return f"deliver:{destination}:{revision_key}:{attempt}"


def enqueue_analysis(
    jobs: Jobs,
    connection: Connection,
    revision_key: str,
    attempt: int,
    turn: int,
    delay_s: float = 0.0,
) -> None:
    """Make the analysis of a revision due `delay_s` seconds from now, if this commits.

    Of what is due the lowest `turn` is taken first, and of equal ones the oldest.
    """
    options: EnqueueOptions = {
        "workflow_name": ANALYSE_WORKFLOW,
        "queue_name": ANALYSE_QUEUE,
        "workflow_id": analysis_id(revision_key, attempt),
        "app_version": APPLICATION_VERSION,
        "priority": turn,
    }
    if delay_s > 0:
        options["delay_seconds"] = delay_s
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
        "workflow_id": delivery_id(revision_key, destination, attempt),
        "app_version": APPLICATION_VERSION,
    }
    if delay_s > 0:
        options["delay_seconds"] = delay_s
    jobs.enqueue_in_transaction(connection, options, revision_key, destination, attempt)


def live(jobs: Jobs, job_ids: Sequence[str]) -> set[str]:
    """Return those of these jobs that run, wait or will wait; the others have ended or are lost."""
    if not job_ids:
        return set()
    found = jobs.list_workflows(
        workflow_ids=list(job_ids), status=list(_LIVE), load_input=False, load_output=False
    )
    return {item.workflow_id for item in found}


@dataclass(frozen=True)
class Running:
    """A job that a process took: ``executor`` names the process, ``queue`` where it came from."""

    job_id: str
    executor: str
    queue: str


def running(jobs: Jobs) -> list[Running]:
    """Return every job that the engine calls taken, whether its process lives or not."""
    found = jobs.list_workflows(status="PENDING", load_input=False, load_output=False)
    return [
        Running(item.workflow_id, item.executor_id or "", item.queue_name or "") for item in found
    ]


def give_back(jobs: Jobs, taken: Running) -> None:
    """Put a job whose process has died or lost it back into its queue."""
    jobs.resume_workflows([taken.job_id], queue_name=taken.queue or None)


def bring_forward(jobs: Jobs, queues: Sequence[str], by_s: float) -> None:
    """Let the jobs of these queues that wait for their time begin `by_s` seconds earlier."""
    waiting = jobs.list_workflows(
        status="DELAYED", queue_name=list(queues), load_input=False, load_output=False
    )
    for item in waiting:
        until = (item.delay_until_epoch_ms or 0) - int(by_s * 1000)
        jobs.set_workflow_delay(item.workflow_id, delay_until_epoch_ms=max(0, until))
