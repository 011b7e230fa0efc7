"""Two objects under one SOP Instance UID: the same, a correction, or a conflict."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from pydicom import Dataset

# What places pixels in the patient or gives them their meaning: other values are another object.
_GEOMETRY = (
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SOPClassUID",
    "FrameOfReferenceUID",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SliceThickness",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "RescaleSlope",
    "RescaleIntercept",
)
# Differ between two encodings of one object.
_ENCODING = frozenset(
    {
        "PixelData",
        "PhotometricInterpretation",
        "PlanarConfiguration",
        "SpecificCharacterSet",
    }
)


class Kind(StrEnum):
    """What a second object under a known UID is."""

    DUPLICATE = "duplicate"
    CORRECTION = "header_changed"
    CONFLICT = "conflict"


@dataclass(frozen=True)
class Difference:
    """How two objects differ: ``keywords`` name elements, never values."""

    kind: Kind
    keywords: tuple[str, ...]


def compare(kept: Dataset, came: Dataset) -> Difference:
    """Compare two data sets of one SOP Instance UID, pixels decoded.

    Pixels that cannot be decoded count as equal only where their bytes are.
    """
    differing = _differing(kept, came)
    severe = tuple(name for name in _GEOMETRY if name in differing)
    if severe:
        return Difference(Kind.CONFLICT, severe)
    if not _same_pixels(kept, came):
        return Difference(Kind.CONFLICT, ("PixelData",))
    if differing:
        return Difference(Kind.CORRECTION, tuple(sorted(differing)))
    return Difference(Kind.DUPLICATE, ())


def _differing(kept: Dataset, came: Dataset) -> set[str]:
    tags = {element.tag for element in kept} | {element.tag for element in came}
    found = set()
    for tag in tags:
        one, other = kept.get(tag), came.get(tag)
        name = str((one or other).keyword or tag)
        if name not in _ENCODING and (one is None or other is None or one.value != other.value):
            found.add(name)
    return found


def _same_pixels(kept: Dataset, came: Dataset) -> bool:
    if kept.get("PixelData") == came.get("PixelData"):
        return True
    if "PixelData" not in kept or "PixelData" not in came:
        return False
    try:
        return bool(np.array_equal(kept.pixel_array, came.pixel_array))
    except Exception:  # whatever a decoder raises: what cannot be shown equal is not
        return False
