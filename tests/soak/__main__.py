"""`python -m tests.soak --pdus 1000000 --files 100000 --seed 1`: exit status 0 if all is well."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from tests.soak.files import soak_files
from tests.soak.pdus import soak_pdus

_RSS_MB = 1000


def main() -> None:
    """Send damaged PDUs, read damaged files, and print the counts."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--pdus", type=int, default=1_000_000)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="for what is written; best in memory")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        wire = soak_pdus(given.pdus, given.seed, Path(folder) / "wire")
        print(f"PDUs:  {vars(wire)}", flush=True)
        read = soak_files(given.files, given.seed, Path(folder), os.cpu_count() or 1)
        print(f"files: {vars(read)}")
    well = not (wire.faults or read.unclear) and max(wire.rss_mb, read.rss_mb) < _RSS_MB
    sys.exit(0 if well else 1)


if __name__ == "__main__":
    main()
