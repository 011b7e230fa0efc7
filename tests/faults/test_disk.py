"""Full disks and power cuts of a seed: `make faults` goes on where these end.

First what the layer itself must do: a power cut that takes too little would prove nothing.
"""

import errno
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ich_node.infer.predictor import load_predictor
from tests.faults import full, life, power
from tests.faults.actors import Serving
from tests.faults.campaign import Report
from tests.faults.disk import Disk, Playback, lay_over, needs, read_log
from tests.faults.full import Fault, campaign_of

pytestmark = pytest.mark.skipif(bool(needs()), reason=needs() or "all is there")

_HEAD = "import os, pathlib; p = pathlib.Path(os.environ['SHIM_ROOT'])\n"
_WRITTEN = "f = open(p / 'a', 'wb'); f.write(b'1234'); f.flush()\n"
_SYNCED = "os.fsync(f.fileno())\n"
_FOLDER = "d = os.open(p, os.O_RDONLY); os.fsync(d); os.close(d)\n"


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    (tmp_path / "data").mkdir()
    return lay_over(tmp_path / "data", tmp_path / "layer", recording=True)


def run(disk: Disk, code: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", _HEAD + code],
        env={**os.environ, **disk.environment},
        capture_output=True,
        text=True,
    )


def after_a_cut(disk: Disk, chance: random.Random) -> dict[str, bytes]:
    """What a power cut at the end leaves: the bytes of each file."""
    played = Playback(disk.root, disk.root.stat().st_ino)
    assert disk.log is not None
    played.play(read_log(disk.log))
    left = disk.log.with_name("left")
    played.cut(left, chance)
    return {str(p.relative_to(left)): p.read_bytes() for p in left.rglob("*") if p.is_file()}


class Steady(random.Random):
    """The node is never killed."""

    random: Callable[..., float] = staticmethod(lambda: 0.9)


class Unlucky(random.Random):
    """Nothing lasts that need not."""

    choice: Callable[..., float] = staticmethod(lambda _of: 0.0)


@pytest.mark.parametrize(
    ("code", "left"),
    [
        (_WRITTEN, {}),
        (_WRITTEN + _SYNCED, {}),  # the bytes last, their name does not
        (_WRITTEN + _FOLDER, {"a": b""}),  # the name lasts, the bytes do not
        (_WRITTEN + _SYNCED + _FOLDER, {"a": b"1234"}),
        (_WRITTEN + _SYNCED + _FOLDER + "f.write(b'5'); f.flush()\n", {"a": b"1234"}),
        (_WRITTEN + _SYNCED + "os.rename(p / 'a', p / 'b')\n" + _FOLDER, {"b": b"1234"}),
        (_WRITTEN + _SYNCED + _FOLDER + "os.rename(p / 'a', p / 'b')\n", {"a": b"1234"}),
        (_WRITTEN + _SYNCED + _FOLDER + "os.unlink(p / 'a')\n", {"a": b"1234"}),
        (_WRITTEN + _SYNCED + _FOLDER + "f.truncate(2); os.fsync(f.fileno())\n", {"a": b"12"}),
    ],
)
def test_a_power_cut_takes_all_that_was_not_synced(
    disk: Disk, code: str, left: dict[str, bytes]
) -> None:
    run(disk, code).check_returncode()
    assert after_a_cut(disk, Unlucky()) == left


def test_what_sqlite_has_committed_outlasts_a_power_cut(disk: Disk) -> None:
    """Its writes are not Python's: the layer sees them too."""
    code = (
        "import sqlite3; c = sqlite3.connect(p / 'x', isolation_level=None)\n"
        "c.execute('PRAGMA journal_mode=WAL'); c.execute('PRAGMA synchronous=FULL')\n"
        "c.execute('CREATE TABLE t(n)'); c.execute('INSERT INTO t VALUES (7)')\n"
        "os._exit(0)\n"
    )
    run(disk, code).check_returncode()
    assert set(after_a_cut(disk, Unlucky())) == {"x", "x-wal"}
    left = disk.log.with_name("left") if disk.log else Path()
    shutil.rmtree(disk.root)
    left.rename(disk.root)
    told = run(disk, "import sqlite3; print(*sqlite3.connect(p / 'x').execute('SELECT * FROM t'))")
    assert told.stdout == "(7,)\n"


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EROFS])
def test_a_failing_disk_fails_from_one_write_on_and_is_well_again(disk: Disk, error: int) -> None:
    """The file is made and the first write succeeds; the second is the one that was chosen."""
    disk.fail(3, 60.0, error)
    writing = "d = os.open(p / 'a', os.O_CREAT | os.O_RDWR); [os.write(d, b'1') for _ in range(9)]"
    assert os.strerror(error) in run(disk, writing).stderr
    assert (disk.root / "a").read_bytes() == b"1"
    assert disk.is_failing
    told = run(disk, "import shutil; print(shutil.disk_usage(p).free)")
    assert told.stdout == "0\n"
    disk.mend()
    assert run(disk, writing).stderr == ""
    assert disk.failed == 1


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EROFS], ids=["full", "read-only"])
def test_a_disk_that_fails_in_between_loses_nothing_and_fails_no_study(
    tmp_path: Path, error: int
) -> None:
    report, disk = campaign_of(tmp_path, 1, 8, 2026, Fault(error, period_s=2.0))
    assert disk.failed > 0
    assert report.clean, report
    assert report.acknowledged == 8


def test_a_run_in_which_nothing_failed_is_told_from_one_that_was_struck(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second has a node that writes; the first one's is at rest."""
    monkeypatch.setattr(full, "_PATIENCE_S", 0.2)
    monkeypatch.setattr(full, "_AT_REST_S", 0.5)
    monkeypatch.setattr(full, "_FULL_S", (0.1, 0.2))
    serving = Serving(disk.root / "node.toml")  # not started: at rest
    assert not full._fill(disk, serving, Steady(1), Fault())
    writing = "import time; f = open(p / 'a', 'w')\n"
    writing += "while True: time.sleep(0.01); f.write('1'); f.flush()"
    with subprocess.Popen(
        [sys.executable, "-c", _HEAD + writing],
        env={**os.environ, **disk.environment},
        stderr=subprocess.DEVNULL,
    ) as process:
        monkeypatch.setattr(full, "_AT_REST_S", 60.0)
        assert full._fill(disk, serving, Steady(1), Fault())
        process.wait(60)  # of the write that failed


WELL = Report(1, studies=2, images=16, acknowledged=16)


@pytest.mark.parametrize(
    ("change", "clean"),
    [
        ({}, True),
        ({"without_fault": 1}, False),
        ({"acknowledged": 15}, False),
        ({"lost": 1}, False),
        ({"without_results": 1}, False),
        ({"second_objects": 1}, False),
        ({"other_states": {"failed": 1}}, False),
    ],
)
def test_all_is_well_only_where_something_failed_and_nothing_is_missing(
    change: dict[str, Any], clean: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    report, total = replace(WELL, **change), Report(1)
    assert not total.clean  # of nothing that was sent, nothing is shown
    for one in (WELL, report):
        total.add(one)
    for one in (report, total):
        assert one.clean is clean
        one.show()
        assert ("NOT well" in capsys.readouterr().out) is not clean


def test_power_cuts_take_nothing_that_was_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One node is recorded; a moment of it, and the very end, are lived on from."""
    monkeypatch.setattr(life.durable, "MESSAGES_S", 0.1)
    monkeypatch.setattr(life.pauses, "_FIRST_PAUSE_S", 0.1)
    recorded = power.record(tmp_path, 1, 8, 2026)
    predictor = load_predictor(tmp_path / "bundle")
    moment = power.moment(recorded.records, random.Random(2026))
    for run_number, at in enumerate([moment, len(recorded.records)]):
        report = power.cut(recorded, at, 2026 + run_number, predictor)
        assert report.clean, (at, report)
        assert report.acknowledged == 8
