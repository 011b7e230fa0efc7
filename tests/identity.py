"""Who the patients of the tests are: every log line of the suite is held against them."""

import re
from collections.abc import Iterable
from pathlib import Path

# Names, numbers and dates of birth that the tests send; what a node says may hold none of them.
_PATIENTS = re.compile(r"SIMULATED[-^]\w+|DOE\^JANE|PATIENT-77|19510203", re.IGNORECASE)
# What a node, or a process of it, writes to.
_LOGS = ("node.log", "receiver.log")


def named(text: str) -> list[str]:
    """Return the patients that a text names."""
    return sorted(set(_PATIENTS.findall(text)))


def named_in_logs(folder: Path) -> list[str]:
    """Return a line for each log below a folder that names a patient."""
    logs: Iterable[Path] = (path for name in _LOGS for path in folder.rglob(name))
    found = {path: named(path.read_text(errors="replace")) for path in logs if path.is_file()}
    return [f"{path} names {', '.join(names)}" for path, names in sorted(found.items()) if names]
