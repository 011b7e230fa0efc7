"""The commands as a person or a script runs them: each in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa

from deploy.demo.running import configuration, free_port
from ich_node.deliver.standin import StandInPacs
from ich_node.node import prepare
from ich_node.settings import load_settings
from ich_node.states import SeriesState
from ich_node.store import instances
from ich_node.store.engine import writing
from ich_node.store.tables import instance, series
from tests import identity
from tests.support.modes import open_to_others
from tests.support.series import head_series, write
from tests.unit.store.conftest import FIRST


def ich_node(
    *arguments: object, cwd: Path | None = None, umask: int = -1
) -> subprocess.CompletedProcess[str]:
    return identity.heard(
        subprocess.run(
            [sys.executable, "-m", "ich_node", *map(str, arguments)],
            capture_output=True,
            text=True,
            cwd=cwd,
            umask=umask,
            timeout=300,
        )
    )


def test_what_init_and_analyze_write_is_its_owners_alone(tmp_path: Path, tiny_bundle: Path) -> None:
    """Whatever the account lets others do by default."""
    assert ich_node("init", tmp_path / "site", umask=0).returncode == 0
    write(head_series(), tmp_path / "in")
    config = configuration(tmp_path, free_port(), [], bundle=str(tiny_bundle))
    arguments = ["analyze", tmp_path / "in", "--out", tmp_path / "out", "--config", config]
    assert ich_node(*arguments, umask=0).returncode == 0
    assert (tmp_path / "out" / "seg.dcm").exists()
    assert open_to_others(tmp_path / "site") + open_to_others(tmp_path / "out") == []


def test_init_writes_a_configuration_that_loads(tmp_path: Path) -> None:
    """It never overwrites one."""
    assert ich_node("init", tmp_path / "site").returncode == 0
    assert (tmp_path / "site" / "ich-node-data").is_dir()
    again = ich_node("init", tmp_path / "site")
    assert again.returncode == 1
    assert "left as it is" in again.stderr


def test_a_wrong_configuration_stops_every_command_with_its_fault(tmp_path: Path) -> None:
    config = tmp_path / "node.toml"
    config.write_text("[dicom]\nprot = 104\n")
    for command in (["serve"], ["check"], ["studies"], ["show", "1.2"]):
        done = ich_node(*command, "--config", config)
        assert done.returncode == 2
        assert "dicom.prot = 104: unknown key" in done.stderr
        assert "Traceback" not in done.stderr


def test_check_says_one_line_for_each_thing(tmp_path: Path, tiny_bundle: Path) -> None:
    pacs = StandInPacs.start(tmp_path / "pacs")
    try:
        config = configuration(
            tmp_path,
            free_port(),
            [("pacs", "PACS", pacs.port), ("gone", "GONE", free_port())],
            bundle=str(tiny_bundle),
        )
        done = ich_node("check", "--config", config, "--json")
    finally:
        pacs.stop()
    found = {item["name"]: item for item in json.loads(done.stdout)}
    assert done.returncode == 1
    assert [name for name, item in found.items() if not item["ok"]] == ["destination gone"]
    assert {"configuration", "disk", "database", "model", "destination pacs"} <= set(found)
    assert "tiny" in found["model"]["text"]


def test_check_finds_an_altered_model(tmp_path: Path, tiny_bundle: Path) -> None:
    """A file that is not what the metadata names is refused, whatever is in it."""
    bundle = tmp_path / "bundle"
    (bundle / "configs").mkdir(parents=True)
    (bundle / "models").mkdir()
    stated = (tiny_bundle / "configs" / "metadata.json").read_text()
    (bundle / "configs" / "metadata.json").write_text(stated)
    weights = bytearray((tiny_bundle / "models" / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (bundle / "models" / "model.safetensors").write_bytes(weights)
    config = configuration(tmp_path, free_port(), [], bundle=str(bundle))
    done = ich_node("check", "--config", config, "--json")
    model = next(item for item in json.loads(done.stdout) if item["name"] == "model")
    assert not model["ok"]
    assert "SHA-256" in model["text"]


def test_serve_does_not_start_with_a_model_that_is_not_there(tmp_path: Path) -> None:
    """The administrator is told at once, not by studies that fail at night."""
    config = configuration(tmp_path, free_port(), [], bundle="no-such-model")
    done = ich_node("serve", "--config", config)
    assert done.returncode == 2
    assert "no-such-model" in done.stderr


@pytest.mark.parametrize("as_json", [True, False])
def test_analyze_ends_with_zero_for_refused(tmp_path: Path, tiny_bundle: Path, as_json) -> None:
    write(head_series()[:5], tmp_path / "in")
    config = configuration(tmp_path, free_port(), [], bundle=str(tiny_bundle))
    arguments = ["analyze", tmp_path / "in", "--out", tmp_path / "out", "--config", config]
    done = ich_node(*arguments, *(["--json"] if as_json else []))
    assert done.returncode == 0
    assert "too_few_slices" in done.stdout
    if as_json:
        assert json.loads(done.stdout)["status"] == "refused"


def test_analyze_works_without_a_configuration(tmp_path: Path) -> None:
    """Exit status 1 and a result.json where there is nothing to analyse."""
    (tmp_path / "in").mkdir()
    done = ich_node("analyze", "in", "--out", "out", cwd=tmp_path)
    assert done.returncode == 1
    assert json.loads((tmp_path / "out" / "result.json").read_text())["status"] == "failed"


def test_studies_and_show_before_anything_came(tmp_path: Path) -> None:
    config = configuration(tmp_path, free_port(), [])
    done = ich_node("studies", "--config", config)
    assert done.returncode == 1
    assert "no database yet" in done.stderr


def test_studies_of_a_database_elsewhere_that_nobody_has_made(tmp_path: Path) -> None:
    config = configuration(tmp_path, free_port(), [])
    config.write_text(config.read_text() + '\n[database]\nurl = "sqlite:///other/n.sqlite"\n')
    done = ich_node("studies", "--config", config)
    assert done.returncode == 1
    assert f"{tmp_path / 'other' / 'n.sqlite'} holds no database yet" in done.stderr
    assert not (tmp_path / "other").exists()


def test_a_node_does_not_start_on_the_database_of_a_newer_version(tmp_path: Path) -> None:
    """Status 2: to start it again is no use; nothing in the database changes."""
    config = configuration(tmp_path, free_port(), [])
    engine = prepare(load_settings(config))
    with writing(engine) as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    done = ich_node("serve", "--config", config)
    assert done.returncode == 2
    assert "the database is of a newer version (schema 9999; this one knows" in done.stderr
    with writing(engine) as connection:
        found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one()
    engine.dispose()
    assert found == "9999"


def test_purge_says_what_it_would_delete_and_deletes_nothing(tmp_path: Path) -> None:
    config = configuration(tmp_path, free_port(), [])
    settings = load_settings(config)
    engine = prepare(settings)
    instances.add(engine, FIRST, priority=5, quiet_seconds=1.0)
    with writing(engine) as connection:
        connection.execute(sa.update(instance).values(received_at=0.0))
        connection.execute(sa.update(series).values(state=SeriesState.REFUSED))
    engine.dispose()
    said = ich_node("purge", "--dry-run", "--config", config, "--json")
    [planned] = json.loads(said.stdout)["deletions"]
    assert (planned["kind"], planned["files"]) == ("originals", 1)
    again = ich_node("purge", "--config", config)
    assert "1 deleted" in again.stdout
    assert "older than 30 days" in again.stdout
    assert "0 deleted" in ich_node("purge", "--config", config).stdout
