from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pydicom
import pytest
from pydicom import Dataset

from ich_node.codes import OF_CLASS, SUBTYPES
from ich_node.records import CtVolume, Prediction, Results
from ich_node.report.build import build_results
from tests.support.volumes import make_case, make_volume, write_ct

SUBTYPE_OF_LABEL = {OF_CLASS[name].name: name for name in SUBTYPES}


@dataclass(frozen=True)
class Built:
    """A case with its CT files and the objects built from it."""

    ct: list[Path]
    volume: CtVolume
    prediction: Prediction
    results: Results

    @property
    def seg(self) -> Dataset:
        assert self.results.seg is not None
        return pydicom.dcmread(self.results.seg)

    @property
    def sr(self) -> Dataset:
        return pydicom.dcmread(self.results.sr)

    @property
    def files(self) -> list[Path]:
        return [path for path in (self.results.seg, self.results.sr) if path is not None]


@pytest.fixture
def build(tmp_path: Path) -> Callable[..., Built]:
    """Build a case; `change` edits each source data set first, `prediction` replaces the case's."""
    count = 0

    def build_it(*, change=None, prediction=None, **case) -> Built:
        nonlocal count
        count += 1
        folder = tmp_path / str(count)
        series, volume, predicted = make_case(**case)
        if change is not None:
            for dataset in series:
                change(dataset)
            volume = make_volume(
                series,
                volume.hu,
                spacing_mm=volume.spacing_mm,
                plane_map=volume.source.plane_map,
            )
        predicted = prediction or predicted
        ct = write_ct(series, folder / "ct")
        return Built(ct, volume, predicted, build_results(volume, predicted, folder))

    return build_it
