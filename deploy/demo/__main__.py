"""`make demo`: a simulated head CT goes to a running node, and SEG and SR come back to a PACS.

Exit status 0 only if both objects arrived, equal those the node kept, are valid, and the
segmentation lies where the simulated bleed is.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pydicom
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from deploy.demo.running import RunningNode, configuration, free_port, running_node, wait_for
from deploy.demo.sender import send
from ich_node.deliver.standin import StandInPacs
from ich_node.selftest.judge import data_set_sha256, overlap, truth_of
from ich_node.selftest.series import write_series
from training.simulate import SimulatedHead, simulate_head

DEFAULT_OUT = Path("out/demo")
# Held out: the model was trained on other seeds.
SEED = 900_011
BLEEDS = ("intraparenchymal", "subdural")
_DEADLINE_S = 300.0
_SMALLEST_DICE = 0.5

_console = Console()

Tell = Callable[[str], None]


def main() -> int:
    """Run the demonstration in the folder named by the first argument; return the exit status."""
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT_OUT
    if out.exists() and not (out / "node.toml").is_file():
        raise SystemExit(f"{out} is there and holds no earlier demonstration; name another folder")
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    with Progress(
        SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), console=_console
    ) as progress:
        task = progress.add_task("")
        head, sent, received, story = _run(out, _teller(progress, task))
    faults = _faults(received, sent, head, story)
    _show(received, story, out)
    for fault in faults:
        _console.print(f"[red]FAULT[/] {fault}")
    return 1 if faults else 0


def _teller(progress: Progress, task: TaskID) -> Tell:
    """Show what is going on: a spinner on a terminal, else a line for each step."""
    said = [""]

    def tell(text: str) -> None:
        progress.update(task, description=text)
        if text != said[-1] and not _console.is_terminal:
            _console.print(text)
        said.append(text)

    return tell


def _run(out: Path, tell: Tell) -> tuple[SimulatedHead, list[Path], list[Path], dict[str, Any]]:
    """Send a simulated head through a running node; return it, what was sent, what came back."""
    tell("simulate a head CT with two bleeds")
    head = simulate_head(SEED, BLEEDS)
    sent = write_series(head.hu, out / "ct", spacing_mm=head.spacing_mm, seed=SEED)
    study = str(pydicom.dcmread(sent[0], stop_before_pixels=True).StudyInstanceUID)
    tell("start the PACS and ich-node serve")
    pacs = StandInPacs.start(out / "pacs")
    port = free_port()
    config = configuration(out, port, [("pacs", "PACS", pacs.port)])
    try:
        with running_node(config, port) as node:
            tell(f"send {len(sent)} images by C-STORE")
            send(sent, port)
            story = _follow(node, study, tell)
            tell("stop the node, check what the PACS received")
    finally:
        pacs.stop()
    return head, sent, pacs.received(), story


def _follow(node: RunningNode, study: str, tell: Tell) -> dict[str, Any]:
    """Wait until the study is delivered, telling each state on the way."""

    def look() -> dict[str, Any] | None:
        story = node.show(study)
        if story is None:
            return None
        series = story["series"][0]
        tell(f"the node says: {series['state']}")
        if series["state"] in ("failed", "refused"):
            raise RuntimeError(f"the series is {series['state']}: {series['reason']}")
        failed = [item for item in _deliveries(series) if item["state"] == "failed"]
        if failed:
            raise RuntimeError(f"the delivery failed: {failed[0]['text']}")
        return story if series["state"] == "delivered" else None

    return wait_for(look, _DEADLINE_S, f"delivered study; see {node.log}")


def _deliveries(series: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [item for revision in series["revisions"] for item in revision["deliveries"]]


def _faults(
    received: Sequence[Path], sent: Sequence[Path], head: SimulatedHead, story: Mapping[str, Any]
) -> list[str]:
    """Check what arrived; return what is wrong with it."""
    faults = []
    arrived = {
        str(pydicom.dcmread(path, stop_before_pixels=True).Modality): path for path in received
    }
    if sorted(arrived) != ["SEG", "SR"]:
        return [f"the PACS received {sorted(arrived) or 'nothing'}; expected SEG and SR"]
    kept = {result["kind"]: result for result in story["series"][0]["revisions"][-1]["results"]}
    for modality, path in arrived.items():
        if data_set_sha256(path) != data_set_sha256(Path(kept[modality.lower()]["path"])):
            faults.append(f"the {modality} that arrived is not the one the node kept")
        faults += [f"{modality}: {line}" for line in _dciodvfy(path)]
    truth = truth_of(head.labels > 0, sent[0], head.spacing_mm)
    dice = overlap(pydicom.dcmread(arrived["SEG"]), truth).dice
    _console.print(
        f"overlap of the received segmentation with the simulated bleeds: Dice {dice:.2f}"
    )
    if dice < _SMALLEST_DICE:
        faults.append(f"Dice {dice:.2f} is below {_SMALLEST_DICE}")
    return faults


def _dciodvfy(path: Path) -> list[str]:
    tool = Path(sys.executable).parent / "dciodvfy"
    done = subprocess.run(
        [tool, "-new", path], capture_output=True, text=True, check=False, timeout=60
    )
    said = (done.stdout + done.stderr).splitlines()
    return [line for line in said if line.startswith("Error")]


def _show(received: Sequence[Path], story: Mapping[str, Any], out: Path) -> None:
    """Print the objects, the findings and the times; keep the picture."""
    revision = story["series"][0]["revisions"][-1]
    for path in received:
        _console.print(f"received: {path} ({path.stat().st_size / 1024:.0f} KiB)", soft_wrap=True)
    table = Table("class", "probability", "present", "mL")
    for name, found in revision["findings"].items():
        present = "[bold red]yes[/]" if found["present"] else "no"
        table.add_row(name, f"{found['probability']:.3f}", present, f"{found['volume_ml']:.1f}")
    _console.print(table)
    stages = Table("stage", "seconds")
    for stage, seconds in revision["timings_s"].items():
        stages.add_row(stage, f"{seconds:.2f}")
    _console.print(stages)
    kept = Path(revision["results"][0]["path"]).parent / "summary.png"
    shutil.copyfile(kept, out / "summary.png")
    _console.print(f"picture: {out / 'summary.png'}")


if __name__ == "__main__":
    sys.exit(main())
