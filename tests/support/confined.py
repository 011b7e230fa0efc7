"""Run a command with no other system calls than a systemd unit allows, without a running systemd.

`python -m tests.support.confined UNIT COMMAND ...`; what `SystemCallFilter=` does beyond that, and
the other settings of the unit, are not applied.
"""

from __future__ import annotations

import ctypes
import errno
import os
import subprocess
import sys
from pathlib import Path

_KEY = "SystemCallFilter="
# seccomp.h of libseccomp, on which systemd builds.
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_LIBRARY = "libseccomp.so.2"


def needs() -> str:
    """Say what is missing for it here; empty where nothing is."""
    try:
        ctypes.CDLL(_LIBRARY)
    except OSError:
        return f"{_LIBRARY} is missing: install the Debian package libseccomp2"
    return ""


def allowed(unit: Path) -> set[str]:
    """Return the names of the system calls that a unit allows (systemd.exec(5))."""
    found = _members("@default")
    for line in unit.read_text().splitlines():
        if line.startswith(_KEY):
            value = line.removeprefix(_KEY)
            named = set[str]().union(*(_members(one) for one in value.lstrip("~").split()))
            found = found - named if value.startswith("~") else found | named
    return found


def _members(name: str) -> set[str]:
    """Return the calls of a set, with those of the sets in it."""
    if not name.startswith("@"):
        return {name}
    told = subprocess.run(
        ["systemd-analyze", "syscall-filter", "--no-pager", name],
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [line.strip() for line in told.stdout.splitlines()[1:]]
    return set[str]().union(*(_members(one) for one in lines if one and not one.startswith("#")))


def confine(names: set[str]) -> None:
    """Let this process and those that it starts make no other system calls: they fail by EPERM.

    Raises
    ------
    OSError
        The system does not do that.
    """
    library = ctypes.CDLL(_LIBRARY)
    library.seccomp_init.restype = ctypes.c_void_p
    held = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(_ERRNO | errno.EPERM)))
    for name in names:
        number = library.seccomp_syscall_resolve_name(name.encode())
        if number >= 0:  # else it is none of this machine's
            library.seccomp_rule_add(held, ctypes.c_uint32(_ALLOW), number, 0)
    failed = library.seccomp_load(held)
    if failed:
        raise OSError(-failed, os.strerror(-failed))


if __name__ == "__main__":
    confine(allowed(Path(sys.argv[1])))
    sys.exit(subprocess.call(sys.argv[2:]))
