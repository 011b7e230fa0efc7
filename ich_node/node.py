"""The only place that wires: what each process of `serve` is made of, and `serve` itself.

The receiver and the deliverer load no model; the worker imports it when it starts.
"""

from __future__ import annotations

import math
import os
import sys
import threading
import time
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import Any

from ich_node import locks, logs
from ich_node.bell import Bell
from ich_node.errors import Damaged, StoreError
from ich_node.lifetime import leave, told_to_stop, until_stopped
from ich_node.notify import notify
from ich_node.pipeline import clock, purge, rebuild, reconcile
from ich_node.pipeline.at_hand import AtHand
from ich_node.pipeline.clock import SetBack, Steady
from ich_node.pipeline.completion import Completion
from ich_node.pipeline.counting import askers
from ich_node.pipeline.duties import Duty, in_background
from ich_node.pipeline.reconcile import Takeover
from ich_node.records import Wanted
from ich_node.settings import Settings
from ich_node.store import begun, mending, trail, transfers
from ich_node.store import jobs as job_port
from ich_node.store.engine import DatabaseError, Engine, migrate, open_engine
from ich_node.supervise import Cause, supervise

_log = logs.get(__name__)

PROCESSES = ("receive", "work", "deliver")
# Executor ids: two living processes must never share one. The first belongs to `serve`.
WORKERS = tuple(f"worker-{slot}" for slot in range(16))
_LOOK_S, _IDLE_LOOK_S = 0.25, 2.0
_COMPLETE_S = 0.1  # of what is being received
_DRAIN_S = 20
_LEAVE_S = 10.0
_MIGRATE_S = 60.0
_MEND_AGAIN_S = 3600.0
# How often a worker may be killed from outside at one series before it counts.
_PARDONS = 10


def prepare(settings: Settings) -> Engine:
    """Make the folders and bring the database up to date.

    Raises
    ------
    StoreError
        A folder cannot be made, or the database cannot be used.
    """
    try:
        for folder in (settings.spool_dir, settings.results_dir):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise StoreError(
            f"storage.data_dir = {settings.storage.data_dir}: {error.strerror}"
        ) from error
    with locks.take(_locks(settings), "migrate", wait_s=_MIGRATE_S):
        engine = open_engine(settings.database_url)
        migrate(engine)
        job_port.prepare(settings.database_url)
    return engine


def _locks(settings: Settings) -> Path:
    return settings.storage.data_dir / "locks"


def _bell(settings: Settings) -> Bell:
    return Bell(_locks(settings) / "bell")


def _patience_s(parent: int | None) -> float:
    """What a process of `serve` waits for its forerunner to end; one run by hand does not wait."""
    return 0.0 if parent is None else _DRAIN_S + _LEAVE_S


def run_receiver(settings: Settings, parent: int | None) -> None:
    """Receive until told to stop; find series complete, and look after the spool, meanwhile."""
    from ich_node.receive import audit  # the commands need neither
    from ich_node.receive.scp import start_receiver
    from ich_node.receive.strangers import PERIOD_S

    with locks.take(_locks(settings), "receiver-0", wait_s=_patience_s(parent)):
        engine = prepare(settings)
        jobs = job_port.open_jobs(settings.database_url)
        transfers.end(engine)  # those of a receiver that was killed
        receiver = start_receiver(settings, engine)
        began, steady, watching = time.time(), Steady(), purge.watch(settings)
        _log.info("listening", ae_title=settings.dicom.ae_title, port=receiver.port)

        bell, asleep_until, at_hand = _bell(settings), 0.0, AtHand()
        answered = threading.Event()
        completion = Completion(engine, jobs, began, askers(settings, answered.set, engine))

        def look() -> None:
            nonlocal asleep_until
            open_series, now = receiver.open_series(), time.monotonic()
            if not open_series and now < asleep_until:
                return
            heard = receiver.heard()
            if completion.look(open_series, steady.now(), steady.ahead_s(), heard) > 0:
                asleep_until = now
                bell.ring()
            else:
                asleep_until = now + _IDLE_LOOK_S

        whole = Duty(math.inf, lambda: audit.audit_all(receiver.intake, began))
        recent = Duty(reconcile.PERIOD_S, lambda: audit.audit_recent(receiver.intake))
        in_background([whole, recent])  # a large spool takes minutes, or hours
        strangers = Duty(PERIOD_S, receiver.strangers.look)
        purging = Duty(purge.PERIOD_S, lambda: purge.purge(engine, settings, watching))
        in_background([purging, strangers])
        in_background([Duty(_COMPLETE_S, look)], at_hand, answered)
        until_stopped(parent, at_hand)
        receiver.stop(_DRAIN_S)
    leave()


def run_worker(settings: Settings, parent: int | None) -> None:
    """Analyse complete series until told to stop, with the model loaded once.

    The worker of `serve` is `worker-0`; one started by hand, for another device, is the next.
    """
    from ich_node.infer.predictor import load_predictor  # torch: only this process pays for it
    from ich_node.pipeline import analysis
    from ich_node.pipeline import engine as durable
    from ich_node.pipeline.worker import Worker

    names = WORKERS[:1] if parent is not None else WORKERS[1:]
    with locks.take(_locks(settings), *names, wait_s=_patience_s(parent)) as executor:
        store = prepare(settings)
        jobs = job_port.open_jobs(settings.database_url)
        model = settings.model
        predictor = load_predictor(model.bundle, model.device, model.precision)
        at_hand = AtHand()
        durable.configure(settings.database_url, executor)
        analysis.register(
            Worker(
                process=f"{executor}:{os.getpid()}:{time.time():.0f}",
                engine=store,
                jobs=jobs,
                predictor=predictor,
                results_dir=settings.results_dir,
                destinations=tuple(item.name for item in settings.destinations),
                wanted=settings.wanted,
                rules=settings.selection,
                max_missing=settings.assembly.max_missing,
                at_hand=at_hand,
            )
        )
        pace = durable.launch({job_port.ANALYSE_QUEUE: 1})
        bell, takeover = (
            _bell(settings),
            _takeover(settings, executor, at_hand, {job_port.ANALYSE_QUEUE}),
        )
        duties = (
            Duty(clock.PERIOD_S, SetBack(store, jobs, [job_port.ANALYSE_QUEUE]).look),
            Duty(reconcile.PERIOD_S, lambda: reconcile.analyses(store, jobs)),
            Duty(reconcile.PERIOD_S, lambda: takeover.look(jobs)),
            Duty(_LOOK_S, lambda: pace.keep(bell.rung_lately(time.monotonic()))),
        )
        in_background(duties, at_hand)
        until_stopped(parent, at_hand)
        durable.stop(_DRAIN_S, lambda: at_hand.jobs)
    leave()


def run_deliverer(settings: Settings, parent: int | None) -> None:
    """Deliver results until told to stop, each destination in a queue of its own."""
    from ich_node.audit import forward
    from ich_node.pipeline import commitment, delivery
    from ich_node.pipeline import engine as durable
    from ich_node.tls import client_context

    if any(destination.tls for destination in settings.destinations):
        client_context(settings.tls)  # a file that cannot be used is told at the start

    with locks.take(_locks(settings), "deliverer-0", wait_s=_patience_s(parent)) as executor:
        store = prepare(settings)
        jobs = job_port.open_jobs(settings.database_url)
        at_hand = AtHand()
        destinations = {item.name: item for item in settings.destinations}
        durable.configure(settings.database_url, executor)
        delivery.register(
            delivery.Deliverer(
                engine=store,
                jobs=jobs,
                calling_ae=settings.dicom.ae_title,
                destinations=destinations,
                tls=settings.tls,
                at_hand=at_hand,
            )
        )
        queues = {job_port.delivery_queue(name) for name in destinations}
        pace = durable.launch(dict.fromkeys(queues, 1))
        bell = _bell(settings)
        bell.ring()  # a start is a busy time: what waited is taken up
        takeover = _takeover(settings, executor, at_hand, queues)
        ours = settings.dicom.ae_title
        reports = Duty(
            commitment.PERIOD_S,
            lambda: commitment.report_owed(store, ours, settings.destinations, settings.tls),
        )
        in_background([reports])  # a peer that hangs must not hold up the others
        if settings.audit.sinks:
            messages = forward.forwarder(store, settings)
            in_background([Duty(forward.PERIOD_S, messages.look)])
        duties = (
            Duty(clock.PERIOD_S, SetBack(store, jobs, sorted(queues)).look),
            Duty(reconcile.PERIOD_S, lambda: reconcile.due_deliveries(store, jobs, destinations)),
            Duty(reconcile.PERIOD_S, lambda: takeover.look(jobs)),
            Duty(_IDLE_LOOK_S, lambda: reconcile.hasten(store, jobs)),
            Duty(_LOOK_S, lambda: pace.keep(bell.rung_lately(time.monotonic()))),
        )
        in_background(duties, at_hand)
        until_stopped(parent, at_hand)
        durable.stop(_DRAIN_S, lambda: at_hand.jobs)
    leave()


def _takeover(
    settings: Settings, executor: str, at_hand: AtHand, queues: Collection[str]
) -> Takeover:
    return Takeover(
        executor=executor,
        queues=queues.__contains__,
        at_work=lambda: at_hand.jobs,
        dead=lambda name: locks.is_free(_locks(settings), name),
    )


def ring(settings: Settings) -> None:
    """Tell a running node that a command has made work due."""
    if _locks(settings).is_dir():
        _bell(settings).ring()


def serve(settings: Settings, config: Path | None, ready: Callable[[str], None]) -> None:
    """Run receiver, worker and deliverer until told to stop; start again what dies or hangs.

    Parameters
    ----------
    config
        The configuration file, passed on to the processes; None where it comes by environment.
    ready
        Called once, with a line for people, when the port answers.
    """
    dicom = settings.dicom
    line = f"ich-node ready: {dicom.ae_title} answers on {dicom.host}:{dicom.port}"

    def when_ready() -> None:
        ready(line)
        notify(f"STATUS={line}")

    with locks.take(_locks(settings), "serve"):
        stopping, mended = told_to_stop(), -math.inf
        while True:
            engine = rebuild.open_whole(
                settings, lambda: prepare(settings), lambda: _at_work(settings)
            )
            # What was at hand when all of it ended: the power failed, or somebody stopped the node.
            _forgive(engine, f"{WORKERS[0]}:")
            trail.started(engine, settings.digest)
            try:
                supervise(
                    {name: _command(name, config) for name in PROCESSES},
                    _locks(settings),
                    stopping=stopping,
                    when_ready=when_ready,
                    on_death=partial(_judge, engine),
                    look=mending.watcher(settings.database_url),
                )
                trail.stopped(engine)
                return
            except Damaged as error:
                _log.error("the database is damaged or gone; all start anew", cause=str(error))
                engine.dispose()
                if time.monotonic() - mended < _MEND_AGAIN_S:  # the disk itself fails
                    raise
                mended = time.monotonic()


def _at_work(settings: Settings) -> list[str]:
    """Name the processes that live: `serve` itself has none yet."""
    names = ("receiver-0", "deliverer-0", *WORKERS)
    return [name for name in names if not locks.is_free(_locks(settings), name)]


def _judge(engine: Engine, name: str, pid: int, cause: Cause) -> None:
    """A worker that somebody killed is not held against the series that it had at hand."""
    if name == "work" and cause is Cause.KILLED:
        try:
            _forgive(engine, f"{WORKERS[0]}:{pid}:")
        except DatabaseError as error:
            _log.error("the database cannot be written", **logs.cause(error))


def _forgive(engine: Engine, process: str) -> None:
    for key in begun.forgive(engine, process, _PARDONS):
        _log.info("its worker was ended from outside; not held against it", revision=key)


def _command(name: str, config: Path | None) -> list[str]:
    chosen = ["--config", str(config)] if config is not None else []
    return [sys.executable, "-m", "ich_node", name, *chosen, "--parent", str(os.getpid())]


def analyze(
    settings: Settings, dicom_dir: Path, out: Path, progress: Callable[[str], None]
) -> dict[str, Any]:
    """Analyse a folder without a network; return the content of `result.json`.

    The model is loaded only when a series is there to be read.
    """
    from ich_node.infer.predictor import load_predictor
    from ich_node.pipeline.folder import analyze_folder

    model = settings.model
    return analyze_folder(
        dicom_dir,
        out,
        lambda volume: load_predictor(model.bundle, model.device, model.precision).predict(volume),
        progress,
        settings.selection,
        settings.assembly.max_missing,
        Wanted(enhanced_sr=settings.wanted.enhanced_sr),  # other kinds are for destinations
    )
