"""The data sets by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from training.real import bhsd, cq500, instance22, physionet, rsna
from training.real.records import Case, Found, Loaded


@dataclass(frozen=True)
class Source:
    """A data set: its ``title``, how to list the cases of its folder, how to load one."""

    title: str
    find: Callable[[Path], Found]
    load: Callable[[Case], Loaded]


SOURCES: Mapping[str, Source] = {
    rsna.NAME: Source("RSNA 2019 Brain CT Hemorrhage Challenge", rsna.find, rsna.load),
    physionet.NAME: Source("PhysioNet CT-ICH 1.3.1", physionet.find, physionet.load),
    bhsd.NAME: Source("BHSD, the masked part", bhsd.find, bhsd.load),
    instance22.NAME: Source("INSTANCE 2022", instance22.find, instance22.load),
    cq500.NAME: Source("CQ500", cq500.find, cq500.load),
}


def load_case(case: Case) -> Loaded:
    """Load a case of any of the data sets.

    Raises
    ------
    DataError
        Its files cannot be used.
    """
    return SOURCES[case.dataset].load(case)
