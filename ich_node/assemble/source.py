"""The images as they were sent: reading files, and reading values out of headers.

A text about a file names it by its last path component only, and never holds a value that could
tell who the patient is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pydicom
from pydicom import Dataset
from pydicom.datadict import dictionary_description
from pydicom.errors import InvalidDicomError
from pydicom.tag import Tag

from ich_node import bounds
from ich_node.errors import Reason, SeriesRefused, of_the_machine

T = TypeVar("T")

# Of all files of a series: 1000 in each of 1000. As objects they take a few hundred bytes each.
MOST_ELEMENTS = 1 << 20
# And bytes: twice what pixels of the largest volume have.
_MOST_BYTES = 1 << 30


@dataclass(frozen=True, eq=False)
class SourceImage:
    """One instance with its pixels still encoded; ``name`` is the file's name for error texts."""

    name: str
    dataset: Dataset

    @property
    def uid(self) -> str:
        """SOP Instance UID, or the empty string."""
        return text(self.dataset, "SOPInstanceUID")


def read(paths: Sequence[Path]) -> list[SourceImage]:
    """Read files in the order of their paths, whatever order they are given in.

    Raises
    ------
    SeriesRefused
        UNREADABLE where a file is not DICOM or breaks off, or has more elements than can be read;
        TOO_LARGE. All files are looked at before one is read.
    OSError
        The machine wants mending: it says nothing of the files.
    """
    paths = sorted(paths)
    _check_extents(paths)
    return [SourceImage(path.name, _of(path, _read)) for path in paths]


def _check_extents(paths: Sequence[Path]) -> None:
    elements = size = 0
    for number, path in enumerate(paths, start=1):
        extent = _of(path, bounds.check_file)
        elements, size = elements + extent.elements, size + extent.size
        so_far = f"{number} of {len(paths)} files have"
        if elements > MOST_ELEMENTS:
            raise SeriesRefused(
                Reason.UNREADABLE,
                f"{so_far} {elements} elements already, at most {MOST_ELEMENTS} are read; "
                "send the series without those that it does not need",
            )
        if size > _MOST_BYTES:
            raise SeriesRefused(
                Reason.TOO_LARGE,
                f"{so_far} {size >> 20} MB already, not deflated, at most {_MOST_BYTES >> 20} MB "
                "are read; send thicker slices, or none of the elements that it does not need",
            )


def _read(path: Path) -> Dataset:
    dataset = pydicom.dcmread(path)
    dataset.buffer = None  # all that a deflated one was inflated to
    return dataset


def _of(path: Path, find: Callable[[Path], T]) -> T:
    """Return what is found of a file; whatever is raised refuses the series."""
    try:
        return find(path)
    except bounds.Excessive as error:
        wrong = f"cannot be read: {error}"
    except InvalidDicomError:
        wrong = "is not a DICOM file (no DICM prefix, PS3.10 7.1)"
    except OSError as error:
        if of_the_machine(error):
            raise
        wrong = f"cannot be read: {error.strerror or 'it breaks off'}"
    except Exception as error:  # a damaged file can fail anywhere in the parser
        wrong = f"cannot be parsed as DICOM ({type(error).__name__})"
    raise SeriesRefused(Reason.UNREADABLE, f"file {path.name} {wrong}; send it again")


def items(image: SourceImage, holder: Dataset, keyword: str) -> list[Dataset]:
    """Return the items of a sequence of an image, or of an item of it; none where it is absent.

    A file is parsed no further than one asks: most damage within a sequence shows only here.

    Raises
    ------
    SeriesRefused
        UNREADABLE where it is there and cannot be read, or is no sequence.
    """
    try:
        value = holder.get(keyword)
        if value in (None, "", b""):
            return []
        if isinstance(value, pydicom.Sequence):
            return list(value)
        wrong = "is no sequence"
    except MemoryError:
        raise
    except Exception as error:  # as in `_of`; nothing is read from the disk any more
        wrong = f"cannot be read ({type(error).__name__})"
    raise SeriesRefused(
        Reason.UNREADABLE,
        f"file {image.name}: {dictionary_description(keyword)} {Tag(keyword)} {wrong}; "
        "send it again",
    )


def text(dataset: Dataset, keyword: str) -> str:
    """Return an element as stripped text; the empty string where it is absent or unusable."""
    try:
        value = dataset.get(keyword)
    except Exception:  # an element that cannot be decoded is as good as absent
        return ""
    return "" if value is None else str(value).strip()


def is_there(dataset: Dataset, keyword: str) -> bool:
    """Tell whether an element has a value that can be used, as `text` does, of any kind."""
    try:
        return bool(dataset.get(keyword))
    except Exception:  # as in `text`
        return False


def among(value: str, known: Collection[str]) -> str:
    """Say a value where it is one that the standard defines: any other could name the patient."""
    if not value:
        return "absent"
    return value if value in known else "a value that the standard does not define"


def texts(dataset: Dataset, keyword: str) -> tuple[str, ...]:
    """Return the values of a multi-valued text element, in capitals; empty where it is absent."""
    return tuple(part.strip(" '[]").upper() for part in _parts(dataset, keyword) if part)


def _parts(dataset: Dataset, keyword: str) -> list[str]:
    try:
        value = dataset.get(keyword)
    except Exception:  # as in `text`
        return []
    if value is None:
        return []
    return [value] if isinstance(value, str) else [str(part) for part in value]


def numbers(dataset: Dataset, keyword: str, count: int) -> tuple[float, ...] | None:
    """Return an element's finite numbers, or None where it has not exactly ``count`` of them."""
    try:
        value = dataset.get(keyword)
        many = [value] if count == 1 else list(value)
        found = tuple(float(part) for part in many)
    except Exception:  # absent, empty, or not a number
        return None
    return found if len(found) == count and all(map(math.isfinite, found)) else None


def number(dataset: Dataset, keyword: str) -> float | None:
    """Return a single finite number, or None."""
    found = numbers(dataset, keyword, 1)
    return found[0] if found else None
