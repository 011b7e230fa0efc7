"""What holds for the project as a whole."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import get_args

import pytest

import ich_node
from ich_node import faults
from ich_node.errors import SECRET
from ich_node.settings import Settings
from tests.support.processor import assert_quick

ROOT = Path(__file__).parents[2]


def test_version_and_changelog_agree() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == ich_node.__version__
    assert f"## {ich_node.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_every_configuration_key_stands_in_the_example() -> None:
    """A key that the example does not show is a key that nobody finds."""
    text = (ROOT / "config" / "node.example.toml").read_text()
    for section in Settings.model_fields.values():
        model = section.annotation
        model = model.__args__[0] if hasattr(model, "__args__") else model
        for key in model.model_fields:
            assert re.search(rf"^(# )?{key} = ", text, re.MULTILINE), key


@pytest.mark.parametrize("command", [["studies"], ["show", "1.2"], ["init", "x"]])
def test_commands_for_people_load_no_model(command: list[str], tmp_path: Path) -> None:
    """They must answer at once; torch alone would take seconds."""
    code = (
        "import sys\n"
        f"sys.argv = ['ich-node', *{command!r}]\n"
        "from ich_node.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print([name for name in ('torch', 'monai', 'highdicom', 'dbos') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.stdout.splitlines()[-1] == "[]", done.stdout + done.stderr


@pytest.mark.alone
def test_studies_starts_in_under_a_second(tmp_path: Path) -> None:
    (tmp_path / "node.toml").write_text("")
    assert_quick(["studies", "--config", "node.toml"], tmp_path)


def test_a_list_of_studies_needs_none_of_the_slow_libraries() -> None:
    """Each takes a tenth of its start, or more."""
    slow = ("numpy", "pydicom", "structlog")
    code = f"import ich_node.cli, sys; print([name for name in {slow} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_processes_without_a_model_load_no_torch() -> None:
    """Receiver and deliverer stay small."""
    for module in ("ich_node.receive.scp", "ich_node.pipeline.delivery", "ich_node.node"):
        code = f"import {module}, sys; print('torch' in sys.modules)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.stdout.strip() == "False", done.stderr


def test_no_process_of_ours_strikes_itself() -> None:
    """Fault points are there for tests: nothing in the product installs a hook."""
    product = [path for path in (ROOT / "ich_node").rglob("*.py") if path.name != "faults.py"]
    assert any("faults.point(" in path.read_text() for path in product)
    assert [path for path in product if "faults.install" in path.read_text()] == []


def test_every_fault_point_is_in_the_product() -> None:
    """A point that no code comes to would prove nothing."""
    said = "".join(path.read_text() for path in (ROOT / "ich_node").rglob("*.py"))
    stages = ("assemble", "infer", "report")
    by_stage = {f"{stage}.{moment}" for stage in stages for moment in ("begun", "committed")}
    missing = [
        name
        for name in faults.POINTS
        if f'faults.point("{name}"' not in said and name not in by_stage
    ]
    assert missing == []


def test_nothing_evaluates_text_starts_a_shell_or_loads_a_pickle() -> None:
    """By ruff's rules, everywhere, and without regard to any exception written in the code."""
    rules = "S102,S307,S301,S302,S506,S602,S604,S605,S606,S609"
    command = ["ruff", "check", "--isolated", "--ignore-noqa", "--select", rules, "."]
    done = subprocess.run(
        [sys.executable, "-m", *command], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stdout


def test_these_rules_see_what_they_must() -> None:
    """Of the same rules, on code that breaks them; none is left out by the project's own choice."""
    bad = (
        "import os, pickle, subprocess\n"
        "def bad(text):\n"
        "    eval(text)\n"
        "    exec(text)\n"
        "    pickle.loads(text)\n"
        "    subprocess.run(text, shell=True)\n"
        "    os.system(text)\n"
    )
    for folder in ("ich_node", "training", "tests", "deploy"):
        command = ["ruff", "check", "--config", str(ROOT / "pyproject.toml")]
        name = ["--stdin-filename", str(ROOT / folder / "bad.py")]
        done = subprocess.run(
            [sys.executable, "-m", *command, "--output-format", "concise", *name, "-"],
            input=bad,
            capture_output=True,
            text=True,
        )
        for rule in ("S307", "S102", "S301", "S602", "S605"):
            assert rule in done.stdout, (folder, rule, done.stdout)


def test_every_file_of_pins_is_audited() -> None:
    """What nobody looks at grows old."""
    listed = subprocess.run(["git", "ls-files", "*.txt"], capture_output=True, text=True, cwd=ROOT)
    pinned = [name for name in listed.stdout.split() if "==" in (ROOT / name).read_text()]
    audited = re.search(r"^PINS := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert pinned
    assert audited
    assert sorted(audited[1].split()) == sorted(pinned)


def test_no_key_of_the_configuration_holds_a_secret() -> None:
    """Keys and certificates are files; a password has no place in a file that people copy."""
    keys = [
        key
        for field in Settings.model_fields.values()
        for section in (field.annotation, *get_args(field.annotation))
        for key in getattr(section, "model_fields", {})
    ]
    assert {"cert", "hosts", "commitment"} <= set(keys)  # of [tls], [[sources]], [[destinations]]
    assert [key for key in keys if SECRET.search(key)] == []
