"""What the engine holds, for tests to ask."""

from typing import cast

from ich_node.store.jobs import Jobs


def status_of(jobs: Jobs, job_id: str) -> str | None:
    """Return the engine's status of a job, or None where it knows no such job."""
    found = jobs.list_workflows(workflow_ids=[job_id])
    return cast(str, found[0].status) if found else None
