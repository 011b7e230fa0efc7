"""What the headers of one series say, as far as choosing needs it.

Free text of a header goes no further than this: facts hold the rule's own word that it matched.
"""

from __future__ import annotations

import math
import re
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from pydicom import Dataset
from pydicom.uid import (
    UID,
    CTImageStorage,
    EnhancedCTImageStorage,
    LegacyConvertedEnhancedCTImageStorage,
)

from ich_node.complete.words import Kernel, kernel_of, matched
from ich_node.geometry import plane_axes
from ich_node.settings import Selection
from ich_node.uids import name_of

# Cosine of the angle between the normal and the patient's long axis: 45 degrees.
_AXIAL_COSINE = 0.7
_CT = (CTImageStorage, EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage)
# Words of Image Type that say a picture was computed from a volume (PS3.3 C.8.16.1).
_COMPUTED = frozenset(
    {"MPR", "CPR", "MIP", "MINIP", "MAX_IP", "MIN_IP", "PROJECTION IMAGE", "REFORMATTED", "CSA MPR"}
    | {"VRT", "SSD", "3D", "VOLREN", "VOLUME", "SCREEN SAVE", "AVERAGE", "CSAPARALLEL", "RANGE"}
)
# Every element that is looked at here.
KEYWORDS = (
    *("ImageType", "SOPClassUID", "SOPInstanceUID", "StudyDate", "SeriesDate", "AcquisitionDate"),
    *("StudyDescription", "SeriesDescription", "PatientBirthDate", "PatientAge"),
    *("ContrastBolusAgent", "BodyPartExamined", "SliceThickness", "ProtocolName"),
    *("ConvolutionKernel", "SeriesInstanceUID", "ImageOrientationPatient", "NumberOfFrames"),
)
_YEARS = {"Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}
_DAYS_A_YEAR = 365.25


@dataclass(frozen=True)
class SeriesFacts:
    """What the headers of one series say.

    Parameters
    ----------
    series_instance_uid
        Of the first header.
    instances
        All instances of the series.
    slices
        Distinct CT images that are no localizers; of multi-frame CT each frame.
    ct, localizers, computed
        How many instances are CT, are CT localizers, are CT images computed from a volume
        (reformats, projections, renderings).
    sop_class
        Name of the commonest SOP class.
    axial
        Whether the images lie across the patient's long axis; None where the headers do not say.
    kernel, kernel_name
        What the reconstruction kernel is made for, and by which name.
    thickness_mm
        Median Slice Thickness, or None.
    age_years
        At the time of the study, or None.
    contrast
        What says that there is contrast medium, in words; None where nothing does, or where the
        headers contradict one another.
    localizer, dose_report, reformat, perfusion, bone
        The rule's word that matched, or None.
    head, other_body
        The rule's word that says it is a head; that it is another part of the body.
    """

    series_instance_uid: str
    instances: int
    slices: int
    ct: int
    localizers: int = 0
    computed: int = 0
    sop_class: str = "CT Image Storage"
    axial: bool | None = None
    kernel: Kernel = Kernel.UNKNOWN
    kernel_name: str = ""
    thickness_mm: float | None = None
    age_years: float | None = None
    contrast: str | None = None
    localizer: str | None = None
    dose_report: str | None = None
    reformat: str | None = None
    perfusion: str | None = None
    bone: str | None = None
    head: str | None = None
    other_body: str | None = None


def facts_of(headers: Sequence[Dataset], rules: Selection) -> SeriesFacts:
    """Read the facts out of the headers of one series; at least one header."""
    ct = [header for header in headers if _class_of(header) in _CT]
    slices = [header for header in ct if not _is_localizer(header)]
    shown = (slices or ct or list(headers))[0]
    middle = (slices or ct or list(headers))[len(slices or ct or headers) // 2]
    thicknesses = [part for header in slices if (part := _number(header, "SliceThickness"))]
    classes = Counter(_class_of(header) for header in headers)
    commonest = classes.most_common(1)[0][0]
    kernel_name = _first(shown, "ConvolutionKernel")
    return SeriesFacts(
        series_instance_uid=str(_get(headers[0], "SeriesInstanceUID") or ""),
        instances=len(headers),
        slices=sum({str(_get(each, "SOPInstanceUID")): _frames(each) for each in slices}.values()),
        ct=len(ct),
        localizers=len(ct) - len(slices),
        computed=sum(_is_computed(header) for header in slices),
        sop_class=name_of(commonest or "") or "without a SOP class",
        axial=_is_axial(middle),
        kernel=kernel_of(kernel_name, rules.soft_kernels, rules.bone_kernels),
        kernel_name=kernel_name,
        thickness_mm=statistics.median(thicknesses) if thicknesses else None,
        age_years=_age_years(shown),
        **_said(shown, rules),
    )


def _said(header: Dataset, rules: Selection) -> dict[str, str | None]:
    """What one header says in words, as the words of the rules."""
    # A protocol holds plain images, angiography and perfusion alike: the description knows better.
    described = _text(header, "SeriesDescription") or _text(header, "ProtocolName")
    told = " / ".join((described, *_image_type(header)))
    body = _text(header, "BodyPartExamined")
    head = matched(rules.head_words, f"{body} / {described}")
    study = " / ".join(_text(header, word) for word in ("ProtocolName", "StudyDescription"))
    other = matched(rules.other_body_words, body) or matched(rules.other_body_words, described)
    return {
        "contrast": _contrast(_text(header, "ContrastBolusAgent"), described, rules),
        "localizer": matched(rules.localizer_words, described),
        "dose_report": matched(rules.dose_report_words, described),
        "reformat": matched(rules.reformat_words, told),
        "perfusion": matched(rules.perfusion_words, told),
        "bone": matched(rules.bone_words, described),
        "head": head or (None if other else matched(rules.head_words, study)),
        "other_body": None if head else other,
    }


def _contrast(agent: str, described: str, rules: Selection) -> str | None:
    """Say what tells of contrast medium; None where nothing does, or something denies it too."""
    if matched(rules.no_contrast_words, described):
        return None
    word = matched(rules.contrast_words, described)
    if word is not None:
        return f"its description has the word {word!r}"
    if agent and not matched(rules.no_contrast_words, agent) and agent.upper() not in ("N", "0"):
        return "Contrast/Bolus Agent (0018,0010) names an agent"
    return None


def _age_years(header: Dataset) -> float | None:
    """Patient's Age, else from the birth date and the date of the study."""
    said = re.fullmatch(r"(\d{1,3})([DWMY])", _text(header, "PatientAge").upper())
    if said is not None and int(said[1]):
        return int(said[1]) * _YEARS[said[2]]
    born = _date(header, "PatientBirthDate")
    dates = (_date(header, word) for word in ("StudyDate", "SeriesDate", "AcquisitionDate"))
    at = next((found for found in dates if found is not None), None)
    return (at - born).days / _DAYS_A_YEAR if born and at and at >= born else None


def _date(header: Dataset, keyword: str) -> date | None:
    try:
        return datetime.strptime(_text(header, keyword)[:8], "%Y%m%d").date()
    except ValueError:
        return None


def _frames(header: Dataset) -> int:
    return int(_number(header, "NumberOfFrames") or 1)


def _is_localizer(header: Dataset) -> bool:
    return "LOCALIZER" in _image_type(header)[2:]


def _is_computed(header: Dataset) -> bool:
    words = _image_type(header)
    if words[:1] != ["DERIVED"]:
        return False
    secondary = words[1:2] == ["SECONDARY"] and words[2:3] != ["AXIAL"]
    return secondary or not _COMPUTED.isdisjoint(words)


def _image_type(header: Dataset) -> list[str]:
    value = _get(header, "ImageType") or []
    return [str(word).strip().upper() for word in ([value] if isinstance(value, str) else value)]


def _is_axial(header: Dataset) -> bool | None:
    try:
        cosines = [float(part) for part in _get(header, "ImageOrientationPatient") or []]
    except (TypeError, ValueError):
        return None
    return abs(float(plane_axes(cosines)[2][2])) > _AXIAL_COSINE if len(cosines) == 6 else None


def _text(header: Dataset, keyword: str) -> str:
    return str(_get(header, keyword) or "").strip()


def _first(header: Dataset, keyword: str) -> str:
    value = _get(header, keyword)
    many = [value] if value is None or isinstance(value, str) else list(value)
    return str(many[0] or "") if many else ""


def _number(header: Dataset, keyword: str) -> float | None:
    try:
        found = float(_get(header, keyword) or 0)
    except (TypeError, ValueError, OverflowError):
        return None
    return found if found and math.isfinite(found) else None


def _class_of(header: Dataset) -> UID | None:
    value = _get(header, "SOPClassUID")
    return value if isinstance(value, UID) else None  # damage can make it several


def _get(header: Dataset, keyword: str) -> Any:  # noqa: ANN401 - elements hold anything
    """Return an element's value; None where it is absent or cannot be decoded."""
    try:
        return header.get(keyword)
    except Exception:  # a damaged element must not hide the others
        return None
