"""Damaged PDUs into a receiver that runs in a process of its own, over real sockets.

It must live, store a sound object after each thousand connections, and stay small.
"""

from __future__ import annotations

import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from deploy.demo.running import configuration, free_port, wait_for
from tests.soak.damage import damaged
from tests.soak.told import Told
from tests.support.peers import (
    ABORT,
    associate,
    associate_request,
    encoded,
    incoming,
    read_pdu,
    sent,
    small_object,
    store_request,
)

_SENDERS = 4
_CHECK_EVERY = 1000
_RELEASE = b"\x05\x00\x00\x00\x00\x04\x00\x00\x00\x00"
_OBJECT = small_object(1)
_DATA = encoded(_OBJECT)


@dataclass
class Report:
    """How much went in, and how the receiver stood it; `faults` says where it did not."""

    seed: int
    pdus: int = 0
    connections: int = 0
    sound_objects: int = 0
    faults: list[str] = field(default_factory=list)
    rss_mb: float = 0.0
    threads: int = 0
    seconds: float = 0.0


def soak_pdus(count: int, seed: int, folder: Path) -> Report:
    """Send so many damaged PDUs to a receiver."""
    report, began, guard, told = Report(seed), time.monotonic(), threading.Lock(), Told()
    port = free_port()
    folder.mkdir(parents=True)
    config = configuration(folder, port, [])
    with _receiver(config, port, folder / "receiver.log") as process:

        def send(rng: random.Random) -> None:
            while report.pdus < count and process.poll() is None:
                pdus = _converse(rng, port)
                with guard:
                    report.pdus += pdus
                    report.connections += 1

        senders = [
            threading.Thread(target=send, args=(random.Random(f"{seed}.{number}"),))
            for number in range(_SENDERS)
        ]
        for sender in senders:
            sender.start()
        for sender in senders:
            while sender.is_alive():
                sender.join(0.2)
                _watch(report, process, port)
                told.say(f"{report.pdus} PDUs, {report.rss_mb:.0f} MB, {len(report.faults)} faults")
        _store_one(report, port)
    report.seconds = time.monotonic() - began
    return report


@contextmanager
def _receiver(config: Path, port: int, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "ich_node", "receive", "--config", str(config)]
    with log.open("wb") as said, subprocess.Popen(command, stderr=said, stdout=said) as process:
        try:
            wait_for(lambda: _answers(port), 60, "answer of the receiver")
            yield process
        finally:
            process.terminate()
            process.wait(60)


def _answers(port: int) -> bool:
    association = associate(port)
    if association.is_established:
        association.send_c_echo()
        association.release()
        return True
    return False


def _converse(rng: random.Random, port: int) -> int:
    """Hold one connection with some damage in it; return how many PDUs were damaged."""
    count = 0
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 5) as connection:
        connection.settimeout(5)
        request = associate_request(contexts=[(_OBJECT.SOPClassUID, ("1.2.840.10008.1.2.1",))])
        if rng.random() < 0.3:
            connection.sendall(damaged(rng, request))
            return 1
        connection.sendall(request)
        read_pdu(connection)
        for _ in range(rng.randint(1, 12)):
            pdu = rng.choice(_sound(rng))
            connection.sendall(damaged(rng, pdu, 0, rng.choice((6, 12, 80, None))))
            count += 1
        if rng.random() < 0.5:
            connection.sendall(rng.choice((_RELEASE, ABORT)))
    return count


def _sound(rng: random.Random) -> list[bytes]:
    pieces = store_request(_OBJECT, _DATA, rng.choice((64, 1 << 20)))
    return [pieces, _RELEASE, ABORT, associate_request(), pieces[: rng.randrange(1, len(pieces))]]


def _watch(report: Report, process: subprocess.Popen[bytes], port: int) -> None:
    if process.poll() is not None:
        report.faults.append(f"the receiver ended with status {process.returncode}")
        return
    status = dict(
        line.split(":\t", 1)
        for line in Path(f"/proc/{process.pid}/status").read_text().splitlines()
        if ":\t" in line
    )
    report.rss_mb = max(report.rss_mb, int(status["VmRSS"].split()[0]) / 1024)
    report.threads = max(report.threads, int(status["Threads"]))
    if report.connections >= report.sound_objects * _CHECK_EVERY:
        _store_one(report, port)


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
