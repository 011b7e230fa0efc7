"""Measure a bundle; exit status 1 where it is short of a bar.

    python -m training.evaluate simulated --bundle smartnet-ich --heads 200 --out out/report
    python -m training.evaluate real --bundle smartnet-ich --out out/real
    python -m training.evaluate heads --folder out/site/test --out out/site/report
    python -m training.evaluate report --out out/report
    python -m training.evaluate compare out/one out/other
    python -m training.evaluate card --bundle out/bundle out/report out/real

`heads` measures a site's own scans, as `python -m training.real export` writes them, and holds them
against no bar; `report` makes the page anew from the rows; `compare` puts folders of `simulated` or
`heads` side by side; `card` writes their figures to the end of the bundle's card.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from ich_node.errors import IchNodeError
from training.evaluate import bars
from training.evaluate.card import write_card
from training.evaluate.report import make_report, read_heads
from training.evaluate.run import run_folder, run_real, run_simulated
from training.evaluate.simulated_bars import side_by_side

SHARED = Path(__file__).parents[3] / "shared" / "data"
CRANIUM = Path("/usr/share/doc/invesalius-examples/examples/Cranium.inv3")


def main(arguments: Sequence[str] | None = None) -> int:
    """Evaluate a bundle; return 1 where it is short of a bar, 2 where it cannot be measured."""
    given = _parser().parse_args(arguments)
    torch.set_num_threads(1)
    try:
        return _run(given)
    except (OSError, ValueError, IchNodeError) as error:
        print(f"training.evaluate {given.command}: {error}", file=sys.stderr)
        return 2


def _run(given: argparse.Namespace) -> int:
    if given.command == "compare":
        lines = side_by_side({str(folder): read_heads(folder) for folder in given.folders})
        _print_table("Runs", lines)
        return 0
    if given.command == "card":
        print(f"wrote {write_card(given.bundle, given.folders)}")
        return 0
    if given.command == "simulated":
        run_simulated(given.bundle, given.heads, given.processes, given.templates, given.out)
    if given.command == "real":
        run_real(given.bundle, given.shared, _cranium(given.cranium), _subdural(), given.out)
    if given.command == "heads":
        run_folder(given.bundle, given.folder, given.out)
    page = make_report(given.out)
    for title, lines in page.tables.items():
        _print_table(title, lines)
    print(f"wrote {given.out / 'report.md'}")
    if not page.bars:  # of a site's own heads nothing is asked
        return 0
    bars.show(page.bars)
    return bars.status(page.bars)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="training.evaluate",
        description="Measure a bundle; exit status 1 where it is short of a bar.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    heads = commands.add_parser("simulated", help="simulated heads of the test seeds")
    heads.add_argument("--heads", type=int, default=200)
    heads.add_argument("--processes", type=int, default=1)
    heads.add_argument("--templates", type=Path, help="folder with scct.nii.gz: the skull base")
    heads.add_argument("--out", type=Path, default=Path("out/report"))
    slices = commands.add_parser("real", help="real slices and scans")
    slices.add_argument("--shared", type=Path, default=SHARED, help="folder of the real data")
    slices.add_argument("--cranium", type=Path, default=CRANIUM, help="InVesalius' Cranium.inv3")
    slices.add_argument("--out", type=Path, default=Path("out/real"))
    own = commands.add_parser(
        "heads", help="heads of a folder, as training.real export writes them"
    )
    own.add_argument("--folder", type=Path, required=True)
    own.add_argument("--out", type=Path, default=Path("out/heads-report"))
    card = commands.add_parser("card", help="the figures of folders into the bundle's card")
    card.add_argument("folders", type=Path, nargs="+")
    for command in (heads, slices, own, card):
        command.add_argument("--bundle", default="smartnet-ich", help="name or folder")
    report = commands.add_parser("report", help="the page anew, from the rows of a folder")
    report.add_argument("--out", type=Path, default=Path("out/report"))
    compare = commands.add_parser("compare", help="several folders of `simulated` side by side")
    compare.add_argument("folders", type=Path, nargs="+")
    return parser


def _cranium(path: Path) -> Path | None:
    if path.is_file():
        return path
    print(f"{path} is not there: install Debian's invesalius-examples, or give --cranium")
    return None


def _subdural() -> Path | None:
    """Return pydicom's slice where its data package is installed; nothing is fetched."""
    package = find_spec("data_store")
    if package is None or package.origin is None:
        print("693_UNCR.dcm is not there: pip install pydicom-data")
        return None
    return Path(package.origin).parent / "data" / "693_UNCR.dcm"


def _print_table(title: str, lines: list[list[str]]) -> None:
    table = Table(*lines[0], title=title)
    for line in lines[1:]:
        table.add_row(*line)
    Console(width=160).print(table)


if __name__ == "__main__":
    sys.exit(main())
