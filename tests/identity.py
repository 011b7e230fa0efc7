"""Who the patients of the tests are: every log line of the suite is held against them."""

import re
from collections.abc import Iterable
from pathlib import Path

# Names, numbers and dates of birth that the tests send, the real heads' among them; what a node
# says may hold none of them.
_PATIENTS = re.compile(
    r"(?i:SIMULATED[-^]\w+|DOE\^JANE|PATIENT-77|MUELLER|ANOTHER\^ONE|HONG\^GILDONG|BUC\^)"
    r"|CORRECTED|QMNx85rKkkg|\bPLASTIC\b|(?<![\d.])(?:19510203|20160101|19500101)(?!\d)"
)
# What other programs, or a test's own tool, write under such a name.
_OF_OTHERS = ("orthanc.log",)


def named(text: str) -> list[str]:
    """Return the patients that a text names."""
    return sorted(set(_PATIENTS.findall(text)))


def named_in_logs(folder: Path) -> list[str]:
    """Return a line for each log of a node, below a folder, that names a patient."""
    logs: Iterable[Path] = (
        path
        for pattern in ("*.log", "*.out")
        for path in folder.rglob(pattern)
        if path.name not in _OF_OTHERS
    )
    found = {path: named(path.read_text(errors="replace")) for path in logs if path.is_file()}
    return [f"{path} names {', '.join(names)}" for path, names in sorted(found.items()) if names]
