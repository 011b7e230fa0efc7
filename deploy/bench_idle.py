"""`make bench-idle`: what a node that waits costs, in processor time and memory.

A node with the shipped bundle and one destination is left alone; the share of one core that its
processes use together must be under 2 %, the receiver's memory under 150 MB.
"""

from __future__ import annotations

import os
import platform
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from deploy.demo.running import configuration, free_port, running_node, wait_for
from deploy.processes import processes, resident_mb, seconds

SETTLE_S, MEASURE_S = 45.0, 60.0
MOST_PERCENT, MOST_MB = 2.0, 150.0

_console = Console()


def main() -> int:
    """Run the bench; return the exit status."""
    with tempfile.TemporaryDirectory() as name:
        port = free_port()
        config = configuration(Path(name), port, [("pacs", "PACS", free_port())])
        with running_node(config, port) as node:
            log = node.log
            wait_for(lambda: "model loaded" in log.read_text(), 120, "loaded model")
            time.sleep(SETTLE_S)  # it looks alive for half a minute after its start
            pids = processes(node.process.pid)
            before = {pid: seconds(pid) for pid in pids.values()}
            time.sleep(MEASURE_S)  # the measurement
            used = {key: seconds(pid) - before[pid] for key, pid in pids.items()}
            memory = {key: resident_mb(pid) for key, pid in pids.items()}
    return _tell(used, memory)


def _tell(used: dict[str, float], memory: dict[str, float]) -> int:
    total = 100 * sum(used.values()) / MEASURE_S
    _console.print(f"{os.cpu_count()} cores, {platform.machine()}, Python {sys.version.split()[0]}")
    table = Table("process", "% of one core", "resident, MB")
    for name, spent in used.items():
        table.add_row(name, f"{100 * spent / MEASURE_S:.2f}", f"{memory[name]:.0f}")
    table.add_row("together", f"{total:.2f}", "")
    _console.print(table)
    well = total < MOST_PERCENT and memory["receive"] < MOST_MB
    _console.print(f"under {MOST_PERCENT:g} % and {MOST_MB:g} MB: {'yes' if well else 'NO'}")
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
