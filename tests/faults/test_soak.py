"""The corpus of a seed through the soak: `make soak` goes on where these end."""

from pathlib import Path

import pytest

from tests.soak.files import soak_files
from tests.soak.pdus import soak_pdus


@pytest.mark.filterwarnings("ignore")
def test_damaged_files_are_each_refused_with_a_reason_or_read(tmp_path: Path) -> None:
    report = soak_files(400, 2026, tmp_path)
    assert report.unclear == {}
    assert report.reasons["assembled"] > 0
    assert report.reasons["unreadable"] > 0
    assert report.statuses["0000H"] > 0
    assert report.statuses["C000H"] > 0
    assert report.slowest_s < 30


def test_damaged_pdus_leave_the_receiver_well_and_small(tmp_path: Path) -> None:
    report = soak_pdus(1500, 2026, tmp_path / "wire")
    assert report.faults == []
    assert report.sound_objects >= 2
    assert report.rss_mb < 1000
    assert report.threads < 64
