"""What is answered to a new object, and what is then on disk and in the database."""

import shutil

import pydicom
import pytest
from pydicom import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
    SecondaryCaptureImageStorage,
)

from ich_node.receive.intake import Incoming, Intake, take
from ich_node.settings import Storage
from ich_node.store.tables import event, instance, series, study
from tests.support.peers import encoded, incoming, plain, small_object
from tests.unit.receive.kept import files, nothing_kept, rows

SUCCESS, OUT_OF_RESOURCES = 0x0000, 0xA700
WRONG_CLASS, CANNOT_UNDERSTAND = 0xA900, 0xC000
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom's, of odd values


def test_a_new_object_is_kept_undecoded_and_has_its_rows(intake: Intake, image: Dataset) -> None:
    sent = incoming(image)
    assert take(intake, sent).status == SUCCESS
    (path,) = files(intake)
    assert path.parent == intake.settings.spool_dir / image.StudyInstanceUID / (
        image.SeriesInstanceUID
    )
    assert path.read_bytes().endswith(sent.data)
    (row,) = rows(intake, instance)
    assert (row["path"], row["size"], row["number"]) == (str(path), len(sent.data), 1)
    assert [row["quiet_seconds"] for row in rows(intake, series)] == [2]
    assert [row["patient_id"] for row in rows(intake, study)] == ["SIMULATED-0"]


def test_the_file_meta_information_names_what_was_negotiated(
    intake: Intake, image: Dataset
) -> None:
    take(intake, incoming(image, RLELossless))
    meta = pydicom.dcmread(files(intake)[0]).file_meta
    assert meta.TransferSyntaxUID == RLELossless
    assert meta.MediaStorageSOPInstanceUID == image.SOPInstanceUID
    assert meta.SourceApplicationEntityTitle == "SENDER"


def test_our_own_result_that_comes_back_is_dropped(intake: Intake) -> None:
    result = small_object(Modality="SR", ManufacturerModelName="ich-node")
    assert take(intake, incoming(result)).status == SUCCESS
    assert nothing_kept(intake)
    (told,) = rows(intake, event)
    assert (told["kind"], told["study_instance_uid"]) == ("own_result", "1.2")


def test_an_image_that_names_our_product_is_still_taken(intake: Intake) -> None:
    image = small_object(Modality="CT", ManufacturerModelName="ich-node")
    take(intake, incoming(image))
    assert len(rows(intake, instance)) == 1


def test_below_the_limit_of_free_space_nothing_is_taken(intake: Intake) -> None:
    full = intake.settings.model_copy(
        update={
            "storage": Storage(data_dir=intake.settings.storage.data_dir, min_free_gb=10**6),
        }
    )
    tight = Intake(intake.engine, full)
    assert take(tight, incoming(small_object())).status == OUT_OF_RESOURCES
    assert nothing_kept(intake)


def test_below_the_limit_a_duplicate_is_still_a_success(
    intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = incoming(small_object())
    take(intake, sent)
    usage = shutil.disk_usage(intake.settings.storage.data_dir)._replace(free=-1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)
    assert take(intake, sent).status == SUCCESS
    assert take(intake, incoming(small_object(2))).status == OUT_OF_RESOURCES


def test_a_failing_disk_is_not_a_success(intake: Intake, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_space(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", no_space)
    with pytest.raises(OSError, match="No space left"):
        take(intake, incoming(small_object()))
    assert nothing_kept(intake)


@pytest.mark.parametrize(
    "data", [b"", b"GET / HTTP/1.1\r\n\r\n", b"\x00" * 999, b"\xff" * 999, bytes(range(256)) * 9]
)
def test_what_is_not_dicom_is_refused(intake: Intake, data: bytes) -> None:
    request = Incoming(
        sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
        sop_instance_uid="1.2.3.1",
        transfer_syntax_uid=ExplicitVRLittleEndian,
        data=data,
        source=incoming(small_object()).source,
        calling_ae="SENDER",
    )
    assert take(intake, request).status == CANNOT_UNDERSTAND
    assert nothing_kept(intake)


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"])
@pytest.mark.parametrize("value", [None, "", "../../etc", "1.2/3", "1..2", "1.2.3\\1.2.4", "a.b"])
def test_a_missing_or_impossible_uid_is_refused(
    intake: Intake, keyword: str, value: str | None
) -> None:
    sent = small_object()
    setattr(sent, keyword, value)
    answer = take(intake, incoming(sent, sop_instance_uid="1.2.3.1", data=plain(sent)))
    assert answer.status == CANNOT_UNDERSTAND
    assert keyword in answer.comment
    assert nothing_kept(intake)


@pytest.mark.parametrize("uid", ["None", "", "../1.2", "1.2\\3"])
def test_a_request_without_a_uid_is_refused(intake: Intake, uid: str) -> None:
    answer = take(intake, incoming(small_object(), sop_instance_uid=uid))
    assert (answer.status, answer.comment) == (CANNOT_UNDERSTAND, "the request names no UID")
    assert nothing_kept(intake)


@pytest.mark.parametrize(
    "other", [{"sop_class_uid": SecondaryCaptureImageStorage}, {"sop_instance_uid": "1.2.3.99"}]
)
def test_a_data_set_that_is_not_what_the_request_names_is_refused(
    intake: Intake, other: dict[str, str]
) -> None:
    assert take(intake, incoming(small_object(), **other)).status == WRONG_CLASS
    assert nothing_kept(intake)


def test_an_image_without_pixels_is_kept_for_the_analysis_to_refuse(
    intake: Intake, image: Dataset
) -> None:
    del image.PixelData
    assert take(intake, incoming(image)).status == SUCCESS
    assert len(rows(intake, instance)) == 1


@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless]
)
@pytest.mark.parametrize("missing", [1, 9, 500])
def test_an_image_that_is_cut_short_is_refused(
    intake: Intake, image: Dataset, syntax: str, missing: int
) -> None:
    data = encoded(image, syntax)[:-missing]
    answer = take(intake, incoming(image, syntax, data=data))
    assert (answer.status, answer.comment) == (
        CANNOT_UNDERSTAND,
        "the data set is cut short; send it again",
    )
    assert nothing_kept(intake)


def test_a_deflated_image_that_is_cut_short_is_refused(intake: Intake, image: Dataset) -> None:
    data = encoded(image, DeflatedExplicitVRLittleEndian)[:-9]
    sent = incoming(image, DeflatedExplicitVRLittleEndian, data=data)
    assert take(intake, sent).status == CANNOT_UNDERSTAND
    assert nothing_kept(intake)


@pytest.mark.parametrize(
    ("keyword", "raw"),
    [
        ("SpecificCharacterSet", b"NO SUCH SET "),
        ("PatientName", b"\xff\xfe\xfd^\x80 "),
        ("PatientID", b"A\0B\0"),
        ("InstanceNumber", b"9999999999"),
        ("InstanceNumber", b"first "),
        ("StudyDate", b"yesterday!"),
        ("Modality", b"CT\\MR "),
        ("SeriesDescription", b"\x1b$B;3ED"),
    ],
)
def test_odd_header_values_do_not_keep_an_image_out(
    intake: Intake, keyword: str, raw: bytes
) -> None:
    image = small_object()
    tag = pydicom.datadict.tag_for_keyword(keyword)
    assert tag is not None
    if keyword in image:
        del image[keyword]
    element = (
        (tag >> 16).to_bytes(2, "little")
        + (tag & 0xFFFF).to_bytes(2, "little")
        + pydicom.datadict.dictionary_VR(tag).encode()
        + len(raw).to_bytes(2, "little")
        + raw
    )
    before = Dataset()
    before.update({item.tag: item for item in image if item.tag < tag})
    data = plain(image).removeprefix(plain(before))
    assert take(intake, incoming(image, data=plain(before) + element + data)).status == SUCCESS
    (row,) = rows(intake, study)
    assert "\0" not in row["patient_id"]


@pytest.mark.parametrize(
    ("raw", "number"), [("7", 7), ("-3 ", -3), ("2147483648", None), ("one", None), ("", None)]
)
def test_an_instance_number_beyond_its_vr_is_none(
    intake: Intake, raw: str, number: int | None
) -> None:
    image = small_object()
    del image.InstanceNumber
    data = plain(image) + b"\x20\x00\x13\x00IS" + len(raw).to_bytes(2, "little") + raw.encode()
    assert take(intake, incoming(image, data=data)).status == SUCCESS
    assert [row["number"] for row in rows(intake, instance)] == [number]
