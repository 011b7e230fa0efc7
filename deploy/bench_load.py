"""`make bench-load`: many senders at once, then many studies; exit status 1 below a bar.

First 64 associations at once send CT images of 512x512 to a running node: how long each C-STORE
waits for its response, what the receiver takes meanwhile, and what becomes of the 65th; then, to
another node, objects of 12 MB. Then four senders bring hundreds of small studies at once, which go
through the whole node (with a tiny, untrained model) to a stand-in PACS: whether memory, handles
and threads of its processes stay flat.

The senders are threads of this program on the same machine, and the times are those that they see.
`make bench-day` sends 1,000 studies, a day of a large hospital: it says more of memory than 200, of
which the second half is hardly more than a step of an allocator.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import sqlalchemy as sa
from rich.console import Console
from rich.table import Table

from deploy.demo.running import RunningNode, configuration, free_port, running_node, wait_for
from deploy.load import Storm, requests, send, storm
from deploy.processes import (
    Figures,
    figures,
    growth,
    peak_mb,
    processes,
    second_half,
    seconds,
)
from ich_node.deliver.standin import StandInPacs
from ich_node.selftest.series import build_series
from ich_node.settings import load_settings
from ich_node.states import SeriesState
from ich_node.store.engine import Engine, open_engine, reading
from ich_node.store.tables import instance, series
from tests.support.peers import small_object
from tests.support.series import head_hu, head_series
from tests.support.wire import reject
from training.tiny import write_tiny_bundle

ASSOCIATIONS = 64
SENDERS = ("SENDER", "SENDER-2", "SENDER-3", "SENDER-4")
MOST_P99_S, MOST_MB = 1.0, 500.0
# Of the processes of the node while studies go through; a day of 1,000 may cost 20 MB. An allocator
# takes 2 to 5 MB at once, which in the second half of 200 studies is no slope.
MOST_MB_PER_100, MOST_MORE_HANDLES, MOST_THREADS = 2.0, 32, 48
MOST_MB_AT_ONCE = 8.0
PROCESSES = ("receive", "work", "deliver")
_FULL_SIZE = (1, 512, 512)
_LARGE_BYTES = 12_000_000
_ONE_MORE = reject(2, 3, 2)  # transient, by the presentation service: local limit exceeded
_LOOK_S, _STALLED_S = 1.0, 180.0
_ENDED = (SeriesState.DELIVERED, SeriesState.CONFIRMED)

_console = Console()


@dataclass(frozen=True)
class Sample:
    """The processes by name when so many studies had been delivered."""

    done: int
    of: Mapping[str, Figures]


@dataclass
class Verdict:
    """What is held against a bar; one line each."""

    well: bool = True
    table: Table = field(default_factory=lambda: Table("", "found", "bar", ""))

    def hold(self, what: str, found: str, bar: str, *, well: bool) -> None:
        """Note a figure."""
        self.well &= well
        self.table.add_row(what, found, bar, "" if well else "NO")


def _image() -> bytes:
    hu = head_hu(_FULL_SIZE[0], _FULL_SIZE[1:], (5.0, 0.45, 0.45))
    [request] = requests(build_series(hu, spacing_mm=(5.0, 0.45, 0.45), seed=1))
    return request


def _large() -> bytes:
    [request] = requests([small_object(PixelData=os.urandom(_LARGE_BYTES), BitsAllocated=16)])
    return request


def main() -> int:
    """Run the bench; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=20, help="of each of the 64 associations")
    parser.add_argument("--large", type=int, default=4, help="objects of 12 MB of each of them")
    parser.add_argument("--studies", type=int, default=200)
    parser.add_argument("--slices", type=int, default=32, help="of each study")
    chosen = parser.parse_args()
    _console.print(
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before, {platform.machine()}, "
        f"Python {platform.python_version()}"
    )
    verdict = Verdict()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bundle = str(write_tiny_bundle(folder / "bundle"))
        if chosen.images:
            found = _storm(folder / "storm", bundle, chosen.images, _image(), verdict)
            _hold_storm(found, verdict)
        if chosen.large:
            _storm(folder / "large", bundle, chosen.large, _large(), verdict)
        if chosen.studies:
            _burst(folder / "burst", bundle, chosen.studies, chosen.slices, verdict)
    _console.print(verdict.table)
    return 0 if verdict.well else 1


def _storm(folder: Path, bundle: str, images: int, request: bytes, verdict: Verdict) -> Storm:
    """Send objects over all associations at once; hold what the receiver takes."""
    port = free_port()
    # Nothing is to become complete, and so be analysed, meanwhile.
    config = configuration(
        folder, port, [], bundle=bundle, quiet_seconds=3600, max_associations=ASSOCIATIONS
    )
    with _node(config, port) as node:
        receiver = processes(node.process.pid)["receive"]
        before, worked = figures(receiver), seconds(receiver)
        began = time.perf_counter()
        found = storm(port, ASSOCIATIONS, images, request)
        took, peak = time.perf_counter() - began, peak_mb(receiver)
        worked = seconds(receiver) - worked
        after = _settled(receiver, before)
        stored = _stored(folder)
    count, size = ASSOCIATIONS * images, f"{len(request) / 1e6:.1f} MB"
    title = f"{ASSOCIATIONS} associations x {images} objects of {size}"
    _console.print(f"{title}: {count / took:.0f} a second")
    verdict.hold(f"objects of {size} stored", f"{stored}", f"{count}", well=stored == count)
    success = found.statuses[0x0000]
    verdict.hold("answered 0000H", f"{success}", f"{count}", well=success == count)
    verdict.hold("receiver, CPU ms an object", f"{1000 * worked / count:.1f}", "", well=True)
    verdict.hold("receiver, peak MB", f"{peak:.0f}", f"< {MOST_MB:.0f}", well=peak < MOST_MB)
    kept = f"{before.resident_mb:.0f}, {after.resident_mb:.0f}"
    verdict.hold("receiver, MB before and after", kept, "", well=True)
    more = after.handles - before.handles  # the database keeps some connections
    flat = more <= MOST_MORE_HANDLES
    verdict.hold("receiver, handles after", f"{more:+d}", f"<= +{MOST_MORE_HANDLES}", well=flat)
    left = after.threads - before.threads
    verdict.hold("receiver, threads after", f"{left:+d}", "<= +0", well=left <= 0)
    return found


def _hold_storm(found: Storm, verdict: Verdict) -> None:
    p50, p99 = (float(np.percentile(found.waits_s, part)) for part in (50, 99))
    # From the first byte of the request to the response.
    verdict.hold("C-STORE, p50 s", f"{p50:.3f}", "", well=True)
    verdict.hold("C-STORE, p99 s", f"{p99:.3f}", f"< {MOST_P99_S:g}", well=p99 < MOST_P99_S)
    rejected = found.one_more == _ONE_MORE
    verdict.hold("65th", _put(found.one_more), _put(_ONE_MORE), well=rejected)
    when = "let in" if found.let_in else "refused"
    verdict.hold("65th, when one ended", when, "let in", well=found.let_in)


def _put(answer: bytes) -> str:
    """Put the answer to an association request into words."""
    return f"rejected {', '.join(map(str, answer[7:]))}" if answer[:1] == b"\x03" else "accepted"


def _settled(pid: int, before: Figures) -> Figures:
    """Look at a process when its threads have had the time to end."""

    def look() -> bool:
        now = figures(pid)
        return now.threads <= before.threads

    with suppress(TimeoutError):
        wait_for(look, 30, "end of the threads")
    return figures(pid)


def _stored(folder: Path) -> int:
    """Return how many objects have both their file and their row."""
    settings = load_settings(folder / "node.toml")
    engine = open_engine(settings.database_url)
    with reading(engine) as connection:
        rows = set(connection.execute(sa.select(instance.c.path)).scalars())
    engine.dispose()
    return len(rows & {str(path) for path in settings.spool_dir.glob("*/*/*.dcm")})


def _burst(folder: Path, bundle: str, studies: int, slices: int, verdict: Verdict) -> None:
    pacs, port = StandInPacs.start(folder / "pacs"), free_port()
    config = configuration(
        folder,
        port,
        [("pacs", "PACS", pacs.port)],
        bundle=bundle,
        quiet_seconds=10,
        senders=SENDERS,
    )
    parts = requests(head_series(1, slices))
    engine = open_engine(load_settings(config).database_url)
    began = time.perf_counter()
    try:
        with _node(config, port) as node:
            bringing = threading.Thread(target=_bring_all, args=(port, parts, studies))
            bringing.start()
            samples = _watch(node, engine, studies)
            bringing.join()
    finally:
        pacs.stop()
        engine.dispose()
    took = time.perf_counter() - began
    done, objects = samples[-1].done, len(pacs.received())
    _console.print(
        f"{studies} studies of {slices} slices from {len(SENDERS)} senders: {took:.0f} s"
    )
    verdict.hold("studies delivered", f"{done}", f"{studies}", well=done == studies)
    verdict.hold("objects in the PACS", f"{objects}", f"{2 * studies}", well=objects == 2 * studies)
    for name in PROCESSES:
        _hold_flat(name, samples, verdict)


def _bring_all(port: int, parts: Sequence[bytes], studies: int) -> None:
    """Send every study in an association of its own, all senders at once."""

    def bring(sender: int) -> Counter[int]:
        statuses: Counter[int] = Counter()
        for number in range(sender, studies, len(SENDERS)):
            statuses += send(port, SENDERS[sender], parts, number)
        return statuses

    with ThreadPoolExecutor(len(SENDERS)) as at_once:
        total = sum(at_once.map(bring, range(len(SENDERS))), Counter())
    answers = ", ".join(f"{count} x {status:04X}H" for status, count in sorted(total.items()))
    _console.print(f"answers to the senders: {answers}")


def _watch(node: RunningNode, engine: Engine, studies: int) -> list[Sample]:
    """Look at the processes until every study is delivered, or nothing happens any more."""
    pids = processes(node.process.pid)
    samples: list[Sample] = []
    last = time.monotonic()
    while True:
        done = _delivered(engine)
        if samples and done > samples[-1].done:
            last = time.monotonic()
        samples.append(Sample(done, {name: figures(pids[name]) for name in PROCESSES}))
        if done >= studies or time.monotonic() - last > _STALLED_S:
            return samples
        time.sleep(_LOOK_S)  # between two samples


def _delivered(engine: Engine) -> int:
    query = sa.select(sa.func.count()).select_from(series).where(series.c.state.in_(_ENDED))
    with reading(engine) as connection:
        return int(connection.execute(query).scalar_one())


def _hold_flat(name: str, samples: Sequence[Sample], verdict: Verdict) -> None:
    """Judge a process by the second half of the studies."""
    warm = samples[second_half([sample.done for sample in samples]) :]
    found = [sample.of[name] for sample in warm]
    slope = growth([sample.done for sample in warm], [each.resident_mb for each in found])
    handles = found[-1].handles - found[0].handles
    threads = max(each.threads for each in found)
    most = max(MOST_MB_PER_100, 100 * MOST_MB_AT_ONCE / max(1, warm[-1].done - warm[0].done))
    now = f"{slope:+.1f} (now {found[-1].resident_mb:.0f})"
    verdict.hold(f"{name}, MB per 100", now, f"< {most:.1f}", well=slope < most)
    flat = handles <= MOST_MORE_HANDLES
    verdict.hold(f"{name}, handles", f"{handles:+d}", f"<= +{MOST_MORE_HANDLES}", well=flat)
    few = threads <= MOST_THREADS
    verdict.hold(f"{name}, threads", f"{threads}", f"<= {MOST_THREADS}", well=few)


@contextmanager
def _node(config: Path, port: int) -> Iterator[RunningNode]:
    with running_node(config, port) as node:
        wait_for(lambda: "model loaded" in node.log.read_text(), 120, "loaded model")
        yield node


if __name__ == "__main__":
    sys.exit(main())
