"""Headers as real scanners send them become sound ones; the source stays as it was."""

from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from pydicom import Dataset
from pydicom.dataelem import RawDataElement
from pydicom.dataset import FileMetaDataset
from pydicom.multival import MultiValue
from pydicom.tag import Tag
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pydicom.valuerep import PersonName

from ich_node.report.build import build_results
from ich_node.report.headers import normalise_header
from tests import identity
from tests.support.validators import dciodvfy_errors
from tests.support.volumes import make_case, with_source

YAMADA = "Yamada^Tarou=山田^太郎=やまだ^たろう"


def element(group: int, number: int, vr: str, value: bytes) -> bytes:
    """One element in Explicit VR Little Endian, its value as bytes of any encoding."""
    value += b" " * (len(value) % 2)
    tag = group.to_bytes(2, "little") + number.to_bytes(2, "little")
    return tag + vr.encode() + len(value).to_bytes(2, "little") + value


def raw(**values: bytes) -> Dataset:
    """Read a header whose values are given as bytes, exactly as they would come."""
    tags = {pydicom.datadict.tag_for_keyword(keyword): value for keyword, value in values.items()}
    data = b"".join(
        element(tag >> 16, tag & 0xFFFF, pydicom.datadict.dictionary_VR(tag), value)
        for tag, value in sorted(tags.items())
    )
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return pydicom.filereader.read_dataset(
        BytesIO(data), is_implicit_VR=False, is_little_endian=True
    )


def stored(header: Dataset) -> Dataset:
    """Write a normalised header and read it again: only then is it sound."""
    identity.register(header)
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    buffer = BytesIO()
    pydicom.dcmwrite(
        buffer, pydicom.FileDataset("", header, file_meta=meta), enforce_file_format=True
    )
    buffer.seek(0)
    return pydicom.dcmread(buffer)


_TO_KS_X_1001 = b"\x1b$)C"
NAMES = {
    "japanese": (b"\\ISO 2022 IR 87", YAMADA.encode("iso2022_jp")),
    "half-width kana": (
        b"ISO_IR 13\\ISO 2022 IR 87",
        "ﾔﾏﾀﾞ^ﾀﾛｳ=".encode("shift_jis") + "山田^太郎".encode("iso2022_jp"),
    ),
    "korean": (
        b"\\ISO 2022 IR 149",
        b"Hong^Gildong="
        + _TO_KS_X_1001
        + "洪^".encode("euc_kr")
        + _TO_KS_X_1001
        + "吉洞".encode("euc_kr"),
    ),
    "chinese": (b"GB18030", "Wang^XiaoDong=王^小东".encode("gb18030")),
    "western": (b"ISO_IR 100", "Buc^Jérôme".encode("latin-1")),
    "cyrillic": (b"ISO_IR 144", "Люкceмбypг".encode("iso8859-5")),
    "utf-8": (b"ISO_IR 192", YAMADA.encode()),
    "undeclared western": (b"", "Äneas^Rüdiger".encode("latin-1")),
    "undeclared utf-8": (b"", "Äneas^Rüdiger".encode()),
}


@pytest.mark.parametrize(("declared", "name"), NAMES.values(), ids=NAMES.keys())
def test_names_in_every_character_set_become_utf8(declared: bytes, name: bytes):
    source = raw(SpecificCharacterSet=declared, PatientName=name, PatientID=b"1")
    found = stored(normalise_header(source))
    assert found.SpecificCharacterSet == "ISO_IR 192"
    if declared:
        assert str(found.PatientName) == str(source.PatientName)
    else:
        assert str(found.PatientName) == "Äneas^Rüdiger"
    assert "�" not in str(found.PatientName)


def test_a_decimal_string_that_is_no_number_stops_nothing():
    kept = normalise_header(raw(PatientID=b"1", SliceThickness=b"1." * 40))
    assert kept.PatientID == "1"
    assert not kept.get("SliceThickness")


def test_a_japanese_name_keeps_its_three_representations():
    source = raw(SpecificCharacterSet=b"\\ISO 2022 IR 87", PatientName=YAMADA.encode("iso2022_jp"))
    assert str(stored(normalise_header(source)).PatientName) == YAMADA


@pytest.mark.parametrize(
    ("keyword", "sent", "kept"),
    [
        ("PatientBirthDate", b"1950-01-01", "19500101"),
        ("PatientBirthDate", b"1950.1.1", ""),
        ("PatientBirthDate", b"19501399", ""),
        ("PatientBirthDate", b"00000000", ""),
        ("PatientBirthDate", b"unknown", ""),
        ("StudyDate", b"20260229", ""),
        ("StudyDate", b"99999999999999999999", ""),
        ("StudyTime", b"12:30:45", "123045"),
        ("StudyTime", b"123045.1234567", "123045.123456"),
        ("StudyTime", b"993000", ""),
        ("StudyTime", b"noon", ""),
        ("PatientAge", b"75", "075Y"),
        ("PatientAge", b"75Y", "075Y"),
        ("PatientAge", b"9 m", "009M"),
        ("PatientAge", b"old", ""),
        ("PatientSex", b"m", "M"),
        ("PatientSex", b"male", ""),
        ("StudyDescription", b"x" * 90, "x" * 64),
        ("AccessionNumber", b"1" * 30, "1" * 16),
        ("StudyDescription", b"two\nlines", "two lines"),
        ("PatientID", b"007 ", "007"),
        ("StudyInstanceUID", b"1.2.0840.01", "1.2.0840.01"),
        ("StudyInstanceUID", b"1.2.x", ""),
    ],
    ids=str,
)
def test_malformed_values_are_repaired_or_emptied(keyword: str, sent: bytes, kept: str):
    found = stored(normalise_header(raw(**{keyword: sent})))
    assert str(found[keyword].value or "") == kept


def test_values_that_cannot_be_decoded_are_left_out():
    found = normalise_header(raw(PatientWeight=b"75 kg", PatientSize=b"1.80"))
    assert "PatientWeight" not in found or found.PatientWeight in ("", None)
    assert found.PatientSize == 1.8


@pytest.mark.parametrize("keyword", ["PatientName", "StudyTime", "SliceThickness"])
def test_several_values_where_one_is_allowed_are_left_empty(keyword: str):
    """Which of them holds cannot be told; identifiers are copied as they are."""
    found = normalise_header(raw(**{keyword: b"1\\2\\3 "}, PatientID=b"1\\2 "))
    assert found[keyword].value in ("", None)
    assert list(found.PatientID) == ["1", "2"]


@pytest.mark.parametrize("within", [False, True], ids=["whole", "within an item"])
def test_a_sequence_that_breaks_off_is_left_out(within: bool):
    """Two bytes where an item begins: pydicom's OSError."""
    tag = Tag("ReferencedStudySequence")
    cut = Dataset({tag: RawDataElement(tag, "SQ", 2, b"\xfe\xff", 0, False, True)})
    broken = raw(PatientSize=b"1.80")
    if within:
        broken.RequestAttributesSequence = [cut]
    else:
        broken.update(cut)
    found = normalise_header(broken)
    assert [one.keyword for one in found.iterall()].count("ReferencedStudySequence") == 0
    assert found.PatientSize == 1.8


def test_type_2_attributes_are_there_and_empty():
    found = stored(normalise_header(raw(PatientID=b"1")))
    for keyword in ("PatientName", "PatientBirthDate", "PatientSex", "StudyID", "AccessionNumber"):
        assert str(found[keyword].value or "") == ""
    for keyword in ("StudyDate", "StudyTime", "ReferringPhysicianName"):
        assert str(found[keyword].value or "") == ""


def test_a_removed_identity_says_how_even_where_the_source_does_not():
    """PS3.3 C.7.1.1: De-identification Method is Type 1C, and often empty."""
    found = normalise_header(raw(PatientIdentityRemoved=b"YES", DeidentificationMethod=b""))
    assert found.DeidentificationMethod
    assert "DeidentificationMethod" not in normalise_header(raw(PatientIdentityRemoved=b"NO"))


def test_sequences_are_made_sound_too():
    source = Dataset()
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = "1", "L", "m" * 80
    item.add_new(0x00091001, "LO", "private")
    source.ProcedureCodeSequence = [item]
    (found,) = stored(normalise_header(source)).ProcedureCodeSequence
    assert found.CodeMeaning == "m" * 64
    assert len(found) == 3


def test_private_attributes_and_pixels_are_left_out():
    series, *_ = make_case()
    series[0].add_new(0x00091001, "LO", "private")
    found = normalise_header(series[0])
    assert "PixelData" not in found
    assert not any(tag.is_private for tag in found)


def test_the_source_is_not_changed():
    source = raw(
        SpecificCharacterSet=b"ISO_IR 100",
        PatientName="Buc^Jérôme".encode("latin-1"),
        PatientBirthDate=b"1950-01-01",
        StudyDescription=b"x" * 90,
    )
    before = {element.tag: str(element.value) for element in source}
    found = normalise_header(source)
    found.PatientID = "other"
    assert {element.tag: str(element.value) for element in source} == before


def test_identifiers_are_copied_and_never_repaired():
    source = raw(PatientID=b"A/7 - x", StudyInstanceUID=b"1.2.3", SOPInstanceUID=b"1.2.3.4")
    found = normalise_header(source)
    assert (found.PatientID, found.StudyInstanceUID) == ("A/7 - x", "1.2.3")
    assert found.SOPInstanceUID == "1.2.3.4"


def _japanese(header: Dataset) -> None:
    header.SpecificCharacterSet = ["", "ISO 2022 IR 87"]
    header.PatientName = YAMADA
    header.StudyDescription = "頭部"


def _latin(header: Dataset) -> None:
    header.SpecificCharacterSet = "ISO_IR 100"
    header.PatientName = "Buc^Jérôme"


def _bare(header: Dataset) -> None:
    for keyword in (
        "PatientName",
        "PatientID",
        "PatientBirthDate",
        "PatientSex",
        "StudyID",
        "AccessionNumber",
        "StudyDate",
        "StudyTime",
        "ReferringPhysicianName",
        "StudyDescription",
        "SliceThickness",
        "SeriesNumber",
        "PositionReferenceIndicator",
        "BodyPartExamined",
        "Manufacturer",
    ):
        del header[keyword]


def _malformed(header: Dataset) -> None:
    with pydicom.config.disable_value_validation():
        header.add_new("PatientBirthDate", "DA", "1950-01-01")
        header.add_new("PatientAge", "AS", "75")
        header.add_new("StudyTime", "TM", "12:00:00")
        header.add_new("StudyDescription", "LO", "d" * 90)
        header.add_new("InstitutionName", "LO", "i" * 90)
        header.add_new("PatientSex", "CS", "female")


def _several(header: Dataset) -> None:
    """Two values of what may have one."""
    header["PatientName"]._value = MultiValue(PersonName, ["SEVERAL^ANNA", "SEVERAL^EVA"])
    header["FrameOfReferenceUID"]._value = ["1.2", "1.3"]
    header.PatientID = ["SEVERAL-1", "SEVERAL-2"]
    header.PatientBirthDate = ["19500101", "19510101"]
    header.PatientAge = ["075Y", "074Y"]
    header.SliceThickness = ["5", "6"]
    header.StudyTime = ["120000", "130000"]
    header.InstanceNumber = ["1", "2"]
    header.KVP = ["120", "140"]


@pytest.mark.parametrize("change", [_japanese, _latin, _bare, _malformed])
def test_objects_from_such_headers_are_valid(tmp_path: Path, change):
    _, volume, prediction = make_case()
    for header in volume.source.headers:
        change(header)
    results = build_results(volume, prediction, tmp_path)
    assert dciodvfy_errors(results.seg) == []
    assert dciodvfy_errors(results.sr) == []
    for path in (results.seg, results.sr):
        found = pydicom.dcmread(path)
        assert str(found.PatientName) == str(volume.source.headers[0].get("PatientName", ""))


def test_several_values_where_one_is_allowed_stop_no_object(tmp_path: Path):
    _, volume, prediction = make_case()
    for header in volume.source.headers:
        _several(header)
    results = build_results(volume, prediction, tmp_path)
    for path in (results.seg, results.sr):
        found = pydicom.dcmread(path)
        assert found.PatientName == ""
        assert list(found.PatientID) == ["SEVERAL-1", "SEVERAL-2"]


def test_objects_from_headers_with_bytes_of_another_encoding_are_valid(tmp_path: Path):
    """As they come from disk: encoded, not as Python strings."""
    _, volume, prediction = make_case()
    headers = []
    for header in volume.source.headers:
        _japanese(header)
        headers.append(stored(header))
    volume = with_source(volume, headers=tuple(headers))
    results = build_results(volume, prediction, tmp_path)
    assert dciodvfy_errors(results.seg) == []
    assert str(pydicom.dcmread(results.sr).PatientName) == YAMADA
