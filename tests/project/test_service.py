"""The systemd unit leaves a node little beyond what it needs."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.demo.running import configuration
from tests.support import confined

UNIT = Path(__file__).parents[2] / "deploy" / "systemd" / "ich-node.service"
OPERATIONS = Path(__file__).parents[2] / "deploy" / "OPERATIONS.md"


@pytest.mark.systemd
def test_its_exposure_is_low() -> None:
    """As `systemd-analyze security` counts it: no more than OPERATIONS.md states."""
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--no-pager", str(UNIT)],
        capture_output=True,
        text=True,
    )
    found = re.search(r"Overall exposure level for ich-node.service: (\d+\.\d+)", done.stdout)
    assert found, done.stdout + done.stderr
    print(f"exposure of ich-node.service: {found[1]}")
    stated = re.search(r"ich-node\.service` says \*\*(\d\.\d)\*\*", OPERATIONS.read_text())
    assert stated
    assert float(found[1]) <= float(stated[1])


def test_a_configuration_that_cannot_be_used_is_not_started_again() -> None:
    text = UNIT.read_text()
    assert "RestartPreventExitStatus=2" in text
    assert "UMask=0077" in text


def test_memory_has_a_limit_that_ends_one_process_and_not_the_service() -> None:
    text = UNIT.read_text()
    assert re.search(r"^MemoryMax=\d+(%|G)$", text, re.MULTILINE)
    assert "OOMPolicy=continue" in text


def run_confined(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run Python with the system calls of the unit alone."""
    return subprocess.run(
        [sys.executable, "-m", "tests.support.confined", str(UNIT), sys.executable, *arguments],
        capture_output=True,
        text=True,
        timeout=280,
        cwd=UNIT.parents[2],
    )


@pytest.mark.systemd
@pytest.mark.skipif(bool(confined.needs()), reason=confined.needs() or "all is there")
def test_a_node_needs_no_other_system_calls_than_it_allows(tmp_path: Path) -> None:
    """All processes of a node, on the CPU; that others are refused is tried first."""
    nice = run_confined("-c", "import os; os.setpriority(os.PRIO_PROCESS, 0, 5)")
    assert "Operation not permitted" in nice.stderr
    config = configuration(tmp_path, 104, [], device="cpu")
    done = run_confined("-m", "ich_node", "selftest", "--config", str(config))
    assert done.returncode == 0, done.stdout + done.stderr
