"""Damaged PDUs into a receiver that runs in a process of its own, over real sockets.

It must live, answer every request that can be answered, log no fault of ours and no patient, store
a sound object after each ten thousand PDUs, and stay small.
"""

from __future__ import annotations

import json
import multiprocessing
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from pydicom.uid import ExplicitVRLittleEndian

from deploy.demo.running import configuration, free_port, wait_for
from ich_node.receive import services
from ich_node.receive.command import decode
from tests import identity
from tests.soak.sending import Message, Sound, Tally, send_damaged
from tests.soak.told import Told
from tests.support import lists
from tests.support.peers import associate, encoded, incoming, sent, small_object
from tests.support.wire import ABORT, associate_request, store_request

_SENDERS = 4
_BATCH = 500  # PDUs of a seed; a sender is told of the next ones after them
_CHECK_EVERY = 10_000
_RELEASE = b"\x05\x00\x00\x00\x00\x04\x00\x00\x00\x00"
_OBJECT = small_object(1)
_SYNTAX = ExplicitVRLittleEndian
_CLASSES = (_OBJECT.SOPClassUID, *sorted(services.CLASSES))


@dataclass
class Report:
    """How much went in, and how the receiver stood it; `faults` says where it did not.

    `pdus` counts damaged ones that it has read for certain, `statuses` its answers.
    """

    seed: int
    pdus: int = 0
    connections: int = 0
    sound_objects: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    rss_mb: float = 0.0
    threads: int = 0
    seconds: float = 0.0
    pdus_per_s: float = 0.0


def soak_pdus(count: int, seed: int, folder: Path) -> Report:
    """Send at least so many damaged PDUs to a receiver."""
    report, began, port = Report(seed), time.monotonic(), free_port()
    folder.mkdir(parents=True)
    log = folder / "receiver.log"
    with _receiver(configuration(folder, port, []), port, log) as process:
        _store_one(report, port)
        _send(report, count, port, process)
        _store_one(report, port)
        _watch(report, process)
    report.faults += faults_in(log) + identity.named_in_logs(folder)
    report.seconds = round(time.monotonic() - began, 1)
    report.pdus_per_s = round(report.pdus / report.seconds, 1)
    return report


def _send(report: Report, count: int, port: int, process: subprocess.Popen[bytes]) -> None:
    """Keep the senders busy until enough is sent, or the receiver is not well."""
    sound, told = sound_pdus(), Told()
    spawned = multiprocessing.get_context("spawn")  # this process has threads
    with ProcessPoolExecutor(_SENDERS, mp_context=spawned) as senders:
        under_way: set[Future[Tally]] = set()
        batches = 0
        while report.pdus < count and not report.faults:
            while len(under_way) < _SENDERS and report.pdus + len(under_way) * _BATCH < count:
                batches += 1
                seed, most = f"{report.seed}.{batches}", min(_BATCH, count)
                under_way.add(senders.submit(send_damaged, sound, port, seed, most))
            done, under_way = wait(under_way, 1, FIRST_COMPLETED)
            for tally in (one.result() for one in done):
                _add(report, tally)
            _watch(report, process)
            if report.pdus >= report.sound_objects * _CHECK_EVERY:
                _store_one(report, port)
            told.say(f"{report.pdus} PDUs, {report.rss_mb:.0f} MB, {len(report.faults)} faults")


def _add(report: Report, tally: Tally) -> None:
    report.pdus += tally.pdus
    report.connections += tally.connections
    report.statuses += tally.statuses
    report.faults += tally.faults


def sound_pdus() -> Sound:
    """Return what the senders damage: an association, a small object, lists of instances."""
    data = encoded(_OBJECT)
    request = associate_request(contexts=[(uid, (_SYNTAX,)) for uid in _CLASSES])
    store = store_request(_OBJECT, data)
    first = int.from_bytes(store[2:6], "big") + 6  # the PDU of the command set
    pdus = (store, store, store[: first + 20], store[:first], _RELEASE, ABORT, request)
    objects = [Message(1, decode(store[12:first]), data)] * len(lists.requests())
    announced = [
        Message(
            2 * _CLASSES.index(one.sop_class) + 1, one.command, lists.encoded(one.dataset, _SYNTAX)
        )
        for one in lists.requests()
    ]
    return Sound(request, (*objects, *announced), pdus)


@contextmanager
def _receiver(config: Path, port: int, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "ich_node", "receive", "--config", str(config)]
    with log.open("wb") as said, subprocess.Popen(command, stderr=said, stdout=said) as process:
        try:
            wait_for(lambda: answers(port), 60, "answer of the receiver")
            yield process
        finally:
            process.terminate()
            process.wait(60)


def answers(port: int) -> bool:
    """Tell whether a C-ECHO is answered."""
    association = associate(port)
    if association.is_established:
        association.send_c_echo()
        association.release()
        return True
    return False


def _watch(report: Report, process: subprocess.Popen[bytes]) -> None:
    """Note whether the receiver lives, its peak of memory (VmHWM) and its threads."""
    if process.poll() is not None:
        report.faults.append(f"the receiver ended with status {process.returncode}")
        return
    status = dict(
        line.split(":\t", 1)
        for line in Path(f"/proc/{process.pid}/status").read_text().splitlines()
        if ":\t" in line
    )
    report.rss_mb = max(report.rss_mb, int(status["VmHWM"].split()[0]) / 1024)
    report.threads = max(report.threads, int(status["Threads"]))


def _store_one(report: Report, port: int) -> None:
    """Store a sound object while the others rage; a full house lets nobody in, so ask again."""
    number = 1000 + report.sound_objects

    def stored() -> bool:
        with suppress(AssertionError):
            return bool(sent(port, incoming(small_object(number))).get("Status") == 0x0000)
        return False

    try:
        wait_for(stored, 60, "place for a sound object")
        report.sound_objects += 1
    except TimeoutError as error:
        report.faults.append(str(error))


def faults_in(log: Path) -> list[str]:
    """Return what a log tells of our own faults: each kind once, with its count.

    Refusals are warnings; an error, or what is no line of the log, is ours.
    """
    found: Counter[str] = Counter()
    with log.open(errors="replace") as lines:
        for line in lines:
            try:
                said = json.loads(line)
                level, text = said["level"], f"{said['event']} ({said.get('error', '')})"
            except (ValueError, TypeError, KeyError):
                level, text = "error", line.strip()[:200]
            if level in ("error", "critical"):
                found[text] += 1
    return [f"the log says {times} times: {text}" for text, times in found.items()]
