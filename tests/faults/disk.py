"""What stands between a node and its disk in tests (`disk.c`): built, driven, played back."""

from __future__ import annotations

import errno
import mmap
import os
import random
import shutil
import struct
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_SOURCE = Path(__file__).with_name("disk.c")
_STATE = struct.Struct("<7Q")
_COUNT, _FAIL_AT, _FAIL_NS, _UNTIL_NS, _HITS, _ERROR, _NO_ROOM = range(7)
_HEAD = struct.Struct("<BQQII")
_SECTOR = 512

OPEN, WRITE, TRUNCATE, SYNC_BEGINS, SYNC_ENDS, RENAME, UNLINK, MKDIR, RMDIR, MARK = range(1, 11)


def needs() -> str:
    """Say what is missing for it here; empty where nothing is."""
    return "" if shutil.which("gcc") else "gcc is missing: install the Debian package gcc"


@dataclass(frozen=True)
class Disk:
    """A layer over one folder, for the processes that are started with its `environment`."""

    root: Path
    library: Path
    state: Path
    log: Path | None

    @property
    def environment(self) -> Mapping[str, str]:
        """What a process below the layer is started with."""
        given = {
            "LD_PRELOAD": str(self.library),
            "SHIM_ROOT": str(self.root),
            "SHIM_STATE": str(self.state),
        }
        return given | ({"SHIM_LOG": str(self.log)} if self.log else {})

    @property
    def changes(self) -> int:
        """How many changes were made or tried so far."""
        return self._get(_COUNT)

    @property
    def failed(self) -> int:
        """How many of them failed."""
        return self._get(_HITS)

    @property
    def is_failing(self) -> bool:
        return time.monotonic_ns() < self._get(_UNTIL_NS)

    @property
    def waits(self) -> bool:
        """Tell whether a time of failures is set and has not begun."""
        return self._get(_FAIL_AT) > 0

    def fail(
        self, after: int, seconds: float, error: int = errno.ENOSPC, *, seen: bool = True
    ) -> None:
        """Let the change that comes after so many others fail, and all for some seconds from it.

        Parameters
        ----------
        after
            0: at once.
        seen
            The disk says that it has no room, where it is asked.
        """
        nanoseconds = int(seconds * 1e9)
        self._set(_ERROR, error)
        self._set(_NO_ROOM, int(seen))
        self._set(_FAIL_NS, nanoseconds)
        if after == 0:
            self._set(_UNTIL_NS, time.monotonic_ns() + nanoseconds)
        else:
            self._set(_FAIL_AT, self.changes + after)

    def fall_short(self, seconds: float) -> None:
        """Let the disk say that it has no room, and everything that is written succeed."""
        self.fail(0, seconds, 0)

    def mend(self) -> None:
        """Let nothing fail any more."""
        self._set(_FAIL_AT, 0)
        self._set(_UNTIL_NS, 0)

    def mark(self, text: str) -> None:
        """Write down that the world outside has learnt something."""
        assert self.log is not None
        said = text.encode()
        descriptor = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(descriptor, _HEAD.pack(MARK, 0, 0, len(said), 0) + said)
        os.close(descriptor)

    def _get(self, place: int) -> int:
        return int(_STATE.unpack(self.state.read_bytes()[: _STATE.size])[place])

    def _set(self, place: int, value: int) -> None:
        with self.state.open("r+b") as file, mmap.mmap(file.fileno(), 4096) as shared:
            struct.pack_into("<Q", shared, 8 * place, value)


def lay_over(root: Path, work: Path, *, recording: bool = False) -> Disk:
    """Build the layer over a folder; its own files lie in `work`, elsewhere."""
    work.mkdir(parents=True, exist_ok=True)
    library, state = work / "disk.so", work / "state"
    command = ["gcc", "-O1", "-shared", "-fPIC", "-o", str(library), str(_SOURCE), "-ldl"]
    subprocess.run(command, check=True)
    state.write_bytes(bytes(4096))
    return Disk(root, library, state, work / "log" if recording else None)


@dataclass(frozen=True)
class Record:
    """One change, or one mark, as it was written down."""

    kind: int
    inode: int
    at: int
    first: bytes
    second: bytes


def read_log(path: Path) -> list[Record]:
    """Return every record in order."""
    return list(_records(path.read_bytes()))


def _records(data: bytes) -> Iterator[Record]:
    at = 0
    while at < len(data):
        kind, inode, where, one, two = _HEAD.unpack_from(data, at)
        begins = at + _HEAD.size
        middle, at = begins + one, begins + one + two
        yield Record(kind, inode, where, data[begins:middle], data[middle:at])


@dataclass(eq=False)
class _File:
    """Bytes that last, and changes that do not yet: (number, offset, data; None: cut there)."""

    lasting: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, int, bytes | None]] = field(default_factory=list)


@dataclass(eq=False)
class _Folder:
    """Entries as the processes see them, and those of them that last."""

    seen: dict[str, _File | _Folder] = field(default_factory=dict)
    lasting: dict[str, _File | _Folder] = field(default_factory=dict)


@dataclass(frozen=True)
class _Entry:
    """A change of entries, which lasts whole or not at all: (folder, name, node; None: gone)."""

    number: int
    changes: tuple[tuple[_Folder, str, _File | _Folder | None], ...]

    @property
    def folders(self) -> set[_Folder]:
        return {folder for folder, _, _ in self.changes}


class Playback:
    """A disk that is brought, record by record, to a moment; what was not synced may not last.

    A file's bytes last by its own sync, its name by that of its folder. Changes of one folder last
    in their order.
    """

    def __init__(self, root: Path, inode: int) -> None:
        self._root = root
        self._top = _Folder()
        self._by_inode: dict[int, _File | _Folder] = {inode: self._top}
        self._entries: list[_Entry] = []
        self._syncs: dict[int, tuple[_File | _Folder, int]] = {}
        self._number = 0

    def play(self, records: Sequence[Record]) -> None:
        """Go on by these records."""
        for record in records:
            self._number += 1
            if record.kind in (WRITE, TRUNCATE):
                self._change(record)
            elif record.kind in (SYNC_BEGINS, SYNC_ENDS):
                self._sync(record)
            elif record.kind != MARK:
                self._enter(record)

    def _change(self, record: Record) -> None:
        file = self._by_inode.get(record.inode)
        if isinstance(file, _File):
            data = record.first if record.kind == WRITE else None
            file.pending.append((self._number, record.at, data))

    def _sync(self, record: Record) -> None:
        if record.kind == SYNC_BEGINS:
            node = self._by_inode.get(record.inode)
            if node is not None:
                self._syncs[record.at] = (node, self._number)
            return
        node, until = self._syncs.pop(record.at, (None, 0))
        if isinstance(node, _File):
            _settle(node, [each for each in node.pending if each[0] <= until])
            node.pending = [each for each in node.pending if each[0] > until]
        elif node is not None:
            asked = [one for one in self._entries if node in one.folders and one.number <= until]
            self._last(self._with_earlier(asked))

    def _enter(self, record: Record) -> None:
        folder, name = self._place(record.first)
        made: _File | _Folder | None = None
        if record.kind in (OPEN, MKDIR):
            made = _File() if record.kind == OPEN else _Folder()
            self._by_inode[record.inode] = made
        elif record.kind == RENAME:
            to, called = self._place(record.second)
            changes = ((folder, name, None), (to, called, folder.seen[name]))
            self._note(changes)
            return
        self._note(((folder, name, made),))

    def _note(self, changes: tuple[tuple[_Folder, str, _File | _Folder | None], ...]) -> None:
        self._entries.append(_Entry(self._number, changes))
        for folder, name, node in changes:
            _put(folder.seen, name, node)

    def _place(self, path: bytes) -> tuple[_Folder, str]:
        *above, name = Path(path.decode()).relative_to(self._root).parts
        folder = self._top
        for part in above:
            found = folder.seen[part]
            assert isinstance(found, _Folder)
            folder = found
        return folder, name

    def _with_earlier(self, chosen: Sequence[_Entry]) -> list[_Entry]:
        """Add to changes of entries those before them in the same folders."""
        wanted, needed, folders = set(chosen), [], set[_Folder]()
        for one in reversed(self._entries):
            if one in wanted or one.folders & folders:
                needed.append(one)
                folders |= one.folders
        return needed[::-1]

    def _last(self, entries: Sequence[_Entry]) -> None:
        for one in entries:
            for folder, name, node in one.changes:
                _put(folder.lasting, name, node)
        done = set(entries)
        self._entries = [one for one in self._entries if one not in done]

    def cut(self, into: Path, chance: random.Random) -> None:
        """Cut the power: write what is left into a folder. Nothing can be played after it."""
        share = chance.choice((0.0, 0.0, 0.3, 1.0))  # of what was not synced and lasts all the same
        lucky = [one for one in self._entries if chance.random() < share]
        self._last(self._with_earlier(lucky))
        _write(self._top, into, share, chance)


def _put(entries: dict[str, _File | _Folder], name: str, node: _File | _Folder | None) -> None:
    if node is None:
        entries.pop(name, None)
    else:
        entries[name] = node


def _settle(file: _File, changes: Sequence[tuple[int, int, bytes | None]]) -> None:
    for _, at, data in changes:
        if len(file.lasting) < at:
            file.lasting.extend(bytes(at - len(file.lasting)))
        if data is None:
            del file.lasting[at:]
        else:
            file.lasting[at : at + len(data)] = data


def _write(folder: _Folder, into: Path, share: float, chance: random.Random) -> None:
    into.mkdir(mode=0o700, exist_ok=True)
    for name, node in folder.lasting.items():
        if isinstance(node, _Folder):
            _write(node, into / name, share, chance)
        elif not name.endswith("-shm"):  # SQLite makes it anew
            _settle(node, [_torn(one, chance) for one in node.pending if chance.random() < share])
            (into / name).write_bytes(node.lasting)


def _torn(
    change: tuple[int, int, bytes | None], chance: random.Random
) -> tuple[int, int, bytes | None]:
    """Return a change, or the whole sectors that were written of it."""
    number, at, data = change
    if data is None or chance.random() > 0.2:
        return change
    return number, at, data[: _SECTOR * chance.randrange(len(data) // _SECTOR + 1)]
