"""`ich-node selftest` as it is run: with the shipped model, and where it must fail."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from deploy.demo.running import configuration, free_port, running_node, wait_for
from tests import identity

_LONGEST_S = 60.0
_STEPS = ["start", "send", "analyse", "return", "segmentation", "report", "stop"]


def command(config: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "ich_node", "selftest", "--config", str(config), *arguments]


def selftest(
    config: Path, *arguments: str, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return identity.heard(
        subprocess.run(
            command(config, *arguments),
            capture_output=True,
            text=True,
            timeout=280,
            env={**os.environ, **(environment or {})},
        )
    )


def outcomes(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    return {step["name"]: step["outcome"] for step in json.loads(done.stdout)["steps"]}


@pytest.mark.alone
def test_the_shipped_model_passes_in_under_a_minute(tmp_path: Path) -> None:
    """Whatever the environment says of the site's own folder, port and service manager."""
    config = configuration(tmp_path, 104, [])
    site = tmp_path / "site"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        elsewhere = {
            "ICH_NODE_STORAGE__DATA_DIR": str(site),
            "ICH_NODE_DICOM__PORT": "1",
            "NOTIFY_SOCKET": str(tmp_path / "notify"),
        }
        began = time.monotonic()
        done = selftest(config, environment=elsewhere)
        took = time.monotonic() - began
        manager.setblocking(False)
        with pytest.raises(BlockingIOError):
            manager.recv(100)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[:2] for line in lines[:-1]] == [["ok", name] for name in _STEPS]
    assert lines[-1].startswith("self-test passed in")
    assert took < _LONGEST_S
    assert not site.exists()


def test_another_model_is_held_to_the_path_alone(tmp_path: Path, tiny_bundle: Path) -> None:
    """Beside a running daemon of the same configuration, which sees nothing of it."""
    port = free_port()
    config = configuration(tmp_path, port, [], bundle=str(tiny_bundle))
    with running_node(config, port) as node:
        done = selftest(config, "--json")
        assert node.process.poll() is None
        assert node.studies() == []
    assert done.returncode == 0, done.stdout + done.stderr
    expected = dict.fromkeys(_STEPS, "passed") | {"segmentation": "warning"}
    assert outcomes(done) == expected


def test_a_damaged_model_fails_with_its_fault_and_what_to_do(
    tmp_path: Path, tiny_bundle: Path
) -> None:
    bundle = tmp_path / "bundle"
    for name in ("configs/metadata.json", "models/model.safetensors"):
        (bundle / name).parent.mkdir(parents=True)
        (bundle / name).write_bytes((tiny_bundle / name).read_bytes())
    weights = bundle / "models" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\xff")
    config = configuration(tmp_path, free_port(), [], bundle=str(bundle))
    done = selftest(config)
    assert done.returncode == 1
    assert "FAIL" in done.stdout
    assert "SHA-256" in next(line for line in done.stdout.splitlines() if "FAIL" in line)
    assert "what to do: run `ich-node check`" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("self-test failed in")
    assert "Traceback" not in done.stdout + done.stderr


def processes_naming(text: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # it has ended
            continue
        if text in line:
            found.append(line)
    return found


def all_run(place: Path) -> bool:
    """serve, receiver, worker and deliverer each name their configuration."""
    return len(processes_naming(str(place))) >= 4


def an_image_is_stored(place: Path) -> bool:
    return any(place.glob("*/ich-node-data/spool/**/*.dcm"))


@pytest.mark.parametrize(
    ("number", "moment"),
    [
        (signal.SIGTERM, all_run),
        (signal.SIGHUP, all_run),
        (signal.SIGINT, an_image_is_stored),
    ],
)
def test_told_to_end_it_leaves_no_process_and_no_folder(
    tmp_path: Path, tiny_bundle: Path, number: signal.Signals, moment: Callable[[Path], bool]
) -> None:
    """Soon, with every process of its node running and in the middle of an association."""
    config = configuration(tmp_path / "site", free_port(), [], bundle=str(tiny_bundle))
    place = tmp_path / "temporary"
    place.mkdir()
    environment = {**os.environ, "TMPDIR": str(place)}
    with (
        (tmp_path / "selftest.out").open("wb") as said,  # held against the patients
        subprocess.Popen(command(config), stdout=said, env=environment) as process,
    ):
        try:
            wait_for(lambda: moment(place), 60.0, "moment to strike")
            process.send_signal(number)
            # A node that waited for an association to end would take 20 s alone.
            assert process.wait(20) != 0
        finally:
            process.kill()
    wait_for(lambda: not processes_naming(str(place)), 10.0, "end of all processes")
    assert list(place.iterdir()) == []
