"""What a data set holds: how many scans, patients and slices of each class, and every fault."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.table import Table

from ich_node.codes import CLASSES
from training.real.progress import tracked
from training.real.records import Case, Classes, DataError, Fault, classes_of_slices
from training.real.sources import load_case


@dataclass(frozen=True)
class Known:
    """What is known of a case: its classes, and those of its slices or None."""

    case: Case
    classes: Classes
    slice_classes: Classes | None


@dataclass(frozen=True)
class Count:
    """Of one class: scans with it, without it, of which it is not known; slices with it."""

    name: str
    present: int
    absent: int
    unknown: int
    slices: int


def listed(case: Case) -> Known:
    """Return what the tables of the data set say of a case, nothing being loaded."""
    if case.slice_classes is not None:
        of_slices = np.array(case.slice_classes, np.float32)
        return Known(case, classes_of_slices(of_slices), of_slices)
    unknown = (np.nan,) * len(CLASSES)
    return Known(case, np.array(case.classes or unknown, np.float32), None)


def loaded(cases: Sequence[Case]) -> tuple[list[Known], list[Fault]]:
    """Load every case; return what is known of those that can be, and faults for the others."""
    known, faults = [], []
    for case in tracked(cases, "scans"):
        try:
            found = load_case(case)
        except DataError as error:
            faults.append(Fault(case.name, str(error)))
        else:
            known.append(Known(case, found.classes, found.slice_classes))
    return known, faults


def count(known: Sequence[Known]) -> list[Count]:
    """Count scans and slices by class, in the order of `codes.CLASSES`."""
    scans = np.array([one.classes for one in known]).reshape(-1, len(CLASSES))
    slices = np.concatenate(
        [
            np.zeros((0, len(CLASSES))),
            *(k.slice_classes for k in known if k.slice_classes is not None),
        ]
    )
    return [
        Count(
            name,
            present=int((scans[:, index] == 1).sum()),
            absent=int((scans[:, index] == 0).sum()),
            unknown=int(np.isnan(scans[:, index]).sum()),
            slices=int((slices[:, index] == 1).sum()),
        )
        for index, name in enumerate(CLASSES)
    ]


def show(console: Console, title: str, known: Sequence[Known]) -> None:
    """Print the counts as a table."""
    patients = len({one.case.patient for one in known})
    table = Table(title=f"{title}: {len(known)} scans of {patients} patients")
    table.add_column("class")
    for heading in ("scans with", "without", "not known", "slices with"):
        table.add_column(heading, justify="right")
    for one in count(known):
        table.add_row(one.name, *map(str, (one.present, one.absent, one.unknown, one.slices)))
    console.print(table)


def show_faults(console: Console, faults: Sequence[Fault]) -> None:
    """Print what is left out and why, or that nothing is."""
    if not faults:
        console.print("Nothing is left out.")
        return
    table = Table(title=f"Left out: {len(faults)}", show_lines=True)
    table.add_column("where")
    table.add_column("why, and what to do")
    for fault in faults:
        table.add_row(fault.where, fault.text)
    console.print(table, markup=False)
