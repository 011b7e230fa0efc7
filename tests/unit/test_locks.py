"""A lock is held by one living process, and free when it has ended."""

import subprocess
import sys
from pathlib import Path

import pytest

from ich_node import locks
from ich_node.errors import ConfigError


def test_two_living_processes_never_share_a_name(tmp_path: Path) -> None:
    with locks.take(tmp_path, "deliverer-0"):
        assert not locks.is_free(tmp_path, "deliverer-0")
        with (
            pytest.raises(ConfigError, match="another process of this node holds"),
            locks.take(tmp_path, "deliverer-0"),
        ):
            pass
    assert locks.is_free(tmp_path, "deliverer-0")


def test_the_next_name_is_taken_where_the_first_is_held(tmp_path: Path) -> None:
    with (
        locks.take(tmp_path, "worker-1", "worker-2") as first,
        locks.take(tmp_path, "worker-1", "worker-2") as second,
    ):
        assert (first, second) == ("worker-1", "worker-2")


def test_a_name_that_never_was_is_free(tmp_path: Path) -> None:
    assert locks.is_free(tmp_path, "worker-7")


def test_looking_takes_nothing(tmp_path: Path) -> None:
    with locks.take(tmp_path, "worker-0"):
        pass
    assert locks.is_free(tmp_path, "worker-0")
    with locks.take(tmp_path, "worker-0"):
        pass


def test_a_killed_holder_leaves_it_free(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from ich_node import locks\n"
        "with locks.take(Path(sys.argv[1]), 'worker-0'):\n"
        "    print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    assert not locks.is_free(tmp_path, "worker-0")
    holder.kill()
    holder.communicate()
    assert locks.is_free(tmp_path, "worker-0")
