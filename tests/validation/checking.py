"""Build every object of a study through the pipeline, and have each judged by other people's tools.

A complaint is counted by its text, without the names and numbers that differ from file to file.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import pydicom

from ich_node.codes import OWN_SCHEME
from ich_node.pipeline.folder import analyze_folder
from ich_node.records import Wanted
from ich_node.settings import Destination
from tests.support import validators
from tests.validation.studies import NEGATIVE, NO_MASK, NOT_ANALYSED, POSITIVE, Study

# Every kind of object that a destination may ask for.
KINDS = get_args(get_args(Destination.model_fields["outputs"].annotation)[0])
REPAIRED = "study, malformed values"


@dataclass(frozen=True)
class Built:
    """What came of a study: its outcome, its own files, and the objects by form.

    A form is the kind of an object (``seg``) and, for reports, which of them it is.
    """

    study: Study
    outcome: str
    source: tuple[Path, ...]
    objects: tuple[tuple[str, Path], ...]


@dataclass
class Tally:
    """What each tool was shown, by (tool, form), and what it said, by (tool, form, text)."""

    shown: Counter[tuple[str, str]] = field(default_factory=Counter)
    said: Counter[tuple[str, str, str]] = field(default_factory=Counter)

    def add(self, tool: str, form: str, complaints: Sequence[str]) -> None:
        """Count one object, and what was said of it."""
        self.shown[tool, form] += 1
        self.said.update((tool, form, plain(line)) for line in complaints)

    def count(self, severity: str, tool: str, form: str) -> int:
        """Return how often a tool complained of objects of a form."""
        return sum(
            count
            for (by, of, text), count in self.said.items()
            if (by, of) == (tool, form) and text.startswith(severity)
        )

    def errors(self, tool: str) -> list[str]:
        """Return the texts of a tool's errors, with their forms."""
        return sorted(
            f"{form}: {text}"
            for by, form, text in self.said
            if by == tool and text.startswith("Error")
        )


def build(study: Study, folder: Path, seed: int = 0) -> Built:
    """Write a study, analyse it, and build objects of every kind that is there."""
    study.save(folder / "in", seed)
    out = folder / "out"
    wanted = Wanted(KINDS, enhanced_sr=study.enhanced_sr)
    network, silent = study.network, lambda _stage: None
    told = analyze_folder(folder / "in", out, network, silent, wanted=wanted)
    came = outcome_of(told)
    paths = sorted(out.rglob("*.dcm"))
    return Built(
        study,
        came,
        tuple(sorted((folder / "in").rglob("*.dcm")) or sorted((folder / "in").iterdir())),
        tuple((_form(path, study, came), path) for path in paths),
    )


def outcome_of(told: dict[str, Any]) -> str:
    """Return which of the four outcomes a `result.json` states."""
    if told["status"] != "analysed":
        return NOT_ANALYSED if told["status"] == "refused" else f"failed: {told['reason_text']}"
    found = told["findings"]["any"]
    if not found["present"]:
        return NEGATIVE
    return POSITIVE if found["volume_ml"] else NO_MASK


def _form(path: Path, study: Study, outcome: str) -> str:
    kind = re.sub(r"^\d+-|-\d+$", "", path.stem)
    if kind != "sr":
        return kind
    return f"{'enhanced ' if study.enhanced_sr else ''}sr, {outcome}"


def judge(built: Built, tally: Tally, folder: Path, *, with_pixelmed: bool) -> None:
    """Show every object to dciodvfy, the study to dcentvfy, and reports to PixelMed.

    What dcentvfy says of the study as it was sent is not counted. It compares bytes, so the study
    is shown to it in our own character set (in ``folder``); and where a value was malformed, it
    cannot be equal and sound at once: that is counted by itself.
    """
    for form, path in built.objects:
        tally.add("dciodvfy", form, validators.dciodvfy(path))
        if with_pixelmed and path.stem == "sr":
            tally.add("PixelMed", form, validators.pixelmed(path))
    source = _in_utf8(built.source, folder)
    malformed = {
        found[1]
        for line in validators.dciodvfy(source[0])
        if (found := re.match(r"Error: (\w+) - Value invalid", plain(line)))
    }
    before = set(validators.dcentvfy(source))
    both = validators.dcentvfy([*source, *(path for _, path in built.objects)])
    after = [line for line in both if line not in before]
    repaired = [line for line in after if any(f"Element=<{word}>" in line for word in malformed)]
    tally.add("dcentvfy", "study", [line for line in after if line not in repaired])
    if repaired:
        tally.add("dcentvfy", REPAIRED, repaired)


def _in_utf8(paths: Sequence[Path], folder: Path) -> list[Path]:
    """Return files of the same text in UTF-8: copies, where they have another encoding."""
    first = pydicom.dcmread(paths[0], stop_before_pixels=True)
    if first.get("SpecificCharacterSet", "ISO_IR 192") == "ISO_IR 192":
        return list(paths)
    folder.mkdir()
    copies = []
    for path in paths:
        dataset = pydicom.dcmread(path)
        dataset.decode()
        dataset.SpecificCharacterSet = "ISO_IR 192"
        dataset.save_as(folder / path.name)
        copies.append(folder / path.name)
    return copies


_PLAIN: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
    (r"^(Error|Warning)\s*[-:]\s*", r"\1: "),
    (r"Template \d+ .*?: (?=[\d.]+: /)", ""),  # PixelMed: the row; what follows names the item
    (r"(?<=: )[\d.]+: /(?:.*/)?([A-Z0-9]+) \([^,]*,[^,]*,(\"[^\"]*\")\)", r"\1 \2"),
    (r"</(?:[^>]*/)?(\w+)\([0-9a-f]{4},[0-9a-f]{4}\)[^>]*>", r"\1"),  # dciodvfy: the path
    (r"<[^<>]*/[^<>]*>", "<file>"),
    (r"\b\d+(\.\d+){3,}\b", "<uid>"),
)


def plain(line: str) -> str:
    """Return a complaint without the places and names that differ from file to file."""
    for pattern, by in _PLAIN:
        line = re.sub(pattern, by, line)
    return line


# Why a warning stands, by a part of its text. One without an entry is new, and should be read.
_WHY = (
    (
        "DeviceUID - Attribute is not present",
        "Type 3 of this macro today, and asked for by IHE AIR",
    ),
    (f"defined term = <{OWN_SCHEME}>", "a private coding scheme, and declared as one"),
    ("defined term = <99LOCAL>", "a private coding scheme of the source, copied"),
    ("needed to build DICOMDIR", "Type 2, and empty in the source"),
    ("Value dubious for this VR [PN]", "copied from the source"),
    ("Different information entities", "the attribute belongs to other entities in CT than in SR"),
    ("Attribute present in one instance but not the other", "Type 2: the source lacks it"),
    ("Attribute is empty (zero length) in one", "Type 2, or what the source left empty"),
    ("Content Item not in template", "the template is extensible"),
)


def why(text: str) -> str:
    """Return why a warning stands; empty where nobody has looked at it yet."""
    return next((reason for part, reason in _WHY if part in text), "")
