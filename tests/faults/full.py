"""A disk that is full, again and again, at any write: nothing is lost, nothing ends as failed.

Studies go through a node; at the n-th change of its data folder or log the disk is full, for some
seconds, for whatever is written: objects, database, jobs, results, log. Sometimes the node is
killed and started on the full disk. `python -m tests.faults.full --runs 50 --seed 1` prints the
counts, `--read-only` lets the disk be read-only instead; exit status 0 only if all that must be
none is none.
"""

from __future__ import annotations

import argparse
import errno
import os
import random
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from deploy.demo.running import configuration, free_port, wait_for
from ich_node.settings import load_settings
from ich_node.store.engine import open_engine
from tests.faults import campaign
from tests.faults.actors import FlappingPacs, Sent, Serving, send_until_acknowledged
from tests.faults.campaign import Report
from tests.faults.disk import Disk, lay_over, needs
from tests.support.series import head_series, write
from training.tiny import write_tiny_bundle

_QUIET_S = 2.0
_FULL_S = (1.0, 8.0)
_RESTARTS = 0.15  # so many times is the node killed and started on the full disk
# So many changes one small study is about: it comes in, is read, is sent.
_CHANGES = 700
_PATIENCE_S = 20.0
_AT_REST_S = 60.0  # within which a node changes something, whatever it has to do
_LAST_S = 600.0


@dataclass(frozen=True)
class Fault:
    """What happens to the disk, and for how long a node pauses before it tries again, s."""

    error: int = errno.ENOSPC
    period_s: float | None = None


def campaign_of(
    folder: Path, runs: int, slices: int, seed: int, fault: Fault
) -> tuple[Report, Disk]:
    """Run one: a study and a time of failures for each run."""
    began, chance = time.monotonic(), random.Random(seed)
    report, sent = Report(seed, studies=runs), Sent()
    made = [
        write(head_series(seed * 1000 + number, slices), folder / "ct" / str(number))
        for number in range(runs)
    ]
    pacs, port = FlappingPacs(free_port()), free_port()
    site = folder / "site"
    config = configuration(
        site,
        port,
        [("pacs", "PACS", pacs.port)],
        bundle=str(write_tiny_bundle(folder / "bundle")),
        quiet_seconds=_QUIET_S,
    )
    disk = lay_over(site, folder / "layer")
    serving = Serving(config, {**disk.environment, **_hastened(folder, fault)})
    over = threading.Event()
    keeper = threading.Thread(target=keep_up, args=(serving, over))
    pacs.up()
    serving.start()
    keeper.start()
    senders = []
    try:
        for paths in made:
            sender = threading.Thread(
                target=send_until_acknowledged, args=(port, paths, sent), daemon=True
            )
            sender.start()
            senders.append(sender)
            report.without_fault += not _fill(disk, serving, chance, fault)
        for sender in senders:
            sender.join(_LAST_S)
        engine = open_engine(load_settings(config).database_url)
        with suppress(TimeoutError):
            wait_for(lambda: campaign._all_ended(engine, runs), _LAST_S, "ended studies")
        campaign._count(report, engine, made, sent, pacs)
        engine.dispose()
    finally:
        over.set()
        keeper.join()
        disk.mend()
        serving.stop()
        pacs.down()
    campaign.look_for_patients(report, folder)
    report.seconds = round(time.monotonic() - began, 1)
    return report, disk


def _fill(disk: Disk, serving: Serving, chance: random.Random, fault: Fault) -> bool:
    """Let the disk be full at some change to come, and wait until it has room again.

    Returns
    -------
    bool
        Whether a change has failed.
    """
    before = disk.failed
    seen = chance.random() < 0.5
    seconds = chance.uniform(*_FULL_S)
    disk.fail(chance.randint(1, _CHANGES), seconds, fault.error, seen=seen)
    restarts = chance.random() < _RESTARTS
    with suppress(TimeoutError):  # a node at rest changes little
        wait_for(lambda: not disk.waits, _PATIENCE_S, "change at which the disk is full")
    if disk.waits:
        disk.fail(1, seconds, fault.error, seen=seen)
    if restarts:
        serving.kill_group()  # the keeper starts it again
    with suppress(TimeoutError):
        wait_for(lambda: disk.failed > before, _AT_REST_S, "change that fails")
    wait_for(lambda: not disk.is_failing, _FULL_S[1] + 5, "room on the disk")
    return disk.failed > before


def _hastened(folder: Path, fault: Fault) -> dict[str, str]:
    """Return an environment in which regular duties come more often."""
    if fault.period_s is None:
        return {}
    from tests.faults.striking import environment_of

    return environment_of(folder, [], period_s=fault.period_s)


def keep_up(serving: Serving, over: threading.Event) -> None:
    """Start the node again whenever it ended, as an init system does."""
    while not over.wait(0.5):
        if serving.process is not None and serving.process.poll() is not None:
            serving.start()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--slices", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--read-only", action="store_true")
    parser.add_argument("--keep", type=Path, help="Work here and leave everything for a look.")
    chosen = parser.parse_args(arguments)
    if needs():
        sys.exit(needs())
    fault = Fault(errno.EROFS if chosen.read_only else errno.ENOSPC)
    with tempfile.TemporaryDirectory() as name:
        folder = chosen.keep or Path(name)
        report, disk = campaign_of(folder, chosen.runs, chosen.slices, chosen.seed, fault)
        print(f"runs             {chosen.runs}: {os.strerror(fault.error)}")
        print(f"writes           {disk.changes}, {disk.failed} of them failed")
        print(f"runs struck      {chosen.runs - report.without_fault} of {chosen.runs}")
    report.show()
    return 0 if report.clean else 1


if __name__ == "__main__":
    sys.exit(main())
