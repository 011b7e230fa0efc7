"""`make bench`: seconds from the last image to the stored SR, stage by stage, on this machine.

A running node gets simulated 32-slice studies one after another and delivers to a stand-in PACS.
Its quiet time is five minutes: evidence decides when a study is complete. The time that this takes
is part of the wait and shown apart: by geometry alone, and by C-FIND where Orthanc is installed.
"""

from __future__ import annotations

import os
import platform
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import pydicom
from rich.console import Console
from rich.table import Table

from deploy.demo.running import RunningNode, configuration, free_port, running_node, wait_for
from deploy.demo.sender import send
from ich_node.deliver.standin import StandInPacs
from ich_node.selftest.series import write_series
from tests.support.orthanc import AE_TITLE, PROGRAM, running_orthanc
from training.simulate import simulate_head

STUDIES = 5
QUIET_S = 300.0
_SEED = 900_400
_SEEDS = (900_402, 900_408, 900_410)  # heads with air above the vertex, as geometry wants it
_DEADLINE_S = 300.0
_STAGES = (
    "receive",
    "complete",
    "queue",
    "assemble",
    "infer",
    "report",
    "deliver",
    "last_image_to_delivered",
)

_console = Console()


def main() -> int:
    """Run the bench; return the exit status."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pacs = StandInPacs.start(folder / "pacs")
        try:
            _tell("geometry", _run(folder / "geometry", ("pacs", "PACS", pacs.port)))
        finally:
            pacs.stop()
        if Path(PROGRAM).exists():
            with running_orthanc(folder / "orthanc") as orthanc:
                there = ("orthanc", AE_TITLE, orthanc.dicom_port)
                _tell("C-FIND", _run(folder / "c-find", there, archive=orthanc.dicom_port))
        else:
            _console.print("Orthanc not found (Debian: orthanc): not measured with C-FIND")
    return 0


def _run(
    folder: Path, destination: tuple[str, str, int], archive: int | None = None
) -> list[dict[str, float]]:
    """Send every study to a node; return the seconds per stage of each.

    Parameters
    ----------
    archive
        Port of an Orthanc that has each study before, and is asked; None asks nobody.
    """
    port = free_port()
    query = destination[0] if archive else ""
    config = configuration(folder, port, [destination], quiet_seconds=QUIET_S, query=query)
    with running_node(config, port) as node:
        return [_one(node, folder, port, number, archive) for number in range(STUDIES)]


def _one(
    node: RunningNode, folder: Path, port: int, number: int, archive: int | None
) -> dict[str, float]:
    """Send one study and wait until it is delivered; return its seconds per stage."""
    seed = _SEEDS[number % len(_SEEDS)]
    head = simulate_head(seed, ("intraparenchymal",))
    paths = write_series(
        head.hu, folder / f"ct{number}", spacing_mm=head.spacing_mm, seed=_SEED + number
    )
    study = str(pydicom.dcmread(paths[0], stop_before_pixels=True).StudyInstanceUID)
    if archive is not None:
        send(paths, archive, called=AE_TITLE)
    send(paths, port)

    def look() -> dict[str, Any] | None:
        story = node.show(study)
        ended = story is not None and story["series"][0]["state"] in (
            "delivered",
            "confirmed",
            "refused",
            "failed",
        )
        return story if ended else None

    story = wait_for(look, _DEADLINE_S, "delivered study")
    series = story["series"][0]
    if series["state"] not in ("delivered", "confirmed"):
        raise RuntimeError(
            f"the series is {series['state']}: {series['revisions'][-1]['reason_text']}"
        )
    return dict(series["revisions"][-1]["timings_s"])


def _tell(evidence: str, timings: list[dict[str, float]]) -> None:
    _console.print(
        f"{STUDIES} studies of 32 slices 512x512, complete by {evidence}, "
        f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    )
    table = Table("stage", "first, s", "median of the others, s")
    for stage in _STAGES:
        others = statistics.median(timing[stage] for timing in timings[1:])
        table.add_row(stage, f"{timings[0][stage]:.2f}", f"{others:.2f}")
    _console.print(table)


if __name__ == "__main__":
    sys.exit(main())
