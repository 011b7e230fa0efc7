"""The durable workflow of a complete series: assemble -> infer -> report.

Each is a step: after a crash the steps that had ended are not run again. What a step gives to the
engine is a small record; volumes pass in memory, and a step that misses one there makes it again
from the stored originals, which gives the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from dbos import DBOS
from dbos import error as dbos_error

from ich_node import faults, logs
from ich_node.errors import DeviceLost, Reason, SeriesRefused, of_the_system
from ich_node.pipeline import kept, outcome, settle, stages
from ich_node.pipeline.outcome import Context
from ich_node.pipeline.pauses import pause_s
from ich_node.pipeline.worker import Worker
from ich_node.records import CtVolume, Prediction, Refusal, Revision
from ich_node.states import UNFINISHED, IllegalTransition, SeriesEvent
from ich_node.store import begun, deliveries, results, retention, revisions
from ich_node.store.engine import DatabaseError, Engine, may_pass, reading, writing
from ich_node.store.events import Facts
from ich_node.store.jobs import ANALYSE_WORKFLOW, attempt_of

_log = logs.get(__name__)

# A series that took this many processes down in one stage is left for the administrator.
_MAX_DEATHS = 3
_AGAIN: Any = {
    "retries_allowed": True,
    "interval_seconds": 2.0,
    "backoff_rate": 2.0,
    "max_attempts": 5,
}

Timings = dict[str, float]
# {"timings_s", and where the job ends here: "refusal", "failure", or "later": another one goes on}
Step = dict[str, Any]


def register(worker: Worker) -> None:
    """Register the workflow with the engine; before it is launched."""

    @DBOS.step(name="assemble", **_AGAIN)
    def assemble(key: str) -> Step:
        if revisions.state_of(worker.engine, key) not in UNFINISHED:
            return {"timings_s": {}, "later": True}  # another job of it has come to the end
        return _step(worker, key, "assemble", lambda revision: _assemble(worker, revision))

    @DBOS.step(name="infer", **_AGAIN)
    def infer(key: str) -> Step:
        return _step(worker, key, "infer", lambda revision: _infer(worker, revision))

    @DBOS.step(name="report", **_AGAIN)
    def report(key: str, timings_s: Timings) -> Step:
        return _step(worker, key, "report", lambda revision: _report(worker, revision, timings_s))

    @DBOS.step(name="close", **_AGAIN)
    def close(key: str, ended: Step, timings_s: Timings) -> None:
        with worker.at_hand.stage("close", key):
            _close(worker, revisions.load(worker.engine, key), ended, timings_s)

    # Crashes are counted by `begun.begin`: the engine cannot tell whose fault they are.
    @DBOS.workflow(name=ANALYSE_WORKFLOW, max_recovery_attempts=None)
    def analyse(key: str) -> None:
        timings: Timings = {}
        job = str(DBOS.workflow_id)
        with worker.at_hand.job(job), worker.holding(key), _put_off(worker, key, job):
            for step in (assemble, infer, lambda key: report(key, timings)):
                ended = _ended(step, key)
                timings.update(ended["timings_s"])
                if "later" in ended:
                    break
                if "refusal" in ended or "failure" in ended:
                    close(key, ended, timings)
                    break


@contextmanager
def _put_off(worker: Worker, key: str, job: str) -> Iterator[None]:
    """Let a series begin anew later when the machine has disturbed it to the last try.

    Where that cannot be written either, the job ends and the reconciler finds the series.
    """
    try:
        yield
    except dbos_error.DBOSMaxStepRetriesExceeded as error:
        if not may_pass(error.errors[-1]):
            raise
        attempt, last = attempt_of(job), logs.cause(error.errors[-1])["error"]
        pause = pause_s(attempt)
        text = f"disturbed by {last}; begins anew in {pause:.0f} s"
        _postpone(worker, key, attempt, text, pause)
        _log.error("analysis put off", revision=key, text=text)


def _postpone(worker: Worker, key: str, attempt: int, text: str, pause: float) -> None:
    """Give it another job, unless it has one by now, or has ended."""
    for item in revisions.unfinished(worker.engine):
        if (item.key, item.attempt) == (key, attempt):
            with suppress(IllegalTransition), writing(worker.engine) as connection:
                event = SeriesEvent.DISTURBED
                revisions.requeue(connection, worker.jobs, item, text, pause, event)


def _ended(step: Callable[[str], Step], key: str) -> Step:
    """Run a step; an error of the work that its last try still met becomes a record too.

    What may pass passes through, and so does what the engine raises itself (it is stopping, another
    process took over, a try before a restart was the last): it says nothing of the series.
    """
    try:
        return step(key)
    except dbos_error.DBOSMaxStepRetriesExceeded as error:
        if may_pass(error.errors[-1]):
            raise
        last = logs.cause(error.errors[-1])["error"]
        return {"timings_s": {}, "failure": f"{last}, {_AGAIN['max_attempts']} times"}


def _step(worker: Worker, key: str, name: str, stage: Callable[[Revision], Timings]) -> Step:
    """Run one stage; whatever happens in it becomes a record, and the worker lives on.

    Raises
    ------
    OSError, DatabaseError
        What may pass: the engine runs the step again.
    """
    began = time.monotonic()
    try:
        died = begun.begin(worker.engine, key, worker.process)
        if died >= _MAX_DEATHS:
            return _crashed(name, died)
        faults.point(f"{name}.begun", key)
        with worker.at_hand.stage(name, key):
            timings = stage(revisions.load(worker.engine, key))
        faults.point(f"{name}.committed", key)
        return {"timings_s": timings}
    except settle.Waits:
        return {"timings_s": {}, "later": True}
    except SeriesRefused as refused:
        said = {"reason": str(refused.reason), "text": refused.text}
        return {"timings_s": {name: time.monotonic() - began}, "refusal": said}
    except DeviceLost as error:
        worker.end_process(str(error))
        raise
    except Exception as error:
        cause = logs.cause(error)
        # A disk that is full or a database that is busy now may be well in a moment.
        if of_the_system(error) or isinstance(error, DatabaseError):
            _log.error("analysis disturbed, tried again", revision=key, **cause)
            raise
        _log.error("analysis failed", revision=key, **cause)
        return {"timings_s": {}, "failure": cause["error"]}


def _crashed(stage: str, died: int) -> Step:
    text = (
        f"{died} processes ended while they were at its stage {stage!r}; it is put aside so that "
        "the others go on. The log tells how they ended; `ich-node retry` tries again"
    )
    return {"timings_s": {}, "failure": text, "reason": outcome.CRASHED}


def _assemble(worker: Worker, revision: Revision) -> Timings:
    check_kept(worker.engine, revision.key)
    settle.choose(worker, revision)
    first, last, complete = revisions.moments(worker.engine, revision.key)
    queued = time.time() - complete
    volume, took = stages.timed(lambda: stages.volume_of(revision.paths, worker.max_missing))
    worker.volumes[revision.key] = volume
    faults.point("assemble.done", revision.key)
    slices = len(volume.source.headers)
    text = f"{slices} slices assembled in {took:.2f} s"
    _advance(worker, revision, SeriesEvent.ASSEMBLED, text, {"slices": slices})
    return {
        "receive": last - first,
        "complete": complete - last,
        "queue": queued,
        "assemble": took,
    }


def check_kept(engine: Engine, key: str) -> None:
    """Look whether all images of a revision are still kept.

    Raises
    ------
    SeriesRefused
        One came after the others of its series were deleted.
    """
    deleted, images = retention.deleted_of(engine, key)
    if deleted:
        raise SeriesRefused(
            Reason.ORIGINALS_DELETED,
            f"{deleted} of its {images} images were deleted after [retention] originals_days; "
            "send the whole series again, then `ich-node reprocess`",
        )


def _infer(worker: Worker, revision: Revision) -> Timings:
    with reading(worker.engine) as connection:
        settle.check_not_overtaken(connection, revision)
    volume = _volume(worker, revision)
    prediction, took = stages.timed(lambda: stages.predict(worker.predictor.predict, volume))
    worker.predictions[revision.key] = prediction
    faults.point("infer.done", revision.key)
    model = prediction.model
    how = f"{model.name} {model.version} on {model.device} in {model.precision}"
    text = "; ".join([f"{how}, {took:.2f} s", *prediction.notes])
    _advance(worker, revision, SeriesEvent.INFERRED, text, {"model": vars(model)})
    return {"infer": took}


def _report(worker: Worker, revision: Revision, timings_s: Timings) -> Timings:
    with reading(worker.engine) as connection:
        settle.check_not_overtaken(connection, revision)
    volume = _volume(worker, revision)
    # By the slices that are read: a localizer more in the series gives no other result.
    sources = [str(header.SOPInstanceUID) for header in volume.source.headers]
    # What read it may be another than what was to: the memory of the device was not enough.
    known = worker.predictions.get(revision.key)
    by = known.model if known is not None else worker.predictor.identity
    folder = worker.results_dir / kept.result_key(sources, by, worker.wanted)
    context = settle.context_of(worker, revision, timings_s, folder)

    def build(part: Path) -> None:
        prediction = _prediction(worker, revision)
        stages.build_analysed(context, volume, prediction, part, worker.wanted)
        faults.point("report.done", revision.key)

    def add(part: Path, kinds: Collection[str]) -> None:
        wanted = replace(worker.wanted, kinds=tuple(kinds))
        stages.add_analysed(context, volume, _prediction(worker, revision), part, wanted)

    kept.clear_damaged(worker.engine, revision.series_instance_uid, folder)
    built, took = stages.timed(lambda: kept.build_once(folder, build))
    kept.build_missing(folder, worker.wanted.kinds, add)
    faults.point("report.built", revision.key)
    told = outcome.read(folder)
    present = [name for name, found in told["findings"].items() if found["present"]]
    how = f"built in {took:.2f} s" if built else "built before, kept"
    _finish(
        worker,
        revision,
        SeriesEvent.REPORTED,
        f"present: {', '.join(present) or 'none'}; {how}",
        folder,
    )
    return {"report": took}


def _close(worker: Worker, revision: Revision, ended: Step, timings_s: Timings) -> None:
    """Give a series that ends early its state and its reason; then look at its study.

    Where the series passed over has its turn now, it gets it; where nothing of the study could be
    read, the PACS is told, once.
    """
    context = Context(revision.series_instance_uid, revision.evidence, timings_s)
    died = begun.begin(worker.engine, revision.key, worker.process)
    if died >= _MAX_DEATHS and "failure" not in ended:
        ended = _crashed("close", died)
    faults.point("close.begun", revision.key)
    if "failure" in ended:
        told = outcome.failed(context, ended.get("reason", outcome.ERROR), ended["failure"])
        settle.end(worker, revision, SeriesEvent.FAILED, told)
    else:
        said = ended["refusal"]
        told = outcome.refused(context, Refusal(Reason(said["reason"]), said["text"]))
        settle.end(worker, revision, SeriesEvent.REFUSED, told)
    faults.point("close.committed", revision.key)


def _volume(worker: Worker, revision: Revision) -> CtVolume:
    if revision.key not in worker.volumes:
        worker.volumes[revision.key] = stages.volume_of(revision.paths, worker.max_missing)
    return worker.volumes[revision.key]


def _prediction(worker: Worker, revision: Revision) -> Prediction:
    if revision.key not in worker.predictions:
        worker.predictions[revision.key] = stages.predict(
            worker.predictor.predict, _volume(worker, revision)
        )
    return worker.predictions[revision.key]


def _advance(
    worker: Worker, revision: Revision, event: SeriesEvent, text: str, facts: Facts
) -> None:
    with writing(worker.engine) as connection:
        revisions.apply(connection, revision.key, event, text, facts)
    _log.info(str(event), revision=revision.key, text=text)


def _finish(
    worker: Worker, revision: Revision, event: SeriesEvent, text: str, folder: Path
) -> None:
    """Enter the kept objects, the state and the deliveries in one transaction."""
    told = outcome.read(folder)
    objects = kept.kept_files(folder)
    with writing(worker.engine) as connection:
        settle.check_not_overtaken(connection, revision)  # since it was built
        results.keep(connection, revision.key, objects)
        revisions.apply(
            connection,
            revision.key,
            event,
            text,
            facts={
                "model": told["model"],
                "objects": [
                    {"kind": one.kind, "uid": one.sop_instance_uid, "sha256": one.sha256}
                    for one in objects
                ],
            },
            reason=told["reason"],
            reason_text=told["reason_text"],
            outcome=told,
            reported_at=time.time(),
        )
        if objects:
            deliveries.open_deliveries(connection, worker.jobs, revision.key, worker.destinations)
    _log.info(str(event), revision=revision.key, text=text, timings_s=told["timings_s"])
