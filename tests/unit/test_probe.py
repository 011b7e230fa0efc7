"""`check` looks at what `serve` needs, makes nothing of it, and says whose it must be."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from deploy.demo.running import free_port
from ich_node import node, probe
from ich_node.records import CheckItem
from ich_node.settings import Settings, load_settings
from ich_node.store.engine import open_engine

ROOT = Path(__file__).parents[2]
NOBODY = 65534
only_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can be another user")


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr(probe, "_model", lambda _settings: "left out")
    path = tmp_path / "node.toml"
    path.write_text(
        f"""
        storage = {{ data_dir = "in/data", min_free_gb = 0 }}
        destinations = [
          {{ name = "pacs", ae_title = "PACS", host = "127.0.0.1", port = {free_port()} }},
        ]
        audit = {{ file = "in/data/messages.xml" }}
        """
    )
    return load_settings(path)


def found(settings: Settings) -> dict[str, CheckItem]:
    return {item.name: item for item in probe.check(settings)}


def test_before_the_first_start_nothing_is_made_and_it_says_what_is_missing(
    settings: Settings, tmp_path: Path
) -> None:
    """Root looks first; what it made the service's user could not write."""
    before = sorted(tmp_path.rglob("*"))
    said = found(settings)
    assert sorted(tmp_path.rglob("*")) == before
    assert said["disk"].ok
    assert f"{settings.storage.data_dir} is not there yet" in said["disk"].text
    assert f"`install -d -m 0700 -o USER {settings.storage.data_dir}`" in said["disk"].text
    assert said["database"].ok
    assert "is not there yet: `ich-node serve` makes it" in said["database"].text
    assert said["audit"].text.endswith("can be written, 0 entries wait")


def test_of_what_serve_made_it_says_whose_it_is_and_that_it_is_up_to_date(
    settings: Settings,
) -> None:
    node.prepare(settings).dispose()
    before = sorted(settings.storage.data_dir.rglob("*"))
    said = found(settings)
    assert said["disk"].text.endswith(f"which belongs to {settings.spool_dir.owner()}")
    assert said["database"].text.endswith("is up to date")
    # The log of the database goes when the last one closes it, and comes with the next.
    made = set(settings.storage.data_dir.rglob("*")) - set(before)
    assert all(path.name.endswith(("-wal", "-shm")) for path in made)


def test_a_database_of_an_earlier_version_is_left_to_serve(settings: Settings) -> None:
    node.prepare(settings).dispose()
    engine = open_engine(settings.database_url)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0001'")
    said = found(settings)
    assert said["database"].ok
    assert "brings it up to date" in said["database"].text
    with engine.begin() as connection:
        kept = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one()
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    assert kept == "0001"
    assert "newer version" in found(settings)["database"].text
    assert not found(settings)["database"].ok


def test_a_folder_that_this_user_may_not_write_is_a_fault_that_names_its_owner(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.storage.data_dir.mkdir(parents=True)
    monkeypatch.setattr(os, "access", lambda *_: False)
    said = found(settings)["disk"]
    assert not said.ok
    owner = settings.storage.data_dir.owner()
    assert f"{settings.storage.data_dir} belongs to {owner}" in said.text
    assert "install -d" in said.text


def test_a_data_folder_that_is_a_file_is_a_fault(settings: Settings) -> None:
    settings.storage.data_dir.parent.mkdir()
    settings.storage.data_dir.touch()
    assert not found(settings)["disk"].ok


@only_root
@pytest.mark.parametrize("name", ["ich-node.sqlite", "locks/bell", "spool"])
def test_what_root_left_in_the_folder_of_a_user_is_a_fault(settings: Settings, name: str) -> None:
    node.prepare(settings).dispose()
    folder = settings.storage.data_dir
    (folder / "locks" / "bell").touch()
    for path in (folder, *folder.rglob("*")):
        os.chown(path, NOBODY, NOBODY)
    assert found(settings)["disk"].ok
    os.chown(folder / name, 0, 0)
    said = found(settings)["disk"]
    assert not said.ok
    assert f"{folder / name} belongs to root" in said.text
    assert f"`chown -R {folder.owner()}: {folder}`" in said.text


AS_NOBODY = """
import os, sys
from pathlib import Path
from deploy.demo.running import free_port
from ich_node import node, probe
from ich_node.settings import Settings, Storage

def settings(name):
    return Settings(storage=Storage(data_dir=Path(sys.argv[1]) / name, min_free_gb=0))

node.prepare(settings("warm"))  # what is imported late may lie where only root reads
probe._model = lambda _settings: ""
probe.check(settings("site/data"))
os.setgroups([])
os.setresgid(65534, 65534, 65534)
os.setresuid(65534, 65534, 65534)
node.prepare(settings("site/data")).dispose()
said = {item.name: item for item in probe.check(settings("site/data"))}
assert said["disk"].ok and said["database"].ok, said
said = {item.name: item for item in probe.check(settings("warm"))}
assert not said["disk"].ok, said
assert "belongs to root" in said["disk"].text, said
"""


@only_root
def test_root_looks_first_and_the_service_starts_all_the_same() -> None:
    """With a process that really becomes the other user."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)  # pytest's own folders are for nobody else
        site = Path(name) / "site"
        site.mkdir()
        os.chown(site, NOBODY, NOBODY)
        done = subprocess.run(
            [sys.executable, "-c", AS_NOBODY, name],
            capture_output=True,
            text=True,
            timeout=120,
            cwd=ROOT,
        )
        assert done.returncode == 0, done.stderr
        assert (site / "data" / "spool").stat().st_uid == NOBODY
