"""The only place that wires: what each process of `serve` is made of, and `serve` itself.

The receiver and the deliverer load no model; the worker imports it when it starts.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ich_node import faults, logs
from ich_node.complete.quiet import SeriesSnapshot, decide
from ich_node.errors import CANNOT_START, ConfigError, StoreError
from ich_node.settings import Settings
from ich_node.store import jobs as job_port
from ich_node.store import revisions
from ich_node.store.engine import Engine, migrate, open_engine
from ich_node.store.jobs import Jobs

_log = logs.get(__name__)

PROCESSES = ("receive", "work", "deliver")
_LOOK_S = 0.2
_DRAIN_S = 20
_KILL_AFTER_S = 30.0
_SHORTEST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0
_STEADY_S = 60.0


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
    with _lock(settings, "migrate", wait_s=_KILL_AFTER_S):
        engine = open_engine(settings.database_url)
        migrate(engine)
        job_port.prepare(settings.database_url)
    return engine


@contextmanager
def _lock(settings: Settings, name: str, wait_s: float = 0.0) -> Iterator[None]:
    """Hold the lock of a role: two living processes must never share one.

    The system frees it when the process ends, however it ends.

    Raises
    ------
    ConfigError
        Another process holds it, after `wait_s` seconds still.
    """
    folder = settings.storage.data_dir / "locks"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (folder / name).open("w") as handle:
        deadline = time.monotonic() + wait_s
        while not _locked(handle.fileno()):
            if time.monotonic() < deadline:
                time.sleep(_LOOK_S)
                continue
            raise ConfigError(
                f"another `ich-node {name}` runs on {settings.storage.data_dir}; stop it first"
            )
        yield


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _patience_s(parent: int | None) -> float:
    """What a process of `serve` waits for its forerunner to end; one run by hand does not wait."""
    return 0.0 if parent is None else _KILL_AFTER_S


def run_receiver(settings: Settings, parent: int | None) -> None:
    """Receive until told to stop; find series complete meanwhile."""
    from ich_node.receive.scp import start_receiver  # pynetdicom is not needed by the commands

    with _lock(settings, "receive", _patience_s(parent)):
        engine = prepare(settings)
        jobs = job_port.open_jobs(settings.database_url)
        receiver = start_receiver(settings, engine)
        _log.info("listening", ae_title=settings.dicom.ae_title, port=receiver.port)
        _listening_file(settings).write_text(str(os.getpid()))
        try:
            _until_stopped(parent, lambda: complete_series(engine, jobs, receiver.open_series()))
        finally:
            receiver.stop(_DRAIN_S)
            jobs.destroy()


def complete_series(engine: Engine, jobs: Jobs, open_series: Mapping[str, int]) -> None:
    """Declare every series complete that the evidence calls complete."""
    now = time.time()
    for found in revisions.receiving(engine):
        snapshot = SeriesSnapshot(
            instances=found.instances,
            last_received=found.last_received_at,
            open_associations=open_series.get(found.series_instance_uid, 0),
        )
        decision = decide(snapshot, now, found.quiet_seconds)
        if decision is not None:
            faults.point("complete.begun", found.series_instance_uid)
            key = revisions.open_revision(engine, jobs, found, decision.evidence)
            faults.point("complete.committed", found.series_instance_uid)
            if key is not None:
                _log.info("complete", revision=key, evidence=decision.evidence)


def run_worker(settings: Settings, parent: int | None) -> None:
    """Analyse complete series until told to stop, with the model loaded once."""
    from ich_node.infer.predictor import load_predictor  # torch: only this process pays for it
    from ich_node.pipeline import analysis
    from ich_node.pipeline import engine as durable

    with _lock(settings, "work", _patience_s(parent)):
        store = prepare(settings)
        jobs = job_port.open_jobs(settings.database_url)
        model = settings.model
        predictor = load_predictor(model.bundle, model.device, model.precision)
        durable.configure(settings.database_url, executor_id="worker-0")
        analysis.register(
            analysis.Worker(
                process=f"worker-0:{os.getpid()}:{time.time():.0f}",
                engine=store,
                jobs=jobs,
                predictor=predictor,
                results_dir=settings.results_dir,
                destinations=tuple(item.name for item in settings.destinations),
            )
        )
        durable.launch({job_port.ANALYSE_QUEUE: 1})
        try:
            _until_stopped(parent)
        finally:
            durable.stop(_DRAIN_S)
            jobs.destroy()


def run_deliverer(settings: Settings, parent: int | None) -> None:
    """Deliver results until told to stop, each destination in a queue of its own."""
    from ich_node.pipeline import delivery
    from ich_node.pipeline import engine as durable

    with _lock(settings, "deliver", _patience_s(parent)):
        store = prepare(settings)
        jobs = job_port.open_jobs(settings.database_url)
        durable.configure(settings.database_url, executor_id="deliverer-0")
        delivery.register(
            delivery.Deliverer(
                engine=store,
                jobs=jobs,
                calling_ae=settings.dicom.ae_title,
                destinations={item.name: item for item in settings.destinations},
            )
        )
        durable.launch({job_port.delivery_queue(item.name): 1 for item in settings.destinations})
        try:
            _until_stopped(parent)
        finally:
            durable.stop(_DRAIN_S)
            jobs.destroy()


def _until_stopped(parent: int | None, every: Callable[[], None] | None = None) -> None:
    """Wait for SIGTERM, SIGINT or the end of the parent, doing `every` meanwhile."""
    stopping = _told_to_stop()
    while not stopping():
        time.sleep(_LOOK_S)
        if parent is not None and os.getppid() != parent:
            _log.warning("the supervisor is gone; stopping")
            return
        if every is not None:
            try:
                every()
            except Exception:  # a database that is busy or full now may be well the next time
                _log.exception("could not look for complete series; trying again")


def _told_to_stop() -> Callable[[], bool]:
    """Listen for SIGTERM and SIGINT; return what tells whether one has come.

    A plain list: an Event set in a handler can wait for ever for the lock of its own `wait`.
    """
    told: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda came, _frame: told.append(came))
    return lambda: bool(told)


def serve(settings: Settings, config: Path | None, ready: Callable[[str], None]) -> None:
    """Run receiver, worker and deliverer until told to stop; start again what dies.

    Parameters
    ----------
    config
        The configuration file, passed on to the processes; None where it comes by environment.
    ready
        Called once, with a line for people, when the port answers.
    """
    with _lock(settings, "serve"):
        prepare(settings).dispose()
        stopping = _told_to_stop()
        _listening_file(settings).unlink(missing_ok=True)
        watched = [_Watched(name, _command(name, config)) for name in PROCESSES]
        try:
            told = False
            while not stopping():
                time.sleep(_LOOK_S)
                for child in watched:
                    child.look(time.monotonic())
                if not told and _listens(settings, watched[0].process):
                    told = True
                    dicom = settings.dicom
                    ready(f"ich-node ready: {dicom.ae_title} answers on {dicom.host}:{dicom.port}")
        finally:
            _stop_all(watched)


def _command(name: str, config: Path | None) -> list[str]:
    chosen = ["--config", str(config)] if config is not None else []
    return [sys.executable, "-m", "ich_node", name, *chosen, "--parent", str(os.getpid())]


class _Watched:
    """One process of `serve`: started, and started again after a pause that grows."""

    def __init__(self, name: str, command: Sequence[str]) -> None:
        self.name = name
        self._command = command
        self._pause = _SHORTEST_PAUSE_S
        self._started = 0.0
        self._next_start = 0.0
        self.process: subprocess.Popen[bytes] | None = None

    def look(self, now: float) -> None:
        """Start the process if it does not run and its pause is over."""
        if self.process is not None:
            code = self.process.poll()
            if code is None:
                return
            steady = now - self._started > _STEADY_S
            self._pause = _SHORTEST_PAUSE_S if steady else min(2 * self._pause, _LONGEST_PAUSE_S)
            self._next_start = now + self._pause
            self.process = None
            if code == CANNOT_START:
                raise ConfigError(f"`ich-node {self.name}` cannot start; its message stands above")
            _log.error("process ended", name=self.name, code=code, restart_in_s=self._pause)
        if now >= self._next_start:
            self.process = subprocess.Popen(self._command)  # noqa: S603  our own interpreter
            self._started = now


def _stop_all(watched: Sequence[_Watched]) -> None:
    running = [child.process for child in watched if child.process is not None]
    for process in running:
        process.terminate()
    deadline = time.monotonic() + _KILL_AFTER_S
    for process in running:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _listening_file(settings: Settings) -> Path:
    """Where the receiver leaves its process id once its port answers."""
    return settings.storage.data_dir / "locks" / "listening"


def _listens(settings: Settings, receiver: subprocess.Popen[bytes] | None) -> bool:
    path = _listening_file(settings)
    return receiver is not None and path.exists() and path.read_text() == str(receiver.pid)


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
    )
