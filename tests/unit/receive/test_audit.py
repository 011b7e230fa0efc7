"""After a crash or a loss of files, spool and rows agree again or say where they do not."""

import os
import shutil
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from ich_node.errors import StoreError
from ich_node.receive import spool
from ich_node.receive.audit import Found, audit_all, audit_recent
from ich_node.receive.intake import Intake, take
from ich_node.receive.room import Room
from ich_node.states import SeriesState
from ich_node.store import instances, retention
from ich_node.store.engine import DatabaseError, writing
from ich_node.store.tables import event, instance, series
from tests.support.peers import incoming, small_object
from tests.unit.receive.kept import rows


@pytest.fixture
def stored(intake: Intake) -> list[Path]:
    """Three objects, sent and stored."""
    for number in (1, 2, 3):
        assert take(intake, incoming(small_object(number))).status == 0x0000
    return sorted(intake.settings.spool_dir.rglob("*.dcm"))


def forget(intake: Intake, path: Path) -> None:
    """Drop the row of a file, as a crash before its commit would have."""
    with intake.engine.begin() as connection:
        connection.execute(sa.delete(instance).where(instance.c.path == str(path)))


def later() -> float:
    return time.time() + 60.0


def test_a_spool_in_order_is_left_alone(intake: Intake, stored: list[Path]) -> None:
    before = {path: path.stat().st_mtime_ns for path in stored}
    assert audit_all(intake, later()) == Found()
    assert {path: path.stat().st_mtime_ns for path in stored} == before
    assert rows(intake, event) == []


def test_a_spool_in_order_is_listed_and_no_file_of_it_asked_for(
    intake: Intake, stored: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twice a minute, over all that came within an hour."""
    asked, stat = [], Path.stat

    def ask(path: Path, **how: bool) -> os.stat_result:
        asked.append(path)
        return stat(path, **how)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "stat", ask)
        assert audit_recent(intake) == Found()
    assert set(asked).isdisjoint(stored)


def test_a_series_that_was_sent_with_two_studies_is_looked_for_in_the_folders_of_both(
    intake: Intake, stored: list[Path]
) -> None:
    other = small_object(4, StudyInstanceUID="1.2.99")
    assert take(intake, incoming(other)).status == 0x0000
    assert audit_all(intake, later()) == Found()
    [path] = set(intake.settings.spool_dir.rglob("*.dcm")) - set(stored)
    path.unlink()
    assert audit_recent(intake) == Found(gone=1)


def test_a_file_without_a_row_is_taken_in_with_its_bytes(
    intake: Intake, stored: list[Path]
) -> None:
    content = stored[1].read_bytes()
    [row] = [item for item in rows(intake, instance) if item["path"] == str(stored[1])]
    forget(intake, stored[1])
    assert audit_all(intake, later()) == Found(taken_in=1)
    [again] = [item for item in rows(intake, instance) if item["path"] == str(stored[1])]
    assert again | {"received_at": 0} == row | {"received_at": 0}
    assert stored[1].read_bytes() == content
    assert audit_all(intake, later()) == Found()


def test_a_lost_database_is_made_again_from_the_spool(intake: Intake, stored: list[Path]) -> None:
    for path in stored:
        forget(intake, path)
    assert audit_all(intake, later()) == Found(taken_in=3)
    assert len(rows(intake, instance)) == 3


def test_a_file_on_its_way_to_its_row_is_left_alone(intake: Intake, stored: list[Path]) -> None:
    """Its writer lives: between the rename and the commit there is a moment."""
    forget(intake, stored[0])
    assert audit_all(intake, before=time.time() - 60.0) == Found()
    assert audit_recent(intake) == Found()
    os.utime(stored[0], (time.time() - 60.0,) * 2)
    assert audit_recent(intake) == Found(taken_in=1)


def test_half_written_parts_go_and_fresh_ones_stay(intake: Intake, stored: list[Path]) -> None:
    old, fresh = (stored[0].with_name(f"9.{n}.dcm.part") for n in (1, 2))
    for part in (old, fresh):
        part.write_bytes(b"half")
    os.utime(old, (time.time() - 60.0,) * 2)
    assert audit_all(intake, before=time.time() - 30.0) == Found(removed=1)
    assert (old.exists(), fresh.exists()) == (False, True)


def test_half_written_parts_of_what_is_kept_apart_go_too(intake: Intake) -> None:
    parts = [
        intake.settings.storage.data_dir / folder / "1.2.3.1.0123456789abcdef.dcm.part"
        for folder in ("conflict", "header_changed")
    ]
    for part in parts:
        part.parent.mkdir()
        part.write_bytes(b"half")
        os.utime(part, (time.time() - 60.0,) * 2)
    assert audit_all(intake, before=time.time() - 30.0) == Found(removed=2)


def test_rows_without_their_files_are_shown_once_and_mended_by_sending_again(
    intake: Intake, stored: list[Path]
) -> None:
    """At once: no audit comes for a series that got no new image of late."""
    for path in stored[1:]:
        path.unlink()
    assert audit_recent(intake) == Found(gone=2)
    assert audit_recent(intake) == Found()
    [told] = rows(intake, event)
    assert told["kind"] == "files_missing"
    assert "1.2.3.2" in told["text"]
    for number, missing in ((2, [False, False, True]), (3, [False] * 3)):
        assert take(intake, incoming(small_object(number))).status == 0x0000
        assert [item["missing"] for item in rows(intake, instance)] == missing
    assert [item["kind"] for item in rows(intake, event)] == ["files_missing", "files_back"]
    assert audit_recent(intake) == Found()


def test_files_that_somebody_puts_back_are_found(intake: Intake, stored: list[Path]) -> None:
    content = stored[2].read_bytes()
    stored[2].unlink()
    assert audit_recent(intake) == Found(gone=1)
    stored[2].write_bytes(content)
    assert audit_recent(intake) == Found(back=1)
    assert [item["missing"] for item in rows(intake, instance)] == [False] * 3
    assert [item["kind"] for item in rows(intake, event)] == ["files_missing", "files_back"]


def test_images_deleted_after_their_time_are_not_missed_and_may_come_again(
    intake: Intake, stored: list[Path]
) -> None:
    with writing(intake.engine) as connection:
        connection.execute(sa.update(series).values(state=SeriesState.REFUSED))
    [held] = retention.originals(intake.engine, ())
    assert retention.delete_originals(intake.engine, (), held.study_instance_uid, "old") == 3
    assert not stored[0].parent.exists()
    assert audit_all(intake, later()) == Found()
    assert take(intake, incoming(small_object(3))).status == 0x0000
    assert [item["deleted_at"] is None for item in rows(intake, instance)] == [False, False, True]
    assert audit_all(intake, later()) == Found()
    assert [path.exists() for path in stored] == [False, False, True]


def test_a_deleted_image_whose_file_came_again_without_its_row_is_taken_in(
    intake: Intake, stored: list[Path]
) -> None:
    """A crash came between the two."""
    with writing(intake.engine) as connection:
        first = instance.c.path == str(stored[0])
        connection.execute(sa.update(instance).where(first).values(deleted_at=1.0))
    assert audit_all(intake, later()) == Found(taken_in=1)
    assert [item["deleted_at"] for item in rows(intake, instance)] == [None] * 3
    assert audit_all(intake, later()) == Found()


def test_a_whole_folder_that_is_gone_is_shown_once(intake: Intake, stored: list[Path]) -> None:
    shutil.rmtree(stored[0].parent)
    assert audit_all(intake, later()) == Found(gone=3)
    assert [item["kind"] for item in rows(intake, event)] == ["files_missing"]


def test_what_is_no_object_is_put_aside_and_does_not_stop_the_rest(
    intake: Intake, stored: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    alien = stored[0].with_name("9.9.dcm")
    alien.write_bytes(b"no DICOM at all")
    os.utime(alien, (0.0, 0.0))
    forget(intake, stored[1])
    assert audit_all(intake, later()) == Found(taken_in=1)
    aside = intake.settings.storage.data_dir / "unreadable" / "1.2" / "1.2.3" / "9.9.dcm"
    assert aside.read_bytes() == b"no DICOM at all"
    assert time.time() - aside.stat().st_mtime < 3600  # by which `[retention]` goes
    assert aside.parent.stat().st_mode & 0o777 == 0o700
    assert str(aside) in capsys.readouterr().out
    [told] = rows(intake, event)
    assert (told["kind"], told["study_instance_uid"]) == ("unreadable", "1.2")
    assert audit_all(intake, later()) == Found()


@pytest.mark.parametrize(
    "why",
    [
        *("below the limit", "no space for the row", "the driver finds none", "database locked"),
        *("no connection free", "an error of the disk"),
    ],
)
def test_what_cannot_be_entered_now_stays_where_it_lies_and_is_entered_later(
    intake: Intake, stored: list[Path], monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    """A full disk makes no object unreadable: each may be the only copy there is."""
    for path in stored:
        forget(intake, path)
    failing = {
        "below the limit": (Room, "holds", lambda _room, _size: False),
        "no space for the row": (instances, "_insert", raising(ROW_FULL)),
        "the driver finds none": (instances, "_insert", raising(ROW_FULL.orig)),
        "no connection free": (instances, "standing", raising(NO_CONNECTION)),
        "database locked": (instances, "standing", raising(LOCKED)),
        "an error of the disk": (spool, "read_file_meta_info", raising(OSError(5, "I/O error"))),
    }
    if why == "below the limit":  # and the file must be written anew, under another name
        for path in stored:
            path.rename(path.with_name(f"9{path.name}"))
    with monkeypatch.context() as patch:
        patch.setattr(*failing[why])
        with pytest.raises(StoreError, match="3 files"):
            audit_all(intake, later())
    assert not (intake.settings.storage.data_dir / "unreadable").exists()
    assert audit_all(intake, later()).taken_in == 3
    assert len(rows(intake, instance)) == 3


def test_taking_a_file_in_needs_no_room(
    intake: Intake, stored: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It lies there already: below the limit of free space it is entered all the same."""
    forget(intake, stored[0])
    before = stored[0].stat().st_ino
    monkeypatch.setattr(Room, "holds", lambda _room, _size: False)
    assert audit_all(intake, later()) == Found(taken_in=1)
    assert stored[0].stat().st_ino == before


ROW_FULL = DatabaseError("", None, sqlite3.OperationalError("database or disk is full"))
LOCKED = DatabaseError("", None, sqlite3.OperationalError("database is locked"))
NO_CONNECTION = sa.exc.TimeoutError("QueuePool limit of size 5 overflow 10 reached")


def raising(error: BaseException | None) -> Callable[..., None]:
    def fail(*_arguments: object) -> None:
        assert error is not None
        raise error

    return fail


def test_a_file_of_the_future_is_on_no_way_to_its_row(intake: Intake, stored: list[Path]) -> None:
    """The clock was set back since it was written."""
    forget(intake, stored[0])
    os.utime(stored[0], (time.time() + 3600.0,) * 2)
    assert audit_all(intake, before=time.time()) == Found(taken_in=1)
