"""Which series is to be read: refusing on header facts alone, and choosing among several.

What needs positions or pixels (tilt, spacing, HU, is it a head) is decided when the series is
assembled.
"""

from __future__ import annotations

import re
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from pydicom import Dataset
from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    LegacyConvertedEnhancedCTImageStorage,
)

from ich_node.errors import Reason
from ich_node.geometry import MIN_SLICES, plane_axes
from ich_node.records import Refusal

# The model has learned from 5 mm slices.
PREFERRED_THICKNESS_MM = 5.0
# A whole head is 120 to 180 mm high; less is a part of one.
WHOLE_HEAD_MM = 100.0
# Cosine of the angle between the normal and the patient's long axis: 45 degrees.
_AXIAL_COSINE = 0.7

_MULTIFRAME = (EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage)
_CT = (CTImageStorage, *_MULTIFRAME)
# Words of Image Type that say a picture was computed from a volume (PS3.3 C.8.16.1).
_COMPUTED = frozenset(
    {"MPR", "CPR", "MIP", "MINIP", "MAX_IP", "MIN_IP", "PROJECTION IMAGE", "REFORMATTED", "CSA MPR"}
    | {"VRT", "SSD", "3D", "VOLREN", "VOLUME", "SCREEN SAVE", "AVERAGE", "CSAPARALLEL", "RANGE"}
)


class Kernel(IntEnum):
    """What a reconstruction kernel is made for; higher is better for blood."""

    BONE = 0
    UNKNOWN = 1
    SOFT = 2


# Names of Convolution Kernel (0018,1210), whole, first match wins.
KERNELS: tuple[tuple[str, Kernel], ...] = (
    # GE
    (r"STANDARD|STD\+?|STND|SOFT|BRAIN", Kernel.SOFT),
    (r"BONE(PLUS)?|EDGE|LUNG|DETAIL|ULTRA", Kernel.BONE),
    # Philips
    (r"U[ABC]|A|B|BRAIN STANDARD|BRAIN SHARP|BRAIN SMOOTH", Kernel.SOFT),
    (r"Y[A-E]|C|D|E|L", Kernel.BONE),
    # Canon, Toshiba: FC20..29 and FC62..68 brain, FC30..39, FC50..59 and FC80..89 bone and lung
    (r"FC(2\d|6[2-8]|0\d|1\d|4[1-4])[A-Z]?", Kernel.SOFT),
    (r"FC(3\d|5\d|8\d)[A-Z]?", Kernel.BONE),
    # Siemens: letters and the sharpness, H31s, J40s, Hr38, Hc40f; sharp from 50 on
    (r"[BHIJQTU][A-Z]?[1-4]\d[A-Z]{0,2}", Kernel.SOFT),
    (r"[BHIJQTU][A-Z]?[5-9]\d[A-Z]{0,2}", Kernel.BONE),
)


@dataclass(frozen=True)
class SeriesFacts:
    """What the headers of one series say, as far as choosing needs it.

    Parameters
    ----------
    series_instance_uid
        Of the first header.
    instances
        All instances of the series.
    slices
        Distinct CT images that are no localizers.
    ct, multiframe, localizers, computed
        How many instances are CT Image Storage, are multi-frame CT, are CT localizers, are CT
        images computed from a volume (reformats, projections, renderings).
    sop_class
        Name of the commonest SOP class.
    axial
        Whether the images lie across the patient's long axis; None where the headers do not say.
    contrast
        Whether a contrast agent is named.
    kernel
        What the reconstruction kernel is made for.
    thickness_mm
        Median Slice Thickness, or None.
    """

    series_instance_uid: str
    instances: int
    slices: int
    ct: int
    multiframe: int
    localizers: int
    computed: int
    sop_class: str
    axial: bool | None
    contrast: bool
    kernel: Kernel
    thickness_mm: float | None


def facts_of(headers: Sequence[Dataset]) -> SeriesFacts:
    """Read the facts out of the headers of one series; at least one header."""
    ct = [header for header in headers if _get(header, "SOPClassUID") in _CT]
    slices = [header for header in ct if not _is_localizer(header)]
    shown = slices or ct or list(headers)
    thicknesses = [part for header in slices if (part := _number(header, "SliceThickness"))]
    classes = Counter(_get(header, "SOPClassUID") for header in headers)
    commonest = classes.most_common(1)[0][0]
    return SeriesFacts(
        series_instance_uid=str(_get(headers[0], "SeriesInstanceUID") or ""),
        instances=len(headers),
        slices=sum({str(_get(each, "SOPInstanceUID")): _frames(each) for each in slices}.values()),
        ct=len(ct),
        multiframe=sum(_get(header, "SOPClassUID") in _MULTIFRAME for header in headers),
        localizers=len(ct) - len(slices),
        computed=sum(_is_computed(header) for header in slices),
        sop_class=str(getattr(commonest, "name", "without a SOP class")),
        axial=_is_axial(shown[len(shown) // 2]),
        contrast=any(_has_contrast(header) for header in slices),
        kernel=kernel_of(_first(shown[0], "ConvolutionKernel")),
        thickness_mm=statistics.median(thicknesses) if thicknesses else None,
    )


def refuse(facts: SeriesFacts) -> Refusal | None:
    """Return why a series is not one to read, or None where its headers give no reason."""
    if not facts.ct:
        return Refusal(
            Reason.NOT_CT,
            f"all {facts.instances} instances are {facts.sop_class}, none is a CT image",
        )
    if facts.localizers == facts.ct:
        return Refusal(
            Reason.LOCALIZER, f"all {facts.ct} CT images are localizers (Image Type value 3)"
        )
    if 2 * facts.computed > facts.slices:
        return Refusal(
            Reason.NOT_ORIGINAL,
            f"{facts.computed} of {facts.slices} CT images are computed from a volume, as "
            "reformats or renderings (Image Type); only original axial images are read",
        )
    if facts.slices < MIN_SLICES:
        return Refusal(
            Reason.TOO_FEW_SLICES,
            f"{facts.slices} CT slices; at least {MIN_SLICES} are needed",
        )
    return None


def choose_series(
    candidates: Sequence[SeriesFacts],
) -> tuple[SeriesFacts | None, list[tuple[SeriesFacts, Refusal]]]:
    """Choose the series to read among those of one folder or study.

    Axial comes before other directions, then a whole head before a part, no contrast agent before
    contrast, a soft kernel before an unknown one before bone, the thickness nearest to 5 mm, the
    most slices, and last the UID, so that the choice is always the same.

    Returns
    -------
    chosen, others
        ``chosen`` is None where every series is refused. ``others`` holds every other series, in
        the order given, with the reason why it was not chosen.
    """
    refusals = [(facts, refuse(facts)) for facts in candidates]
    readable = [facts for facts, refusal in refusals if refusal is None]
    chosen = max(readable, key=_preference) if readable else None
    others = [
        (facts, refusal or _passed_over(facts, chosen))
        for facts, refusal in refusals
        if facts is not chosen
    ]
    return chosen, others


def kernel_of(name: str) -> Kernel:
    """Tell what a kernel is made for by the vendors' names."""
    wanted = name.strip().upper()
    hits = (kind for pattern, kind in KERNELS if re.fullmatch(pattern, wanted))
    return next(hits, Kernel.UNKNOWN)


# What decides between two series that could both be read, in this order, and how to say so.
_CRITERIA = (
    "is not axial",
    "shows only part of a head",
    "has contrast agent",
    "has a less suitable kernel",
    "has a thickness farther from 5 mm",
    "has fewer slices",
    "is equally good, and was not the first by UID",
)


def _preference(facts: SeriesFacts) -> tuple[Any, ...]:
    """Larger is better; one entry for each of `_CRITERIA`."""
    thickness = facts.thickness_mm
    return (
        facts.axial is not False,
        thickness is None or facts.slices * thickness >= WHOLE_HEAD_MM,
        not facts.contrast,
        facts.kernel,
        -abs((thickness or PREFERRED_THICKNESS_MM) - PREFERRED_THICKNESS_MM),
        facts.slices,
        [-ord(letter) for letter in facts.series_instance_uid],
    )


def _passed_over(facts: SeriesFacts, chosen: SeriesFacts | None) -> Refusal:
    if chosen is None:  # then every series has a refusal of its own
        raise ValueError("no series was chosen")
    pairs = zip(_preference(facts), _preference(chosen), _CRITERIA, strict=True)
    why = next((word for mine, best, word in pairs if mine != best), _CRITERIA[-1])
    return Refusal(Reason.NOT_CHOSEN, f"another series was chosen: this one {why}")


def _has_contrast(header: Dataset) -> bool:
    agent = str(_get(header, "ContrastBolusAgent") or "").strip().upper()
    return agent not in ("", "NONE", "NO")


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


def _first(header: Dataset, keyword: str) -> str:
    value = _get(header, keyword)
    many = [value] if value is None or isinstance(value, str) else list(value)
    return str(many[0] or "") if many else ""


def _number(header: Dataset, keyword: str) -> float | None:
    try:
        return float(_get(header, keyword) or 0) or None
    except (TypeError, ValueError):
        return None


def _get(header: Dataset, keyword: str) -> Any:  # noqa: ANN401 - elements hold anything
    """Return an element's value; None where it is absent or cannot be decoded."""
    try:
        return header.get(keyword)
    except Exception:  # a damaged element must not hide the others
        return None
