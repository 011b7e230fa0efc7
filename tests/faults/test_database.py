"""A database that is damaged or gone is kept aside and made anew: nothing that came is lost."""

import hashlib
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from deploy.demo.running import configuration, free_port, wait_for
from ich_node import node
from ich_node.errors import Damaged, StoreError
from ich_node.infer.predictor import load_predictor
from ich_node.pipeline import rebuild
from ich_node.receive import audit
from ich_node.receive.intake import Intake
from ich_node.settings import Settings, load_settings
from ich_node.store import destinations, instances, mending
from ich_node.store.engine import DatabaseError, Engine, may_pass, open_engine, reading, writing
from tests import identity
from tests.faults import campaign, life
from tests.faults.actors import FlappingPacs, Sent
from tests.soak.pdus import answers
from tests.support.modes import open_to_others
from tests.support.peers import SENDER, incoming, small_object
from tests.support.series import head_series, write


def cut_header(path: Path) -> None:
    path.write_bytes(b"\0" * 100 + path.read_bytes()[100:])


def overwrite(path: Path) -> None:
    """Every page but the first, as a disk that lost its mind would."""
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\xa5" * (len(content) - 4096))


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: 4096 * 3])


def empty(path: Path) -> None:
    path.write_bytes(b"")


DAMAGES: list[Callable[[Path], None]] = [cut_header, overwrite, shorten]
LOSSES: list[Callable[[Path], None]] = [Path.unlink, empty]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "node.toml").write_text("[storage]\nmin_free_gb = 0\n")
    loaded = load_settings(tmp_path / "node.toml")
    return loaded.model_copy(update={"sources": (SENDER,)})


def open_whole(settings: Settings, at_work: tuple[str, ...] = ()) -> Engine:
    return rebuild.open_whole(settings, lambda: node.prepare(settings), lambda: at_work)


@pytest.fixture
def database(settings: Settings) -> Path:
    """A closed database that knows three images and a destination that is held."""
    engine = node.prepare(settings)
    for number in (1, 2, 3):
        intake = Intake(engine, settings)
        assert life.take(intake, incoming(small_object(number))).status == 0
    with writing(engine) as connection:
        destinations.hold(connection, "pacs")
    engine.dispose()
    path = settings.storage.data_dir / "ich-node.sqlite"
    checkpoint(path)
    return path


def checkpoint(path: Path) -> None:
    """Bring all of a database into its one file."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def images(engine: Engine, settings: Settings) -> int:
    audit.audit_all(Intake(engine, settings), before=2e10)
    return sum(instances.find(engine, f"1.2.3.{number}") is not None for number in (1, 2, 3))


def events_of(engine: Engine) -> list[tuple[str, str]]:
    with reading(engine) as connection:
        rows = connection.exec_driver_sql("SELECT kind, text FROM event ORDER BY id").all()
    return [(kind, text) for kind, text in rows]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda each: each.__name__)
def test_a_damaged_database_is_kept_aside_and_filled_anew_from_the_spool(
    settings: Settings, database: Path, damage: Callable[[Path], None]
) -> None:
    damage(database)
    content = database.read_bytes()
    engine = open_whole(settings)
    [aside] = database.parent.glob("ich-node.sqlite.damaged-*Z")
    assert aside.read_bytes() == content
    assert images(engine, settings) == 3
    assert [text for kind, text in events_of(engine) if kind == "database_rebuilt"] != []
    engine.dispose()
    again = open_whole(settings)
    assert len(list(database.parent.glob("*.damaged-*Z"))) == 1
    assert images(again, settings) == 3
    again.dispose()


@pytest.mark.parametrize("lose", LOSSES, ids=["gone", "empty"])
def test_a_database_that_is_gone_is_never_silently_empty(
    settings: Settings, database: Path, lose: Callable[[Path], None]
) -> None:
    lose(database)
    engine = open_whole(settings)
    [(kind, text), *_] = events_of(engine)
    assert kind == "database_rebuilt"
    assert "was gone" in text
    assert images(engine, settings) == 3
    engine.dispose()


def test_a_new_node_and_a_whole_database_are_left_alone(settings: Settings) -> None:
    for _ in range(2):
        engine = open_whole(settings)
        assert events_of(engine) == []
        engine.dispose()
    assert mending.look_at(settings.database_url) is None


@pytest.mark.parametrize("how", ["taken away", "replaced"])
def test_a_database_that_goes_while_a_node_runs_is_noticed(
    settings: Settings, database: Path, how: str
) -> None:
    """Who has it open would write to a file that nobody finds again, and never know."""
    look = mending.watcher(settings.database_url)
    look()
    engine = open_engine(settings.database_url)
    with engine.connect():
        content = database.read_bytes()
        database.unlink()
        if how == "replaced":
            database.write_bytes(content)
        with pytest.raises(Damaged, match=how):
            look()
    engine.dispose()


def test_what_is_no_file_is_not_watched() -> None:
    mending.watcher("postgresql+psycopg://nobody@localhost/none")()


def test_what_was_held_stays_held_where_it_can_be_read_and_else_it_is_said(
    settings: Settings, database: Path
) -> None:
    """Damage in a table that is not the one with the holds."""
    with closing(sqlite3.connect(database)) as connection:
        [(page,)] = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'event'")
    content = bytearray(database.read_bytes())
    content[4096 * (page - 1) : 4096 * page] = b"\xa5" * 4096
    database.write_bytes(content)
    engine = open_whole(settings)
    assert set(destinations.held(engine)) == {"pacs"}
    engine.dispose()
    cut_header(database)
    engine = open_whole(settings)
    assert "`ich-node hold`" in events_of(engine)[0][1]
    engine.dispose()


def test_a_new_database_does_not_find_what_somebody_still_has_open_of_the_old_one(
    settings: Settings, database: Path
) -> None:
    """Who watches `ich-node studies` keeps its log and index, and they fit no other file."""
    watching = open_engine(settings.database_url)
    known = events_of(watching)
    database.unlink()
    engine = open_whole(settings)
    assert images(engine, settings) == 3
    assert events_of(watching) == known
    assert images(engine, settings) == 3
    watching.dispose()
    engine.dispose()


@pytest.mark.parametrize("damage", [cut_header, Path.unlink], ids=["damaged", "gone"])
def test_nothing_is_taken_from_under_a_process_that_lives(
    settings: Settings, database: Path, damage: Callable[[Path], None]
) -> None:
    damage(database)
    with pytest.raises(StoreError, match="worker-1"):
        open_whole(settings, ("worker-1",))
    assert not list(database.parent.glob("*.damaged-*"))


def test_a_database_that_is_locked_is_not_damaged(settings: Settings, database: Path) -> None:
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode=EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        assert mending.look_at(settings.database_url) is None


def test_a_lock_that_another_program_keeps_may_pass(settings: Settings, database: Path) -> None:
    """What waited for it in vain is tried again, and no series fails for it."""
    engine = open_engine(settings.database_url)
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with engine.connect() as connection:
            connection.connection.driver_connection.execute("PRAGMA busy_timeout=10")
        with pytest.raises(DatabaseError, match="locked") as told, writing(engine) as connection:
            connection.exec_driver_sql("DELETE FROM held_destination")
    assert may_pass(told.value)
    assert set(destinations.held(engine)) == {"pacs"}
    engine.dispose()


def test_a_process_that_finds_the_database_damaged_ends_with_a_status_of_its_own(
    settings: Settings, database: Path
) -> None:
    """Its supervisor ends the others, and starts all on a new one."""
    code = (
        "import sys; from ich_node.pipeline import duties; from ich_node.store import overview\n"
        "from ich_node.store.engine import open_engine; e = open_engine(sys.argv[1])\n"
        "duties.Duty(1.0, lambda: overview.studies(e)).look(0.0)\n"
    )
    overwrite(database)
    command = [sys.executable, "-c", code, settings.database_url]
    done = identity.heard(subprocess.run(command, capture_output=True, text=True))
    assert done.returncode == 3
    assert "restart `ich-node serve`" in done.stdout + done.stderr


def test_a_damaged_database_kept_aside_is_its_owners_alone(
    tmp_path: Path, tiny_bundle: Path
) -> None:
    """As the commands make it, whatever the account lets others do by default."""
    port = free_port()
    config = configuration(tmp_path, port, [], bundle=str(tiny_bundle))
    data = load_settings(config).storage.data_dir
    for damaged in (False, True):
        if damaged:
            checkpoint(data / "ich-node.sqlite")
            cut_header(data / "ich-node.sqlite")
        command = [sys.executable, "-m", "ich_node", "serve", "--config", str(config)]
        with (
            (tmp_path / f"{damaged}.log").open("wb") as said,  # held against the patients
            subprocess.Popen(command, stderr=said, umask=0) as receiver,
        ):
            wait_for(lambda: answers(port), 60, "answer of the receiver")
            receiver.terminate()
    assert len(list(data.glob("*.damaged-*Z"))) == 1
    assert open_to_others(data) == []


def test_commands_say_what_to_do(settings: Settings, database: Path, tmp_path: Path) -> None:
    def said(name: str) -> str:
        command = [sys.executable, "-m", "ich_node", name, "--config", str(tmp_path / "node.toml")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return identity.heard(done).stderr

    cut_header(database)
    assert "restart `ich-node serve`" in rebuild.told(settings)
    assert "not a database; restart `ich-node serve`" in said("studies")
    database.unlink()
    assert "restart `ich-node serve`" in rebuild.told(settings)
    assert "no database any more, but images: restart `ich-node serve`" in said("studies")


def test_after_a_damaged_database_the_same_results_go_out_and_no_others(
    tmp_path: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was sent before is sent again, byte for byte: no second object of anything."""
    monkeypatch.setattr(life.durable, "MESSAGES_S", 0.1)
    paths = write(head_series(7, 8), tmp_path / "ct")
    pacs, sent = FlappingPacs(free_port()), Sent()
    config = configuration(
        tmp_path / "site", 104, [("pacs", "PACS", pacs.port)], bundle=str(tiny_bundle)
    )
    settings, predictor = load_settings(config), load_predictor(tiny_bundle)
    database = settings.storage.data_dir / "ich-node.sqlite"
    pacs.up()
    try:
        for number in (1, 2):
            images = paths if number == 1 else []
            life.live(settings, predictor, images, sent, lambda e: campaign._all_ended(e, 1))
            assert len(pacs.received) == 2 * number
            cut_header(database)
    finally:
        pacs.down()
    assert len(set(pacs.received)) == 2
    assert len(sent.acknowledged) == len(paths)
    stored = {hashlib.sha256(p.read_bytes()).digest() for p in settings.spool_dir.rglob("*.dcm")}
    assert len(stored) == len(paths)
