"""`make bench-ingest`: images per second into the node, beside DCMTK's storescp and Orthanc.

DCMTK's storescu sends the same simulated CT images to each contestant in turn: 300 over one
association, then 40 over each of eight at once. The order changes from round to round, and the
figures are medians, for other work on the machine comes and goes. The node runs as a site runs it
(`serve`, every process, image and row synced to disk before each answer); storescp syncs nothing.
"""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.uid import generate_uid
from rich.console import Console
from rich.table import Table

from deploy.demo.running import configuration, free_port, running_node
from ich_node.selftest.series import write_series
from tests.support.orthanc import AE_TITLE, PROGRAM, running_orthanc
from training.simulate import simulate_head

ROUNDS = 5
LOADS = {"one association of 300": (1, 300), "eight associations of 40": (8, 40)}
STORESCU, STORESCP = Path("/usr/bin/storescu"), Path("/usr/bin/storescp")
_NODE, _STORESCP, _ORTHANC = "ich-node", "storescp", "Orthanc"
_SEED = 900_500
_SIZES = range(500_000, 600_000)  # of a file with one of these images, bytes
_DEADLINE_S = 300.0
# Without it DCMTK's programs wait 40 ms for every image.
_ENVIRONMENT = {**os.environ, "TCP_NODELAY": "1"}

_console = Console()


@dataclass(frozen=True)
class Contestant:
    """A storage SCP on the loopback address."""

    name: str
    ae_title: str
    port: int


def main() -> int:
    """Run the bench; return the exit status."""
    missing = [str(path) for path in (STORESCU, STORESCP) if not path.exists()]
    if missing:
        _console.print(f"{' and '.join(missing)} not found; install DCMTK (Debian: dcmtk)")
        return 1
    with tempfile.TemporaryDirectory() as name, ExitStack() as running:
        folder = Path(name)
        contestants = _start(folder, running)
        templates = _templates(folder / "templates")
        rates: dict[tuple[str, str], list[float]] = {}
        for number in range(ROUNDS):
            for load, (associations, images) in LOADS.items():
                series = [_copies(templates, folder / "sent", images) for _ in range(associations)]
                turn = number % len(contestants)
                for contestant in contestants[turn:] + contestants[:turn]:
                    rate = _rate(contestant, series)
                    rates.setdefault((contestant.name, load), []).append(rate)
                _empty(folder)
        _tell(contestants, rates)
    return 0


def _start(folder: Path, running: ExitStack) -> list[Contestant]:
    port = free_port()
    # Nothing is to become complete, and so be analysed, while the bench runs.
    config = configuration(folder / "node", port, [], quiet_seconds=3600)
    running.enter_context(running_node(config, port))
    contestants = [Contestant(_NODE, "ICH_NODE", port)]
    contestants.append(running.enter_context(_storescp(folder / _STORESCP)))
    if Path(PROGRAM).exists():
        orthanc = running.enter_context(running_orthanc(folder / "orthanc"))
        contestants.append(Contestant(_ORTHANC, AE_TITLE, orthanc.dicom_port))
    return contestants


@contextmanager
def _storescp(folder: Path) -> Iterator[Contestant]:
    folder.mkdir()
    port = free_port()
    process = subprocess.Popen(
        [str(STORESCP), "--fork", "-od", str(folder), str(port)],
        env=_ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield Contestant(_STORESCP, "STORESCP", port)
    finally:
        process.terminate()
        process.wait()


def _templates(folder: Path) -> list[pydicom.FileDataset]:
    head = simulate_head(_SEED, ())
    paths = write_series(head.hu, folder, spacing_mm=head.spacing_mm, seed=_SEED)
    return [pydicom.dcmread(path) for path in paths]


def _copies(templates: Sequence[pydicom.FileDataset], root: Path, images: int) -> list[Path]:
    """Write a series of a new study: no contestant has seen its UIDs."""
    study, series = generate_uid(), generate_uid()
    folder = root / series
    folder.mkdir(parents=True)
    paths = []
    for number in range(images):
        dataset = templates[number % len(templates)]
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, series
        dataset.SOPInstanceUID, dataset.InstanceNumber = generate_uid(), number + 1
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        paths.append(folder / f"{number:04d}.dcm")
        dataset.save_as(paths[-1])
    return paths


def _empty(folder: Path) -> None:
    """Give back the space of all images, but remove no file.

    For minutes after, ext4 would look long for the number of each new one.
    """
    for path in folder.rglob("*"):
        if path.is_file() and path.stat().st_size in _SIZES:
            os.truncate(path, 0)


def _rate(contestant: Contestant, series: Sequence[Sequence[Path]]) -> float:
    """Send all series at once, an association each; return images per second."""
    os.sync()
    began = time.perf_counter()
    senders = [_sender(contestant, paths) for paths in series]
    for sender in senders:
        output, _nothing = sender.communicate(timeout=_DEADLINE_S)
        if sender.returncode != 0:
            raise RuntimeError(f"storescu to {contestant.name} ended so:\n{output[-2000:]}")
    return sum(map(len, series)) / (time.perf_counter() - began)


def _sender(contestant: Contestant, paths: Sequence[Path]) -> subprocess.Popen[str]:
    peer = ["-aet", "SENDER", "-aec", contestant.ae_title, "127.0.0.1", str(contestant.port)]
    return subprocess.Popen(
        [str(STORESCU), *peer, *map(str, paths)],
        env=_ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _tell(
    contestants: Sequence[Contestant],
    rates: dict[tuple[str, str], list[float]],
) -> None:
    _console.print(
        f"CT images of 512x512, median of {ROUNDS} rounds (lowest to highest), "
        f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    )
    table = Table("images/s", *LOADS)
    for contestant in contestants:
        found = [rates[contestant.name, load] for load in LOADS]
        table.add_row(
            contestant.name,
            *(f"{statistics.median(f):.0f} ({min(f):.0f} to {max(f):.0f})" for f in found),
        )
    for other in contestants[1:]:
        ratios = [_ratio(rates[_NODE, load], rates[other.name, load]) for load in LOADS]
        table.add_row(f"{_NODE} / {other.name}", *(f"{ratio:.2f}" for ratio in ratios))
    _console.print(table)


def _ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Return the median of the rounds' ratios: what slowed a round slowed both."""
    return statistics.median(one / other for one, other in zip(ours, theirs, strict=True))


if __name__ == "__main__":
    sys.exit(main())
