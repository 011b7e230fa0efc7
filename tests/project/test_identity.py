"""The watch over the logs of the suite sees what it must."""

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests import identity

ROOT = Path(__file__).parents[2]


def test_a_log_that_names_a_patient_is_found() -> None:
    """Whatever a node's log is called; what other programs say is theirs."""
    with tempfile.TemporaryDirectory() as name:  # where the watch itself does not look
        folder = Path(name)
        (folder / "one").mkdir()
        (folder / "one" / "work.log").write_text('{"event": "stored"}\n{"id": "SIMULATED-7"}\n')
        (folder / "node.log").write_text('{"event": "stored", "revision": "2.25.7:1"}\n')
        (folder / "orthanc.log").write_text("SIMULATED^HEAD")
        [line] = identity.named_in_logs(folder)
    assert line.endswith("one/work.log names SIMULATED-7")


def test_every_kind_of_identity_counts() -> None:
    text = "simulated^head DOE^JANE born 19510203, PATIENT-77; a SIMULATED series 2.25.20160101"
    assert identity.named(text) == ["19510203", "DOE^JANE", "PATIENT-77", "simulated^head"]
    told = identity.named("CORRECTED, 20160101, QMNx85rKkkg, Mueller")
    assert told == ["20160101", "CORRECTED", "Mueller", "QMNx85rKkkg"]


@pytest.mark.parametrize(
    "said",
    [
        "print('SIMULATED-9', file=sys.stderr)",
        "logging.getLogger('a library').warning('Unknown encoding MUELLER')",
        "structlog.get_logger().info('stored', patient='PATIENT-77')",
        "print('DOE^JANE', file=sys.stderr); assert False, 'for another cause'",
    ],
    ids=["stderr", "a library's log", "our own line", "a test that fails"],
)
def test_a_test_whose_code_names_a_patient_fails_wherever_it_says_so(
    said: str, tmp_path: Path
) -> None:
    (tmp_path / "conftest.py").write_text(
        "from tests.conftest import pytest_runtest_makereport  # noqa: F401\n"
    )
    test = f"import logging, sys\nimport structlog\n\ndef test_it():\n    {said}\n"
    (tmp_path / "test_it.py").write_text(test)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "the log names a patient" in done.stdout
