"""Objects over the wire: every encoding and class, the same UID twice, and many senders at once."""

import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom import Dataset
from pydicom.uid import (
    CTImageStorage,
    EncapsulatedPDFStorage,
    EnhancedSRStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLossless,
    JPEGLosslessSV1,
    RawDataStorage,
    RLELossless,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

from ich_node.receive import spool
from ich_node.store import instances
from ich_node.store.tables import event, instance, series, study
from tests.support.peers import (
    Listening,
    associate,
    c_store,
    data_of,
    encoded,
    incoming,
    sent,
    small_object,
)
from tests.support.series import ENCODABLE, head_series, pixels, set_pixels, write

DCMCJPEG = Path("/usr/bin/dcmcjpeg")
PRIVATE_CLASS, UNKNOWN_CLASS = "1.2.826.0.1.3680043.2.1", "1.2.840.10008.5.1.4.1.1.999"


@pytest.mark.parametrize("syntax", ENCODABLE, ids=lambda uid: uid.keyword)
def test_every_encoding_is_kept_as_it_came_and_can_be_read(node: Listening, syntax: str) -> None:
    image = head_series(slices=1)[0]
    request = incoming(image, syntax)
    assert sent(node.receiver.port, request).Status == 0x0000
    (path,) = node.files()
    assert data_of(path) == request.data
    kept = pydicom.dcmread(path)
    assert kept.file_meta.TransferSyntaxUID == syntax
    assert (kept.pixel_array == pixels(image)).all()
    assert node.rows(instance)[0]["transfer_syntax_uid"] == syntax


@pytest.mark.dcmtk
@pytest.mark.skipif(not DCMCJPEG.exists(), reason="needs DCMTK's dcmcjpeg in /usr/bin")
@pytest.mark.parametrize(("option", "syntax"), [("+e1", JPEGLosslessSV1), ("+el", JPEGLossless)])
def test_lossless_jpeg_of_another_encoder_is_kept_and_can_be_read(
    node: Listening, tmp_path: Path, option: str, syntax: str
) -> None:
    (image,) = head_series(slices=1)
    (plain,) = write([image], tmp_path)
    packed = tmp_path / "packed.dcm"
    subprocess.run([DCMCJPEG, option, "+un", plain, packed], check=True, timeout=60)
    request = incoming(image, syntax, data=data_of(packed))
    assert sent(node.receiver.port, request).Status == 0x0000
    assert (pydicom.dcmread(node.files()[0]).pixel_array == pixels(image)).all()
    assert sent(node.receiver.port, incoming(image)).Status == 0x0000
    assert len(node.files()) == len(node.rows(instance)) == 1


@pytest.mark.parametrize(
    "sop_class",
    [
        EnhancedSRStorage,
        SegmentationStorage,
        SecondaryCaptureImageStorage,
        EncapsulatedPDFStorage,
        RawDataStorage,
        PRIVATE_CLASS,
        UNKNOWN_CLASS,
    ],
)
def test_every_storage_class_is_kept(node: Listening, sop_class: str) -> None:
    request = incoming(small_object(sop_class=sop_class, Modality="OT"))
    assert sent(node.receiver.port, request).Status == 0x0000
    assert [row["sop_class_uid"] for row in node.rows(instance)] == [sop_class]
    assert [row["modality"] for row in node.rows(series)] == ["OT"]


def test_classes_and_encodings_may_be_mixed_in_one_association(node: Listening) -> None:
    requests = [
        incoming(small_object(1), ExplicitVRLittleEndian),
        incoming(small_object(2), ImplicitVRLittleEndian),
        incoming(small_object(3, sop_class=EncapsulatedPDFStorage), ExplicitVRLittleEndian),
        incoming(small_object(4), ExplicitVRLittleEndian),
    ]
    contexts = dict.fromkeys((r.sop_class_uid, (r.transfer_syntax_uid,)) for r in requests)
    association = associate(node.receiver.port, list(contexts))
    assert [c_store(association, request).Status for request in requests] == [0x0000] * 4
    association.release()
    assert [row["number"] for row in node.rows(instance)] == [1, 2, 3, 4]
    assert len(node.rows(study)) == len(node.rows(series)) == 1


def _other_class(dataset: Dataset) -> None:
    dataset.SOPClassUID = SecondaryCaptureImageStorage


def _no_series(dataset: Dataset) -> None:
    del dataset.SeriesInstanceUID


@pytest.mark.parametrize(
    ("change", "status", "comment"),
    [
        (_other_class, 0xA900, "SOP Class UID differs from the request's"),
        (_no_series, 0xC000, "SeriesInstanceUID is missing or not a UID"),
    ],
)
def test_a_wrong_data_set_gets_its_status_and_comment_and_the_association_goes_on(
    node: Listening, change: Callable[[Dataset], None], status: int, comment: str
) -> None:
    wrong = small_object()
    change(wrong)
    request = incoming(small_object(), data=encoded(wrong))
    association = associate(node.receiver.port, [(CTImageStorage, (ExplicitVRLittleEndian,))])
    answer = c_store(association, request)
    assert (answer.Status, answer.ErrorComment) == (status, comment)
    assert node.files() == []
    assert c_store(association, incoming(small_object(2))).Status == 0x0000
    association.release()


@pytest.mark.filterwarnings("ignore:Expected explicit VR:UserWarning")
@pytest.mark.parametrize(
    ("data", "comment"),
    [
        (b"this is not DICOM at all", "the data set is cut short; send it again"),
        (encoded(head_series(slices=1)[0])[:-100], "the data set is cut short; send it again"),
    ],
    ids=["not DICOM", "cut"],
)
def test_bytes_that_are_no_whole_data_set_get_their_status_and_comment(
    node: Listening, data: bytes, comment: str
) -> None:
    answer = sent(node.receiver.port, incoming(head_series(slices=1)[0], data=data))
    assert (answer.Status, answer.ErrorComment) == (0xC000, comment)
    assert node.files() == []
    assert node.still_stores()


def test_a_conflict_gets_its_status_and_comment_and_a_correction_a_success(
    node: Listening,
) -> None:
    image = head_series(slices=1)[0]
    port = node.receiver.port
    assert sent(port, incoming(image)).Status == 0x0000
    image.PatientID = "CORRECTED"
    assert sent(port, incoming(image, RLELossless)).Status == 0x0000
    set_pixels(image, pixels(image) + 1)
    answer = sent(port, incoming(image))
    assert (answer.Status, answer.ErrorComment) == (0xC001, "UID known with other PixelData")
    kinds = [row["kind"] for row in node.rows(event)]
    assert [kind for kind in kinds if not kind.startswith("transfer")] == [
        "header_changed",
        "conflict",
    ]
    assert len(node.rows(instance)) == 1


def test_our_own_result_is_answered_and_dropped(node: Listening) -> None:
    ours = small_object(
        sop_class=SegmentationStorage, Modality="SEG", ManufacturerModelName="ich-node"
    )
    assert sent(node.receiver.port, incoming(ours)).Status == 0x0000
    assert node.files() == []
    assert node.receiver.open_series() == {}


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), RuntimeError("PATIENT-77 in a parameter")]
)
def test_a_disk_or_database_that_fails_asks_for_the_object_again_and_names_no_patient(
    node: Listening,
    said: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    def fail(*_arguments: object, **_more: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(
            *((spool, "write") if isinstance(error, OSError) else (instances, "_insert")),
            fail,
        )
        answer = sent(node.receiver.port, incoming(small_object()))
    assert (answer.Status, answer.ErrorComment) == (0xA700, "could not be stored; send it again")
    assert type(error).__name__ in said[0]["error"]
    assert ("No space left" in said[0]["error"]) == isinstance(error, OSError)
    assert "PATIENT-77" not in str(said)
    assert sent(node.receiver.port, incoming(small_object())).Status == 0x0000
    assert len(node.rows(instance)) == 1


def run_together(tasks: list[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=task) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)


def test_the_same_object_in_two_associations_at_once_is_stored_once(node: Listening) -> None:
    request = incoming(head_series(slices=1)[0])
    statuses: list[int] = []
    run_together(
        [lambda: statuses.append(sent(node.receiver.port, request).Status) for _ in range(2)]
    )
    assert statuses == [0x0000, 0x0000]
    assert len(node.rows(instance)) == len(node.files()) == 1


def test_of_two_different_objects_under_one_uid_at_once_one_is_stored_and_one_refused(
    node: Listening,
) -> None:
    image, other = head_series(slices=1)[0], head_series(slices=1)[0]
    set_pixels(other, pixels(other) + 1)
    statuses: list[int] = []
    requests = [incoming(image), incoming(other)]
    run_together(
        [
            lambda request=request: statuses.append(sent(node.receiver.port, request).Status)
            for request in requests
        ]
    )
    assert sorted(statuses) == [0x0000, 0xC001]
    assert len(node.rows(instance)) == 1
    assert len(node.files()) == 2


def test_eight_senders_at_once_lose_nothing(node: Listening) -> None:
    syntax = (ExplicitVRLittleEndian,)
    statuses: list[int] = []

    def send_series(number: int) -> None:
        association = associate(node.receiver.port, [(CTImageStorage, syntax)])
        images = head_series(seed=number, slices=6)
        statuses.extend([c_store(association, incoming(image)).Status for image in images])
        association.release()

    run_together([lambda number=number: send_series(number) for number in range(8)])
    assert statuses == [0x0000] * 48
    rows = node.rows(instance)
    assert len(rows) == 48
    assert len(node.rows(series)) == len(node.rows(study)) == 8
    assert sorted(Path(row["path"]) for row in rows) == node.files()
