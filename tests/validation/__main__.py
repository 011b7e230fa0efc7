"""Judge every object of varied studies by dciodvfy, dcentvfy and PixelMed's validator of SR.

python -m tests.validation [--out out/validation] [--without-pixelmed] [STUDY ...]

Ends with 1 where dciodvfy or dcentvfy has an error, PixelMed has one about a positive report, or a
study did not come out as it should; with 2, before anything is built, where one of them is missing.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from ich_node import logs
from tests.conftest import SHARED
from tests.support.validators import missing_validators
from tests.validation.checking import REPAIRED, Built, Tally, build, judge, why
from tests.validation.studies import POSITIVE, STUDIES, real_studies

_NO_PIXELMED = "PixelMed: left out, as asked"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="validation", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("out/validation"))
    parser.add_argument("studies", nargs="*", metavar="STUDY", help="only those of these names")
    parser.add_argument("--without-pixelmed", action="store_true", help="leave its validator out")
    asked = parser.parse_args(arguments)
    if missing := missing_validators(with_pixelmed=not asked.without_pixelmed):
        print("\n".join(missing), file=sys.stderr)
        return 2
    every = [*STUDIES, *real_studies(SHARED / "data")]
    chosen = [study for study in every if not asked.studies or study.name in asked.studies]
    shutil.rmtree(asked.out, ignore_errors=True)
    logs.configure("validation", logging.ERROR)
    began, tally, built = time.monotonic(), Tally(), []
    for seed, study in enumerate(chosen):
        one = build(study, asked.out / f"{seed:02d}", seed)
        utf8 = asked.out / f"{seed:02d}" / "utf-8"
        judge(one, tally, utf8, with_pixelmed=not asked.without_pixelmed)
        built.append(one)
        forms = ", ".join(f"{n} {form}" for form, n in Counter(f for f, _ in one.objects).items())
        print(f"{seed + 1:3} of {len(chosen)}: {study.name}: {forms}", file=sys.stderr, flush=True)
    print(report(built, tally))
    print(f"{time.monotonic() - began:.0f} s; objects and sources are in {asked.out}")
    return int(bool(faults(built, tally)))


def report(built: Sequence[Built], tally: Tally) -> str:
    """Return the counts as text: objects by form, errors and warnings by tool, then their texts."""
    objects = Counter(form for one in built for form, _ in one.objects)
    counts = [
        (tool, form, shown, tally.count("Error", tool, form), tally.count("Warning", tool, form))
        for (tool, form), shown in sorted(tally.shown.items())
    ]
    lines = [
        f"studies: {len(built)}; objects: {objects.total()}",
        "",
        *_table(("tool", "of", "shown", "errors", "warnings"), counts),
        "",
        *_texts(tally),
        "",
        *([] if any(tool == "PixelMed" for tool, _ in tally.shown) else [_NO_PIXELMED]),
        *faults(built, tally),
    ]
    return "\n".join(lines)


def _texts(tally: Tally) -> list[str]:
    """Return each text once, with what it was said of and, for a warning, why it stands."""
    times: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for (tool, form, text), count in tally.said.items():
        times[tool, text][form] += count
    lines = []
    for (tool, text), forms in sorted(times.items()):
        reason = why(text) if text.startswith("Warning") else ""
        lines.append(f"{forms.total():5}  {tool}  {text}{f' ({reason})' if reason else ''}")
        lines.append(f"       {'; '.join(f'{form}: {n}' for form, n in sorted(forms.items()))}")
    return lines


def faults(built: Iterable[Built], tally: Tally) -> list[str]:
    """Return what must not be."""
    unexpected = [
        f"{one.study.name}: expected {one.study.expected}, came {one.outcome}"
        for one in built
        if one.outcome != one.study.expected
    ]
    silent = [
        f"{one.study.name}: no SR"
        for one in built
        if not any("sr, " in form for form, _ in one.objects)
    ]
    entities = [text for text in tally.errors("dcentvfy") if not text.startswith(REPAIRED)]
    of_positive = [text for text in tally.errors("PixelMed") if f"sr, {POSITIVE}:" in text]
    return [*unexpected, *silent, *tally.errors("dciodvfy"), *entities, *of_positive]


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    cells = [list(head), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(cell) for cell in column) for column in zip(*cells, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]


if __name__ == "__main__":
    sys.exit(main())
