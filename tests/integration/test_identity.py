"""Names in elements where none belongs: through the port and the worker, and into no log."""

import socket
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from pydicom import DataElement, Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from tests import identity
from tests.integration.test_variants import site
from tests.support.peers import data_of, encoded, small_object, wait_for
from tests.support.series import head_series, write
from tests.support.wire import associate_request, read_pdu, store_request

_DEADLINE_S = 240.0
_NAME = "MUELLER^ANNA"
# What each series has in all its slices, by keyword, with a VR that it may be sent with.
_SERIES: Sequence[Mapping[str, str]] = (
    {
        **{"FrameOfReferenceUID": "UI", "InstanceNumber": "IS", "AcquisitionNumber": "IS"},
        **{"BodyPartExamined": "CS", "PatientAge": "AS", "StudyDate": "DA", "PatientSex": "CS"},
        **{"ConvolutionKernel": "SH", "SliceThickness": "DS", "ImageType": "CS"},
    },
    {"SpecificCharacterSet": "CS"},
    {"PhotometricInterpretation": "CS"},
    {"RescaleType": "LO"},
    {"RescaleSlope": "DS"},
    {"Rows": "LO"},
    {"NumberOfFrames": "IS", "ImagePositionPatient": "DS"},
)


@pytest.mark.timeout(600)
def test_a_name_in_any_element_comes_into_no_log(tmp_path: Path, tiny_bundle: Path) -> None:
    with site(tmp_path / "node", tiny_bundle) as it:
        for seed, keywords in enumerate(_SERIES, start=300):
            datasets = [_named(dataset, keywords) for dataset in head_series(seed)]
            paths = write(datasets, tmp_path / str(seed), ExplicitVRLittleEndian)
            requests = [
                store_request(dataset, data_of(path))
                for dataset, path in zip(datasets, paths, strict=True)
            ]
            assert set(_statuses(it.node.port, requests)) == {0x0000}
        _ask_under_a_name(it.node.port)
        wait_for(
            lambda: len(it.verdicts() or {}) == len(_SERIES), _DEADLINE_S, "verdict on every series"
        )
        logs = it.node.log.read_text() + it.node.said.read_text()
    assert "object refused" in logs
    assert [line[:600] for line in logs.splitlines() if identity.named(line)] == []


def _ask_under_a_name(port: int) -> None:
    """The request's own UID, of any length; and UIDs of the data set."""
    sound = small_object()
    data = encoded(sound)
    sound.add(_element("SOPInstanceUID", "UI", 500 * _NAME))
    other = small_object()
    other.add(_element("SeriesInstanceUID", "UI", _NAME))
    requests = [store_request(sound, data), store_request(small_object(), encoded(other))]
    assert set(_statuses(port, requests)) == {0xC000}


def _named(dataset: Dataset, keywords: Mapping[str, str]) -> Dataset:
    for keyword, vr in keywords.items():
        dataset.add(_element(keyword, vr, _NAME))
    return dataset


def _element(keyword: str, vr: str, value: str) -> DataElement:
    """An element that pydicom would not let us make."""
    element = DataElement(keyword, vr, "")
    element._value = value
    return element


def _statuses(port: int, requests: Sequence[bytes]) -> list[int]:
    """Send requests as they are; return the status of each."""
    found = []
    with socket.create_connection(("127.0.0.1", port), 60) as connection:
        connection.sendall(
            associate_request(contexts=[(CTImageStorage, (ExplicitVRLittleEndian,))])
        )
        assert read_pdu(connection)[0] == 0x02
        for request in requests:
            connection.sendall(request)
            answer = read_pdu(connection)
            at = answer.index(struct.pack("<HHL", 0, 0x0900, 2)) + 8
            found.append(int.from_bytes(answer[at : at + 2], "little"))
    return found
