"""CSV files of data sets: rows with their line numbers, and errors that name line and column."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from training.real.records import DataError


def rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, Mapping[str, str]]]:
    """Read a CSV file with a header line.

    Parameters
    ----------
    path
        UTF-8, with or without a byte order mark.
    columns
        Those that must be there; others are let be.

    Yields
    ------
    tuple
        Line number, counted from 1 with the header, and the values by column, stripped.

    Raises
    ------
    DataError
        The file is not there, lacks a column, or has a row that is too short.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            header = [name.strip() for name in next(reader, [])]
            _check_columns(path, header, columns)
            for values in reader:
                if any(values):
                    yield reader.line_num, _row(path, reader.line_num, header, values)
    except FileNotFoundError as error:
        raise DataError(
            f"{path} is not there; give the folder as the data set was unpacked"
        ) from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as CSV ({error}); download it again") from error


def binary(path: Path, line: int, values: Mapping[str, str], column: str) -> int:
    """Return a 0 or 1 of a row.

    Raises
    ------
    DataError
        It is something else.
    """
    if values[column] not in ("0", "1"):
        raise DataError(
            f"{path.name} line {line}, column {column}: {values[column]!r}, expected 0 or 1"
        )
    return int(values[column])


def whole(path: Path, line: int, values: Mapping[str, str], column: str) -> int:
    """Return a whole number of a row that counts from 1.

    Raises
    ------
    DataError
        It is something else.
    """
    if not values[column].isdecimal() or int(values[column]) < 1:
        raise DataError(
            f"{path.name} line {line}, column {column}: {values[column]!r}, expected a whole "
            "number from 1 on"
        )
    return int(values[column])


def _check_columns(path: Path, header: Sequence[str], columns: Sequence[str]) -> None:
    missing = [name for name in columns if name not in header]
    if missing:
        raise DataError(
            f"{path.name} has no column {', '.join(missing)}; it has {', '.join(header) or 'none'}"
        )


def _row(path: Path, line: int, header: Sequence[str], values: Sequence[str]) -> dict[str, str]:
    if len(values) < len(header):
        raise DataError(
            f"{path.name} line {line} has {len(values)} values, expected {len(header)}; "
            "download it again"
        )
    return {name: value.strip() for name, value in zip(header, values, strict=False)}
