"""Measure a bundle; exit status 1 where it is short of a bar.

python -m training.evaluate real --bundle smartnet-ich --out out/real
"""

from __future__ import annotations

import argparse
import sys
from importlib.util import find_spec
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from ich_node.infer.predictor import load_predictor
from training.evaluate import bars, real
from training.evaluate.real_bars import real_bars, real_tables
from training.evaluate.rows import write_rows

SHARED = Path(__file__).parents[3] / "shared" / "data"
CRANIUM = Path("/usr/share/doc/invesalius-examples/examples/Cranium.inv3")


def main() -> int:
    """Evaluate a bundle; return the exit status."""
    parser = argparse.ArgumentParser(prog="training.evaluate", description=main.__doc__)
    commands = parser.add_subparsers(required=True)
    slices = commands.add_parser("real", help="real slices and scans")
    slices.add_argument("--bundle", default="smartnet-ich")
    slices.add_argument("--shared", type=Path, default=SHARED, help="folder of the real data")
    slices.add_argument("--cranium", type=Path, default=CRANIUM, help="InVesalius' Cranium.inv3")
    slices.add_argument("--out", type=Path, default=Path("out/real"))
    slices.set_defaults(run=_real)
    given = parser.parse_args()
    torch.set_num_threads(1)
    status: int = given.run(given)
    return status


def _real(given: argparse.Namespace) -> int:
    cranium = given.cranium if given.cranium.is_file() else None
    if cranium is None:
        print(f"{given.cranium} is not there: install Debian's invesalius-examples")
    predictor = load_predictor(given.bundle)
    rows = real.measure(predictor, given.shared, cranium, _subdural())
    given.out.mkdir(parents=True, exist_ok=True)
    for name in ("slices", "boxes", "scans"):
        write_rows(given.out / f"{name}.jsonl", getattr(rows, name))
    cut = real.slice_threshold(predictor)
    for title, lines in real_tables(rows, cut).items():
        _print_table(title, lines)
    found = real_bars(rows, cut)
    bars.show(found)
    return bars.status(found)


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
