"""Rows of a measurement on disk, so that a report can be made again without measuring again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any


def write_rows(path: Path, rows: Sequence[Any]) -> None:
    """Write frozen records as JSON, one a line."""
    path.write_text("".join(json.dumps(asdict(row)) + "\n" for row in rows), encoding="utf-8")


def read_rows(path: Path, kind: type[Any]) -> tuple[Any, ...]:
    """Read what `write_rows` wrote.

    Raises
    ------
    ValueError
        A line is no such record.
    """
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            stated = json.loads(line)
            rows.append(kind(**{key: _frozen(value) for key, value in stated.items()}))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}, line {number}: {error}; measure again") from error
    return tuple(rows)


def _frozen(value: object) -> object:
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value
