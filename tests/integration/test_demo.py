"""What the README shows a newcomer works."""

import subprocess
import sys
from pathlib import Path

from tests import identity

ROOT = Path(__file__).parents[2]


def test_the_demonstration_ends_well(tmp_path: Path) -> None:
    """SEG and SR arrive, pass their checks, and the picture is there."""
    done = identity.heard(
        subprocess.run(
            [sys.executable, "-m", "deploy.demo", str(tmp_path / "demo")],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=280,
        )
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "demo" / "summary.png").is_file()
    assert "intraparenchymal" in done.stdout
