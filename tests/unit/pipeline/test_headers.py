"""Of what is not analysed, no more is read than its report needs."""

from datetime import datetime
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from ich_node.errors import Reason
from ich_node.pipeline import stages
from ich_node.records import Edition, Refusal, Wanted
from ich_node.report.build import build_not_analysed
from ich_node.report.headers import NAMES
from tests.support.series import head_series, set_each, write

SYNTAXES = pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian], ids=lambda uid: uid.keyword
)


@SYNTAXES
def test_a_header_has_no_large_value_and_keeps_nothing_of_its_file(
    tmp_path: Path, syntax: str
) -> None:
    [dataset] = head_series(slices=1)
    dataset.add_new(0x00291010, "OB", bytes(2 << 20))
    dataset.add_new(0x00291011, "OB", bytes(1 << 10))
    [path] = write([dataset], tmp_path, syntax)
    found = stages.header(path)
    assert found is not None
    assert 0x00291010 not in found
    assert len(found[0x00291011].value) == 1 << 10
    assert found.buffer is None


@SYNTAXES
def test_of_all_headers_but_the_first_only_what_refers_to_them_is_read(
    tmp_path: Path, syntax: str
) -> None:
    paths = write(head_series(), tmp_path, syntax)
    first, *others = stages.headers_of(paths)
    assert "PatientName" in first
    assert "ImagePositionPatient" in first
    for found in others:
        assert {element.keyword for element in found} <= {*NAMES, "PatientID"}


def test_the_report_is_that_of_all_headers(tmp_path: Path) -> None:
    lossy = set_each(LossyImageCompression="01", LossyImageCompressionRatio="4")
    datasets = head_series()
    datasets[-1:] = lossy(datasets[-1:])
    paths = write(datasets, tmp_path)
    whole = [pydicom.dcmread(path, stop_before_pixels=True) for path in paths]
    refusal, edition = Refusal(Reason.TOO_LARGE, "too much"), Edition(datetime(2026, 1, 1))
    written = []
    for name, headers in (("some", stages.headers_of(paths)), ("all", whole)):
        (tmp_path / name).mkdir()
        wanted = Wanted(kinds=("sc",))
        built = build_not_analysed(headers, refusal, tmp_path / name, edition, wanted)
        assert built.sr is not None
        written.append([path.read_bytes() for path in (built.sr, *built.others["sc"])])
    assert written[0] == written[1]
