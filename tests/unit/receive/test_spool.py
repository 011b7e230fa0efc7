"""A file under its own name is whole and synced; a failure leaves nothing."""

import os
import stat
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ich_node.receive import spool
from ich_node.receive.room import Room
from ich_node.settings import Storage


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What reaches the disk, in order."""
    done: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def note_fsync(descriptor: int) -> None:
        done.append(f"fsync {Path(f'/proc/self/fd/{descriptor}').readlink().name}")
        fsync(descriptor)

    def note_rename(path: Path, target: Path) -> Path:
        done.append(f"rename {path.name} {target.name}")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(Path, "rename", note_rename)
    return done


def test_bytes_are_synced_before_the_name_and_the_name_before_the_return(
    tmp_path: Path, steps: list[str]
) -> None:
    (tmp_path / "series").mkdir()
    spool.write(tmp_path / "series" / "1.dcm", b"one", b"two")
    assert steps == ["fsync 1.dcm.part", "rename 1.dcm.part 1.dcm", "fsync series"]
    assert (tmp_path / "series" / "1.dcm").read_bytes() == b"onetwo"


def test_the_digest_is_that_of_the_data_set_alone(tmp_path: Path) -> None:
    assert spool.write(tmp_path / "1.dcm", b"meta", b"data") == sha256(b"data").hexdigest()


def test_a_file_is_synced_also_where_the_system_cannot_begin_before(
    tmp_path: Path, steps: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "_sync_file_range", None)
    spool.write(tmp_path / "1.dcm", b"", b"one")
    assert steps[0] == "fsync 1.dcm.part"


def test_a_new_folder_is_synced_in_its_parent(tmp_path: Path, steps: list[str]) -> None:
    spool.write(tmp_path / "study" / "series" / "1.dcm", b"", b"one")
    assert steps[:2] == [f"fsync {tmp_path.name}", "fsync study"]


def test_files_and_folders_are_for_their_owner_alone(tmp_path: Path) -> None:
    spool.write(tmp_path / "study" / "series" / "1.dcm", b"", b"one")
    modes = {
        path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "study").rglob("*")
    }
    assert modes == {"series": 0o700, "1.dcm": 0o600}
    assert stat.S_IMODE((tmp_path / "study").stat().st_mode) == 0o700


@pytest.mark.parametrize("failing", ["fsync", "rename"])
def test_a_failure_leaves_neither_file_nor_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    def fail(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(*((os, "fsync") if failing == "fsync" else (Path, "rename")), fail)
    with pytest.raises(OSError, match="No space left"):
        spool.write(tmp_path / "1.dcm", b"", b"one")
    assert list(tmp_path.iterdir()) == []


def test_the_part_of_an_earlier_crash_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "1.dcm.part").write_bytes(b"much longer than what comes now")
    spool.write(tmp_path / "1.dcm", b"", b"one")
    assert [path.name for path in tmp_path.iterdir()] == ["1.dcm"]
    assert (tmp_path / "1.dcm").read_bytes() == b"one"


@pytest.mark.parametrize("value", ["1", "1.2.840.10008", "2.25." + "9" * 39, "0.0", "1" * 64])
def test_digits_and_dots_are_a_uid(value: str) -> None:
    assert spool.is_uid(value)


@pytest.mark.parametrize(
    "value", ["", ".", "..", "1..2", ".1", "1/2", "1\\2", "1.2 ", "1.2\n", "a", "1" * 65, "١.٢"]
)
def test_what_could_leave_its_folder_is_no_uid(value: str) -> None:
    assert not spool.is_uid(value)


@given(st.text(max_size=80))
def test_a_uid_is_never_a_way_out_of_the_spool(value: str) -> None:
    spool_dir = Path("/spool")
    if spool.is_uid(value):
        assert (spool_dir / value).resolve().parent == spool_dir
        assert len(value) <= 64


def test_what_lies_on_the_disk_is_read_without_being_in_memory_whole(tmp_path: Path) -> None:
    """Sixty-four objects of 12 MB at once would be more than the receiver may take."""
    room = Room(Storage(data_dir=tmp_path, min_free_gb=0))
    with spool.scratch(tmp_path, room, 12 << 20) as held:
        held[:] = os.urandom(12 << 20)
        before = resident(tmp_path)
        found = spool.digest(memoryview(held)[: 10 << 20])
        assert resident(tmp_path) <= 1 << 20 < 12 << 20 == before
        assert found == sha256(held[: 10 << 20]).hexdigest()


def resident(folder: Path) -> int:
    """Bytes of mapped files of a folder that are in the memory of this process (proc(5))."""
    found, within = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split()[0]:
            within = str(folder) in line
        elif within and line.startswith("Rss:"):
            found += 1024 * int(line.split()[1])
    return found
