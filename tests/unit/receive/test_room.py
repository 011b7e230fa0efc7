"""Room on the disk is looked at each time, and said once when it changes."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from ich_node.receive.room import Room
from ich_node.settings import Storage

GB = 10**9


def test_it_falls_short_by_what_would_come_and_is_said_once_each_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = [6 * GB]
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage._replace(free=free[0]))
    room = Room(Storage(data_dir=tmp_path, min_free_gb=5.0))
    with capture_logs() as said:
        assert room.holds(GB)
        assert not room.holds(GB + 1)
        assert not room.holds(2 * GB)
        free[0] = 8 * GB
        assert room.holds(2 * GB)
        assert room.holds(2 * GB)
    assert [levels(line) for line in said] == [("error", 5.0), ("warning", 6.0)]


def levels(line: dict[str, Any]) -> tuple[str, float]:
    return line["log_level"], line["free_gb"]
