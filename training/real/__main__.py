"""Look at a real data set, and bring it to the form that training reads.

    python -m training.real rsna DIR                 # counts and faults, by tables and headers
    python -m training.real physionet DIR --load     # every scan read as well
    python -m training.real export physionet DIR --out out/real

Exit status 1 where something is at fault: for a look, anything that is left out; for an export,
that nothing can be written.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from training.real import summary
from training.real.examples import export
from training.real.records import DataError
from training.real.sources import SOURCES
from training.real.splits import PARTS


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return the exit status."""
    given = _parser().parse_args(arguments)
    console, errors = Console(), Console(stderr=True)
    try:
        return _export(given, console) if given.command == "export" else _look(given, console)
    except DataError as error:
        errors.print(f"error: {error}", markup=False, style="red")
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training.real", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    commands = parser.add_subparsers(dest="command", required=True)
    for name, source in SOURCES.items():
        look = commands.add_parser(name, help=f"what a copy of {source.title} holds")
        look.add_argument("folder", type=Path)
        look.add_argument("--load", action="store_true", help="read every scan, not headers alone")
    writer = commands.add_parser("export", help="write examples for training, split by patient")
    writer.add_argument("dataset", choices=SOURCES)
    writer.add_argument("folder", type=Path)
    writer.add_argument("--out", type=Path, required=True)
    writer.add_argument("--seed", type=int, default=42, help="of the split")
    return parser


def _look(given: argparse.Namespace, console: Console) -> int:
    source = SOURCES[given.command]
    found = source.find(given.folder)
    known, faults = [summary.listed(case) for case in found.cases], list(found.faults)
    if given.load:
        known, more = summary.loaded(found.cases)
        faults += more
    summary.show(console, source.title, known)
    summary.show_faults(console, faults)
    return 1 if faults else 0


def _export(given: argparse.Namespace, console: Console) -> int:
    found = SOURCES[given.dataset].find(given.folder)
    counts, faults = export(found.cases, given.out, PARTS, given.seed)
    summary.show_faults(console, [*found.faults, *faults])
    written = ", ".join(f"{count} to {name}" for name, count in counts.items())
    console.print(f"{given.out}: {written}")
    return 0 if sum(counts.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
