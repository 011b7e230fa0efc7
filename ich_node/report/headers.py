"""Source headers as scanners send them, brought to what may be copied into a new object.

Nothing here touches the source. What is repaired is form, never meaning: a value that cannot be
repaired is left empty, and the patient's and the study's identifiers are copied as they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from typing import Any

from pydicom import DataElement, Dataset, config
from pydicom.datadict import dictionary_has_tag, dictionary_VM
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag, Tag
from pydicom.uid import CTImageStorage
from pydicom.valuerep import DSfloat, validate_value

from ich_node.logs import get
from ich_node.records import CtVolume
from ich_node.uids import derive, is_uid

_log = get(__name__)

# Type 2 of the Patient and General Study modules (PS3.3 C.7.1.1, C.7.2.1): present, maybe empty.
_TYPE_2 = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyID",
    "AccessionNumber",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
)
NAMES = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
_SOP_CLASS = Tag("SOPClassUID")
_LAST_GROUP = 0x0040
# Longest value of each VR in characters (PS3.5 6.2).
_LONGEST = {"LO": 64, "SH": 16, "ST": 1024, "LT": 10240}
# Of the patient's and the study's identifiers, which are copied however many values they have.
_COPIED = ("LO", "SH")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SEXES = ("M", "F", "O")


def normalise_header(header: Dataset) -> Dataset:
    """Return a copy of a source header that an object can be built from.

    Text is decoded and declared as ISO_IR 192 (UTF-8); malformed dates, times and ages are repaired
    or emptied, over-long text is cut, and the Type 2 attributes of the Patient and General Study
    modules are there. Private attributes and pixels are left out.

    Parameters
    ----------
    header
        As received, in any character set; not changed.
    """
    declared = _declares_character_set(header)
    copy = Dataset()
    for element in _readable(header):
        repaired = _repaired(element, declared)
        if repaired is not None:
            copy.add(repaired)
    copy.SpecificCharacterSet = "ISO_IR 192"
    for keyword in _TYPE_2:
        if keyword not in copy:
            setattr(copy, keyword, "")
    if copy.PatientSex not in _SEXES:
        copy.PatientSex = ""
    _state_deidentification(copy)
    return copy


def _state_deidentification(copy: Dataset) -> None:
    """Type 1C where the identity was removed (PS3.3 C.7.1.1); many tools leave it out."""
    removed = copy.get("PatientIdentityRemoved") == "YES"
    stated = ("DeidentificationMethod", "DeidentificationMethodCodeSequence")
    if removed and not any(copy.get(keyword) for keyword in stated):
        copy.DeidentificationMethod = "Not stated by the source"


def source_headers(volume: CtVolume) -> list[Dataset]:
    """Return the normalised headers of a volume, with one orientation and one frame of reference.

    Cosines and spacings that differ in their last decimals between slices were accepted as one
    grid when the volume was assembled: those of the first slice stand for all.
    """
    headers = [normalise_header(header) for header in volume.source.headers]
    first = headers[0]
    for header, extent in zip(headers, volume.source.extents_mm, strict=True):
        header.ImageOrientationPatient = first.ImageOrientationPatient
        header.PixelSpacing = first.PixelSpacing
        if not header.get("SliceThickness"):
            header.SliceThickness = DSfloat(float(extent), auto_format=True)
    if not first.get("FrameOfReferenceUID"):
        _log.warning("frame of reference absent, made from the series", tag="(0020,0052)")
        for header in headers:
            header.FrameOfReferenceUID = derive("frame-of-reference", first.SeriesInstanceUID)
    return headers


def _declares_character_set(header: Dataset) -> bool:
    declared = header.get("SpecificCharacterSet") or ""
    named = [declared] if isinstance(declared, str) else list(declared)
    return any(name not in ("", "ISO_IR 6") for name in named)


def _readable(header: Dataset) -> Iterator[DataElement]:
    """Yield the public elements of the groups that new objects copy from, where they decode."""
    for tag in header.keys():  # noqa: SIM118 - iterating a Dataset decodes every element at once
        if tag.is_private or not 0x0008 <= tag.group <= _LAST_GROUP:
            continue
        try:
            yield header[tag]
        except Exception:  # whatever a parser raises of damaged bytes
            _log.warning("attribute of the source left out: it cannot be read", tag=str(tag))


def _repaired(element: DataElement, declared: bool) -> DataElement | None:
    """Return a sound copy of an element, or None where only leaving it out is left."""
    if element.VR == "SQ":
        return DataElement(element.tag, "SQ", [_item(item, declared) for item in element.value])
    value = element.value
    if isinstance(value, MultiValue | list) and _is_one(element):
        _log.warning("attribute of the source left empty: several values", tag=str(element.tag))
        sound: Any = ""
    elif isinstance(value, MultiValue | list):
        sound = [_sound(element.tag, element.VR, part, declared) for part in value]
    else:
        sound = _sound(element.tag, element.VR, value, declared)
    try:
        return DataElement(element.tag, element.VR, sound)
    except (ValueError, TypeError, OverflowError):
        return None


def _is_one(element: DataElement) -> bool:
    """Tell whether an element may have one value only, and is not copied as it is."""
    known = dictionary_has_tag(element.tag) and dictionary_VM(element.tag) == "1"
    return known and element.VR not in _COPIED


def _item(item: Dataset, declared: bool) -> Dataset:
    copy = Dataset()
    for element in _readable(item):
        repaired = _repaired(element, declared)
        if repaired is not None and element.keyword != "SpecificCharacterSet":
            copy.add(repaired)
    return copy


def _sound(tag: BaseTag, vr: str, value: Any, declared: bool) -> Any:  # noqa: ANN401
    """Return one value in a form that its VR allows, or an empty one."""
    if value is None or value == "":
        return ""
    if vr in ("DS", "IS"):
        return _number(tag, vr, value)
    if not isinstance(value, str) and vr != "PN":
        return value
    if vr == "UI" and is_uid(value):
        return value
    text = _CONTROL.sub(" ", _decoded(str(value), declared)) if vr not in ("LT", "ST") else value
    repair = _REPAIRS.get(vr)
    text = repair(text) if repair else text[: _LONGEST.get(vr, len(text))]
    try:
        validate_value(vr, text, config.RAISE)
    except ValueError:
        _log.warning("attribute of the source left empty: malformed", tag=str(tag), vr=vr)
        return ""
    return text


def _decoded(text: str, declared: bool) -> str:
    """Read undeclared text as UTF-8 where it is that, else as ISO 8859-1, its superset of ASCII."""
    if declared or text.isascii():
        return text
    try:
        return text.encode("iso8859-1").decode("utf-8")
    except UnicodeError:
        return text


def _number(tag: BaseTag, vr: str, value: Any) -> Any:  # noqa: ANN401
    """Cut a Decimal String to its 16 characters, empty it if it is none; pass everything else."""
    if vr != "DS" or len(str(value)) <= 16:
        return value
    try:
        return DSfloat(float(value), auto_format=True)
    except (ValueError, OverflowError):
        _log.warning("attribute of the source left empty: malformed", tag=str(tag), vr=vr)
        return ""


def _date(text: str) -> str:
    """YYYYMMDD out of the ways dates are mistyped, else nothing."""
    digits = re.sub(r"[-./ ]", "", text.strip())
    try:
        return date(int(digits[:4]), int(digits[4:6]), int(digits[6:])).strftime("%Y%m%d")
    except (ValueError, OverflowError):
        return ""


def _time(text: str) -> str:
    """HHMMSS.FFFFFF out of the ways times are mistyped, else nothing."""
    found = re.fullmatch(r"(\d{2}):?(\d{2})?:?(\d{2})?(\.\d{1,6})?\d*", text.strip())
    if not found:
        return ""
    hour, minute, second, fraction = (part or "" for part in found.groups())
    sound = int(hour) < 24 and int(minute or 0) < 60 and int(second or 0) < 61
    return f"{hour}{minute}{second}{fraction if second else ''}" if sound else ""


def _age(text: str) -> str:
    """nnnD, nnnW, nnnM or nnnY; a bare number is years."""
    found = re.fullmatch(r"(\d{1,3})\s*([DWMY]?)", text.strip().upper())
    return f"{int(found[1]):03d}{found[2] or 'Y'}" if found else ""


def _code(text: str) -> str:
    return re.sub(r"[^A-Z0-9_ ]", "_", text.strip().upper())[:16]


def _name(text: str) -> str:
    return "=".join(group[:64] for group in text.split("=")[:3])


_REPAIRS: dict[str, Callable[[str], str]] = {
    "DA": _date,
    "TM": _time,
    "AS": _age,
    "CS": _code,
    "PN": _name,
}


def readable_as_ct(header: Dataset) -> Dataset:
    """Return a header by which the library copies patient and study.

    It does so by SOP Class, and knows only the standard's own.
    """
    copy = Dataset(dict(header.items()))
    copy[_SOP_CLASS] = DataElement(_SOP_CLASS, "UI", CTImageStorage)
    return copy


def carry_lossy(built: Dataset, headers: Sequence[Dataset]) -> None:
    """Say that what was read had once been compressed with loss (PS3.3 C.7.6.1.1.5)."""
    lossy = next((h for h in headers if h.get("LossyImageCompression") == "01"), None)
    if lossy is None:
        return
    for keyword in (
        "LossyImageCompression",
        "LossyImageCompressionRatio",
        "LossyImageCompressionMethod",
    ):
        if keyword in lossy:
            setattr(built, keyword, lossy[keyword].value)


def same_subject(headers: Sequence[Dataset]) -> list[Dataset]:
    """Return the headers of the patient and study of the first one, each instance once.

    Raises
    ------
    ValueError
        No header names its instance, series and study: nothing can be said about it in DICOM.
    """
    named = [header for header in headers if all(header.get(keyword) for keyword in NAMES)]
    if not named:
        raise ValueError("no header has SOP Class, SOP Instance, Series and Study Instance UID")
    subject = (named[0].StudyInstanceUID, named[0].PatientID)
    kept: dict[str, Dataset] = {}
    for header in named:
        if (header.StudyInstanceUID, header.PatientID) == subject:
            kept.setdefault(str(header.SOPInstanceUID), header)
    return list(kept.values())
