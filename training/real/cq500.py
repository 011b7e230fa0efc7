"""CQ500 (qure.ai): 491 scans, each read by three radiologists, no masks.

::

    DIR/reads.csv                              name (CQ500-CT-<n>), Category, R1:ICH, ... R3:SAH
    DIR/[.../]CQ500CT<n> CQ500CT<n>/Unknown Study/<series>/CT*.dcm

A class is present where at least two of the three say so. A folder holds several series; which is
read is decided by the node's own rules, and a scan that the node would refuse is left out.

Chilamkurthy S et al., Lancet 2018;392:2388-2396.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from training.real import tables
from training.real.dicom import chosen_volume
from training.real.records import (
    Case,
    DataError,
    Fault,
    Found,
    Loaded,
    Row,
    check_row,
    sift,
)

NAME = "cq500"
TABLE = "reads.csv"
# In the order of `codes.CLASSES`.
_FINDINGS = ("ICH", "EDH", "SDH", "SAH", "IPH", "IVH")
_READERS = ("R1", "R2", "R3")
_MAJORITY = 2
_FOLDER = re.compile(r"CQ500CT(\d+)(?: CQ500CT\1)?")
_SCAN = re.compile(r"CQ500-CT-(\d+)")


def find(folder: Path) -> Found:
    """List the scans that have both reads and a folder; opens no DICOM file.

    Raises
    ------
    DataError
        The table is missing, lacks a column or holds a value of another kind.
    """
    reads = read_table(folder / TABLE)
    folders = _folders(folder)
    faults = [
        Fault(f"CQ500-CT-{number}", f"{path} has no row in {TABLE}; what it shows is not known")
        for number, path in sorted(folders.items())
        if number not in reads
    ]

    def case_of(name: str) -> Case:
        number = int(name.removeprefix("CQ500-CT-"))
        if number not in folders:
            raise DataError(
                f"no folder 'CQ500CT{number} CQ500CT{number}' in {folder} or one below; unpack it"
            )
        row = reads[number]
        check_row(row)
        return Case(NAME, name, name, (folders[number],), classes=row)

    return sift((f"CQ500-CT-{number}" for number in sorted(reads)), case_of, faults)


def load(case: Case) -> Loaded:
    """Load the series of a scan that the node would choose.

    Raises
    ------
    DataError
        The node would read none of them.
    """
    volume = chosen_volume(case.images[0])
    classes = np.array(case.classes, np.float32)
    return Loaded(volume.hu, volume.spacing_mm, None, None, classes)


def read_table(path: Path) -> dict[int, Row]:
    """Read what the majority of the readers says of each scan, by its number.

    Raises
    ------
    DataError
        A column is missing, a value is of another kind, or a scan is listed twice.
    """
    columns = [f"{reader}:{finding}" for reader in _READERS for finding in _FINDINGS]
    scans: dict[int, Row] = {}
    for line, values in tables.rows(path, ("name", *columns)):
        scan = _SCAN.fullmatch(values["name"])
        if scan is None:
            raise DataError(
                f"{path.name} line {line}: name is {values['name']!r}, expected CQ500-CT-<number>"
            )
        if int(scan[1]) in scans:
            raise DataError(f"{path.name} line {line}: {scan[0]} was listed before; remove one")
        votes = {name: tables.binary(path, line, values, name) for name in columns}
        scans[int(scan[1])] = _majority(votes)
    return scans


def _majority(votes: Mapping[str, int]) -> Row:
    counts = [sum(votes[f"{reader}:{finding}"] for reader in _READERS) for finding in _FINDINGS]
    return tuple(float(count >= _MAJORITY) for count in counts)


def _folders(folder: Path) -> dict[int, Path]:
    """Return the folder of each scan, here or in the folders (qct01 and on) it was unpacked to."""
    found: dict[int, Path] = {}
    for path in sorted([*folder.glob("CQ500CT*"), *folder.glob("*/CQ500CT*")]):
        name = _FOLDER.fullmatch(path.name)
        if name is None or not path.is_dir():
            continue
        if int(name[1]) in found:
            raise DataError(f"{path} and {found[int(name[1])]} are the same scan; remove one")
        found[int(name[1])] = path
    return found
