"""`make bench`: seconds from the last image to the stored SR, stage by stage, on this machine.

A running node gets simulated 32-slice studies one after another and delivers to a stand-in PACS.
The quiet time that decides completeness is part of the wait, and is shown apart.
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
from training.plain import simulate_head

STUDIES = 5
QUIET_S = 2.0
_SEED = 900_400
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
        port = free_port()
        config = configuration(folder, port, [("pacs", "PACS", pacs.port)], quiet_seconds=QUIET_S)
        try:
            with running_node(config, port) as node:
                timings = [_one(node, folder, port, number) for number in range(STUDIES)]
        finally:
            pacs.stop()
    _tell(timings)
    return 0


def _one(node: RunningNode, folder: Path, port: int, number: int) -> dict[str, float]:
    """Send one study and wait until it is delivered; return its seconds per stage."""
    head = simulate_head(_SEED + number, ("intraparenchymal",))
    paths = write_series(
        head.hu, folder / f"ct{number}", spacing_mm=head.spacing_mm, seed=_SEED + number
    )
    study = str(pydicom.dcmread(paths[0], stop_before_pixels=True).StudyInstanceUID)
    send(paths, port)

    def look() -> dict[str, Any] | None:
        story = node.show(study)
        ended = story is not None and story["series"][0]["state"] in (
            "delivered",
            "refused",
            "failed",
        )
        return story if ended else None

    story = wait_for(look, _DEADLINE_S, "delivered study")
    series = story["series"][0]
    if series["state"] != "delivered":
        raise RuntimeError(
            f"the series is {series['state']}: {series['revisions'][-1]['reason_text']}"
        )
    return dict(series["revisions"][-1]["timings_s"])


def _tell(timings: list[dict[str, float]]) -> None:
    _console.print(
        f"{STUDIES} studies of 32 slices 512x512, quiet time {QUIET_S:g} s, "
        f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    )
    table = Table("stage", "first, s", "median of the others, s")
    for stage in _STAGES:
        others = statistics.median(timing[stage] for timing in timings[1:])
        table.add_row(stage, f"{timings[0][stage]:.2f}", f"{others:.2f}")
    _console.print(table)


if __name__ == "__main__":
    sys.exit(main())
