"""Who the patients of the tests are: every log line of the suite is held against them.

Whoever writes or sends a data set registers it: what identifies its patient is looked for in what
is said from then on, by this process and by those that it starts.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from pydicom import Dataset

from ich_node.assemble.source import text

_IDENTIFYING = ("PatientName", "PatientID", "PatientBirthDate")
# A shorter value is a word or a number that says nothing; a longer one is damage.
_SHORTEST, _LONGEST = 5, 500
_registered: set[str] = set()
# No part of a word, of a longer number or of a UID.
_WHOLE = r"(?<!\w)(?<!\w[.]){}(?!\w)(?![.]\w)"
# Beside those: the real heads' patients, what most of the tests send, and parts of a name.
_PATIENTS = re.compile(
    r"(?i:SIMULATED[-^]\w+|DOE\^JANE|PATIENT-77|MUELLER|ANOTHER\^ONE|HONG\^GILDONG|BUC\^)"
    r"|CORRECTED|QMNx85rKkkg|\bPLASTIC\b|(?<![\d.])(?:19510203|20160101|19500101)(?!\d)"
)
# What other programs, or a test's own tool, write under such a name.
_OF_OTHERS = ("orthanc.log",)


def register(dataset: Dataset) -> None:
    """Take note of whose data set is written or sent."""
    for keyword in _IDENTIFYING:
        value = text(dataset, keyword)
        _registered.update(
            part
            for part in {value, *value.split("=")}
            if _SHORTEST <= len(part) <= _LONGEST and not _PATIENTS.fullmatch(part)
        )


def named(said: str) -> list[str]:
    """Return the patients that a text names: whole values, as they are or as JSON has them."""
    found = set(_PATIENTS.findall(said))
    for value in _registered:
        for form in {value, json.dumps(value)[1:-1]}:
            if form in said and re.search(_WHOLE.format(re.escape(form)), said):
                found.add(value)
    return sorted(found)


def heard(done: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    """Say again what a command said on its standard error: there the watch over a test sees it."""
    sys.stderr.write(done.stderr)
    return done


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
