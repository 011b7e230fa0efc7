"""What a destination does becomes a verdict for each object, and never an error."""

import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import (
    CTImageStorage,
    EnhancedSRStorage,
    ImplicitVRLittleEndian,
    RLELossless,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)
from pynetdicom.association import Association

from deploy.demo.running import free_port
from ich_node.deliver import scu
from ich_node.deliver.scu import send
from ich_node.deliver.standin import StandInPacs
from ich_node.records import Verdict
from ich_node.selftest.series import save
from ich_node.uids import IMPLEMENTATION_CLASS_UID
from tests.support.peers import data_of, destination, pacs, small_object
from tests.support.series import head_series, write
from tests.support.wire import (
    ABORT,
    accept_byte_by_byte,
    accept_then_answer_byte_by_byte,
    accept_then_half_an_answer,
    accept_then_silence,
    answering,
    bare_server,
    no_reader,
    reject,
    silent,
)

BOTH = (SegmentationStorage, EnhancedSRStorage)


@pytest.fixture
def objects(tmp_path: Path) -> list[tuple[str, Path]]:
    """A SEG and an SR, in the order to send."""
    found = []
    for number, (kind, sop_class) in enumerate(zip(("seg", "sr"), BOTH, strict=True), start=1):
        dataset = small_object(number, sop_class=sop_class, Modality=kind.upper())
        inner = Dataset()
        inner.CodeValue, inner.CodeMeaning = "1", "Bleed"
        dataset.ConceptNameCodeSequence = [inner]
        path = tmp_path / f"{kind}.dcm"
        save(dataset, path)
        found.append((kind, path))
    return found


@pytest.fixture
def capture(tmp_path: Path) -> tuple[str, Path]:
    """What goes where SEG is not accepted."""
    path = tmp_path / "sc.dcm"
    save(small_object(3, sop_class=SecondaryCaptureImageStorage, Modality="OT"), path)
    return "sc", path


def said(verdicts: list[Verdict]) -> list[tuple[str, int | None, bool, bool]]:
    """Kind, status, stored and transient of each verdict."""
    return [(v.kind, v.status, v.stored, v.transient) for v in verdicts]


def test_files_go_out_byte_for_byte_in_their_order_and_one_association(
    objects: list[tuple[str, Path]],
) -> None:
    associations = set()

    def answer(event: Any) -> int:
        associations.add(event.assoc)
        return 0x0000

    with pacs(BOTH, answer=answer) as peer:
        verdicts = send(destination(peer.port), "ICH_NODE", objects)
    assert said(verdicts) == [("seg", 0, True, False), ("sr", 0, True, False)]
    assert [v.sop_instance_uid for v in verdicts] == ["1.2.3.1", "1.2.3.2"]
    assert peer.data == [data_of(path) for _kind, path in objects]
    (association,) = associations
    assert association.requestor.implementation_class_uid == IMPLEMENTATION_CLASS_UID
    assert association.requestor.ae_title == "ICH_NODE"


def test_the_stand_in_keeps_what_it_gets_byte_for_byte(
    objects: list[tuple[str, Path]], tmp_path: Path
) -> None:
    stand_in = StandInPacs.start(tmp_path / "pacs")
    try:
        send(destination(stand_in.port), "ICH_NODE", objects)
        received = stand_in.received()
    finally:
        stand_in.stop()
    assert [data_of(path) for path in received] == [data_of(path) for _kind, path in objects]


@pytest.mark.parametrize(
    ("status", "stored", "transient"),
    [
        (0xB000, True, False),
        (0x0111, True, False),
        (0xA700, False, True),
        (0xA900, False, False),
        (0xC000, False, False),
    ],
)
def test_the_answer_to_one_object_does_not_keep_the_next_back(
    objects: list[tuple[str, Path]], status: int, stored: bool, transient: bool
) -> None:
    def answer(event: Any) -> Dataset:
        found = Dataset()
        found.Status = status if event.request.AffectedSOPClassUID == SegmentationStorage else 0
        found.ErrorComment = "in its own words"
        return found

    with pacs(BOTH, answer=answer) as peer:
        verdicts = send(destination(peer.port), "ICH_NODE", objects)
    assert said(verdicts) == [("seg", status, stored, transient), ("sr", 0, True, False)]
    assert f"{status:04X}H in its own words" in verdicts[0].text


def test_without_a_context_for_seg_the_sr_still_arrives(objects: list[tuple[str, Path]]) -> None:
    with pacs([EnhancedSRStorage]) as peer:
        verdicts = send(destination(peer.port), "ICH_NODE", objects)
    assert said(verdicts) == [("seg", None, False, False), ("sr", 0, True, False)]
    assert verdicts[0].text == "the destination does not accept Segmentation Storage"


def test_the_capture_goes_in_the_same_association_where_seg_is_not_accepted(
    objects: list[tuple[str, Path]], capture: tuple[str, Path]
) -> None:
    with pacs([EnhancedSRStorage, SecondaryCaptureImageStorage]) as peer:
        verdicts = send(destination(peer.port), "ICH_NODE", objects, [capture])
    assert said(verdicts) == [
        ("seg", None, False, False),
        ("sr", 0, True, False),
        ("sc", 0, True, False),
    ]
    assert [verdict.class_refused for verdict in verdicts] == [True, False, False]


def test_the_capture_stays_here_where_everything_is_accepted(
    objects: list[tuple[str, Path]], capture: tuple[str, Path]
) -> None:
    with pacs([*BOTH, SecondaryCaptureImageStorage]) as peer:
        verdicts = send(destination(peer.port), "ICH_NODE", objects, [capture])
    assert [(verdict.kind, verdict.stored) for verdict in verdicts] == [("seg", True), ("sr", True)]


def test_a_class_that_is_refused_only_when_it_comes_is_not_accepted_either(
    objects: list[tuple[str, Path]], capture: tuple[str, Path]
) -> None:
    """0122H, SOP class not supported, from a peer that accepts every context."""

    def answer(event: Any) -> int:
        return 0x0122 if event.request.AffectedSOPClassUID == SegmentationStorage else 0

    with pacs([*BOTH, SecondaryCaptureImageStorage], answer=answer) as peer:
        verdicts = send(destination(peer.port), "ICH_NODE", objects, [capture])
    assert said(verdicts) == [
        ("seg", 0x0122, False, False),
        ("sr", 0, True, False),
        ("sc", 0, True, False),
    ]


def test_a_destination_that_takes_none_of_the_classes_never_will(
    objects: list[tuple[str, Path]],
) -> None:
    with pacs([CTImageStorage]) as peer:
        verdicts = send(destination(peer.port), "ICH_NODE", objects)
    assert said(verdicts) == [("seg", None, False, False), ("sr", None, False, False)]
    assert "accepts none of the SOP classes" in verdicts[0].text


def test_a_destination_of_implicit_vr_gets_the_same_data_set(
    objects: list[tuple[str, Path]],
) -> None:
    with pacs(BOTH, [ImplicitVRLittleEndian]) as peer:
        verdicts = send(destination(peer.port), "ICH_NODE", objects)
    assert [v.stored for v in verdicts] == [True, True]
    for data, (_kind, path) in zip(peer.data, objects, strict=True):
        came = pydicom.filereader.read_dataset(
            pydicom.filebase.DicomBytesIO(data), is_implicit_VR=True, is_little_endian=True
        )
        assert data != data_of(path)
        assert came.to_json() == pydicom.dcmread(path).to_json()


def test_a_compressed_object_for_a_destination_of_implicit_vr_is_for_good_not_accepted(
    tmp_path: Path,
) -> None:
    (path,) = write(head_series(slices=1), tmp_path, RLELossless)
    with pacs([CTImageStorage], [ImplicitVRLittleEndian]) as peer:
        verdicts = send(destination(peer.port), "ICH_NODE", [("sc", path)])
    assert said(verdicts) == [("sc", None, False, False)]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (reject(1, 1, 3), "Calling AE title not recognised"),
        (reject(1, 1, 7), "Called AE title not recognised"),
        (reject(2, 3, 2), "Local limit exceeded"),
        (ABORT, "ended without an answer"),
        (b"", "ended without an answer"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "ended without an answer"),
    ],
    ids=["calling", "called", "full", "abort", "closed", "http"],
)
def test_without_an_association_everything_is_tried_again_with_the_reason(
    objects: list[tuple[str, Path]], answer: bytes, words: str
) -> None:
    """Also where the rejection calls itself permanent: somebody may let our AE title in there."""
    with bare_server(answering(answer)) as port:
        verdicts = send(destination(port), "ICH_NODE", objects)
    assert said(verdicts) == [(kind, None, False, True) for kind in ("seg", "sr")]
    assert words.lower() in verdicts[0].text.lower()
    assert verdicts[0].text == verdicts[1].text


@pytest.mark.parametrize("host", ["127.0.0.1", "no-such-host.invalid", "a" * 70 + ".b"])
def test_a_destination_that_is_not_there_is_tried_again(
    objects: list[tuple[str, Path]], host: str
) -> None:
    nowhere = destination(free_port()).model_copy(update={"host": host})
    verdicts = send(nowhere, "ICH_NODE", objects)
    assert said(verdicts) == [("seg", None, False, True), ("sr", None, False, True)]
    assert f"{host}:{nowhere.port}" in verdicts[0].text


def test_a_destination_that_aborts_midway_keeps_what_it_acknowledged(
    objects: list[tuple[str, Path]],
) -> None:
    def answer(event: Any) -> int:
        if event.request.AffectedSOPClassUID == EnhancedSRStorage:
            event.assoc.abort()
        return 0x0000

    with pacs(BOTH, answer=answer) as peer:
        verdicts = send(destination(peer.port), "ICH_NODE", [*objects, objects[0]])
    assert said(verdicts) == [
        ("seg", 0, True, False),
        ("sr", None, False, True),
        ("seg", None, False, True),
    ]
    assert "no answer" in verdicts[1].text
    assert verdicts[2].text == "the association ended before this object"


def test_an_association_that_ends_just_before_an_object_costs_no_waiting(
    objects: list[tuple[str, Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[Association] = []
    choose = Association._get_valid_context

    def abort_before_the_second(ours: Association, *given: Any, **options: Any) -> Any:
        found = choose(ours, *given, **options)
        if held:
            held[0].abort()
            ours.join(10)
        return found

    monkeypatch.setattr(Association, "_get_valid_context", abort_before_the_second)
    with pacs(BOTH, answer=lambda event: held.append(event.assoc) or 0) as peer:
        began = time.monotonic()
        verdicts = send(destination(peer.port), "ICH_NODE", objects)
    assert said(verdicts) == [("seg", 0, True, False), ("sr", None, False, True)]
    assert time.monotonic() - began < scu._DIMSE_S / 4


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("talk", [silent, accept_byte_by_byte])
def test_a_destination_that_never_answers_the_request_is_tried_again(
    objects: list[tuple[str, Path]], talk: Callable[[socket.socket], None]
) -> None:
    began = time.monotonic()
    with bare_server(talk) as port:
        verdicts = send(destination(port), "ICH_NODE", objects)
    assert time.monotonic() - began < 20
    assert said(verdicts) == [("seg", None, False, True), ("sr", None, False, True)]


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize(
    "talk", [accept_then_silence, accept_then_half_an_answer, accept_then_answer_byte_by_byte]
)
def test_a_destination_that_never_answers_an_object_is_tried_again(
    objects: list[tuple[str, Path]], talk: Callable[[socket.socket], None]
) -> None:
    began = time.monotonic()
    with bare_server(talk) as port:
        verdicts = send(destination(port), "ICH_NODE", objects)
    assert time.monotonic() - began < 20
    assert said(verdicts) == [("seg", None, False, True), ("sr", None, False, True)]
    assert verdicts[0].text == "no answer: timed out or connection lost"


def test_an_object_that_takes_long_to_go_over_is_waited_for(
    objects: list[tuple[str, Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as its bytes go on: the time for the answer alone would be too short."""
    monkeypatch.setattr(scu, "_DIMSE_S", 0.5)
    monkeypatch.setattr(scu, "_SLOWEST_BYTES_PER_S", 1 << 10)
    _kind, path = objects[0]
    save(small_object(1, sop_class=SegmentationStorage, EncapsulatedDocument=bytes(1 << 23)), path)
    with pacs(BOTH, at_each_pdu=lambda _event: time.sleep(0.003)) as peer:
        began = time.monotonic()
        verdicts = send(destination(peer.port), "ICH_NODE", objects)
        assert time.monotonic() - began > 2 * scu._DIMSE_S
    assert said(verdicts) == [("seg", 0, True, False), ("sr", 0, True, False)]


@pytest.mark.usefixtures("hasty")
def test_a_destination_that_stops_reading_in_the_middle_of_an_object_is_tried_again(
    objects: list[tuple[str, Path]],
) -> None:
    """The object is larger than what the buffers of both sides take."""
    _kind, path = objects[0]
    save(small_object(1, sop_class=SegmentationStorage, EncapsulatedDocument=bytes(1 << 25)), path)
    with no_reader() as port:
        verdicts = send(destination(port), "ICH_NODE", objects)
    assert said(verdicts) == [("seg", None, False, True), ("sr", None, False, True)]


def test_a_file_of_ours_that_is_gone_or_damaged_is_not_the_destinations_fault(
    tmp_path: Path,
) -> None:
    (tmp_path / "seg.dcm").write_bytes(b"not DICOM" * 40)
    with pacs(BOTH) as peer:
        with pytest.raises(FileNotFoundError):
            send(destination(peer.port), "ICH_NODE", [("seg", tmp_path / "gone.dcm")])
        with pytest.raises(InvalidDicomError):
            send(destination(peer.port), "ICH_NODE", [("seg", tmp_path / "seg.dcm")])
    assert peer.data == []
