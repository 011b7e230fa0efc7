"""A node's life in one process, for many lives in a row: what `serve` does, without its three.

The same stages, store and durable jobs on the same folder; images come in by the receiver's own
door instead of its port, and time passes as fast as the work allows.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from dbos import DBOS

from deploy.demo.running import wait_for
from ich_node import node
from ich_node.infer.predictor import Predictor
from ich_node.pipeline import analysis, delivery, pauses, rebuild, reconcile
from ich_node.pipeline import engine as durable
from ich_node.pipeline.at_hand import AtHand
from ich_node.pipeline.completion import Completion
from ich_node.pipeline.reconcile import Takeover
from ich_node.pipeline.worker import Worker
from ich_node.receive import audit
from ich_node.receive.intake import SUCCESS, Intake, take
from ich_node.settings import Settings
from ich_node.store import jobs as job_port
from ich_node.store.engine import Engine
from ich_node.store.jobs import Jobs
from tests.faults.actors import Sent
from tests.support.peers import request_of

_DEADLINE_S = 120.0


def hasten() -> None:
    """Shorten what lives in this process only wait for."""
    durable.MESSAGES_S = pauses._FIRST_PAUSE_S = 0.1


def live(
    settings: Settings,
    predictor: Predictor,
    images: Sequence[Path],
    sent: Sent,
    ended: Callable[[Engine], bool],
) -> None:
    """Start on what is there, take images in, and work until all is ended.

    Parameters
    ----------
    images
        What senders still have to send.
    ended
        Tells whether to stop.
    """
    began = time.time()
    engine = rebuild.open_whole(settings, lambda: node.prepare(settings), lambda: [])
    jobs = job_port.open_jobs(settings.database_url)
    intake, at_hand = Intake(engine, settings), AtHand()
    audit.audit_all(intake, began)
    for path in images:
        _send(intake, path, sent)
    completion = Completion(engine, jobs, began)
    durable.configure(settings.database_url, "worker-0")
    destinations = {item.name: item for item in settings.destinations}
    _register(settings, predictor, engine, jobs, at_hand)
    queues = {job_port.ANALYSE_QUEUE, *map(job_port.delivery_queue, destinations)}
    durable.launch(dict.fromkeys(queues, 1))
    takeover = Takeover("worker-0", queues.__contains__, lambda: at_hand.jobs, lambda _name: True)

    def look() -> bool:
        completion.look({}, time.time() + settings.completion.quiet_seconds)
        reconcile.analyses(engine, jobs)
        reconcile.due_deliveries(engine, jobs, destinations)
        takeover.look(jobs)
        return ended(engine)

    try:
        wait_for(look, _DEADLINE_S, "ended studies")
        wait_for(lambda: not at_hand.jobs, _DEADLINE_S, "ended jobs")
    finally:
        DBOS.destroy()
        jobs.destroy()
        engine.dispose()


def _register(
    settings: Settings, predictor: Predictor, engine: Engine, jobs: Jobs, at_hand: AtHand
) -> None:
    names = tuple(item.name for item in settings.destinations)
    analysis.register(
        Worker(
            process=f"worker-0:1:{time.time():.0f}",
            engine=engine,
            jobs=jobs,
            predictor=predictor,
            results_dir=settings.results_dir,
            destinations=names,
            wanted=settings.wanted,
            at_hand=at_hand,
        )
    )
    delivery.register(
        delivery.Deliverer(
            engine=engine,
            jobs=jobs,
            calling_ae=settings.dicom.ae_title,
            destinations={item.name: item for item in settings.destinations},
            at_hand=at_hand,
        )
    )


def _send(intake: Intake, path: Path, sent: Sent) -> None:
    request = request_of(path, intake.settings.sources[0])
    if take(intake, request).status == SUCCESS:
        sent.acknowledged[request.sop_instance_uid] = hashlib.sha256(request.data).hexdigest()
