"""Two objects under one SOP Instance UID: the same, a correction, or a conflict."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from pydicom import DataElement, Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_data_element
from pydicom.tag import BaseTag

from ich_node.decoding import Undecodable, stored_values

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
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
    "PhotometricInterpretation",
    "RescaleSlope",
    "RescaleIntercept",
    "FloatPixelData",
    "DoubleFloatPixelData",
)
# Differ between two encodings of one object; a compressor notes itself in the derivation.
_ENCODING = frozenset(
    {
        "PixelData",
        "PlanarConfiguration",
        "SpecificCharacterSet",
        "ExtendedOffsetTable",
        "ExtendedOffsetTableLengths",
        "EncapsulatedPixelDataValueTotalLength",
        "DataSetTrailingPadding",
        "DerivationDescription",
        "DerivationCodeSequence",
    }
)


# Pixels that are more once decoded, bytes, are not decoded to be compared.
_MOST_DECODED = 512 << 20
_LONGEST_VALUE = 4  # of one sample


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
    """Name the elements with other values; encodings and group lengths (PS3.5 7.2) do not count."""
    found = set()
    for tag in kept.keys() | came.keys():
        name = _name(tag, kept, came)
        if name in _ENCODING or tag.element == 0:
            continue
        one, other = kept.get(tag), came.get(tag)
        if one is None or other is None or not _same_value(one, other):
            found.add(name)
    if "PhotometricInterpretation" in found and _in_colour(kept) and _in_colour(came):
        found.remove("PhotometricInterpretation")  # the colours of the pixels are compared instead
    return found


def _name(tag: BaseTag, *datasets: Dataset) -> str:
    keyword = next(dataset[tag].keyword for dataset in datasets if tag in dataset)
    return str(keyword or tag)


def _same_value(one: DataElement, other: DataElement) -> bool:
    """Equal values; or equal bytes where one VR is unknown, as a private one sent implicit is."""
    if "UN" in (one.VR, other.VR) and one.VR != other.VR:
        return _encoded(one) == _encoded(other)
    return bool(one.value == other.value)


def _encoded(element: DataElement) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, True
    write_data_element(buffer, element)
    return bytes(buffer.getvalue())


def _in_colour(dataset: Dataset) -> bool:
    return str(dataset.get("PhotometricInterpretation", "")).startswith(("RGB", "YBR"))


def _decoded_size(dataset: Dataset) -> int:
    """Return what the header says that the pixels are once decoded, bytes."""
    keywords = ("Rows", "Columns", "SamplesPerPixel", "NumberOfFrames")
    return math.prod([int(dataset.get(name) or 1) for name in keywords], start=_LONGEST_VALUE)


def _same_pixels(kept: Dataset, came: Dataset) -> bool:
    if kept.get("PixelData") == came.get("PixelData"):
        return True
    if "PixelData" not in kept or "PixelData" not in came:
        return False
    if max(_decoded_size(kept), _decoded_size(came)) > _MOST_DECODED:
        return False
    try:
        ours, theirs = (stored_values(one, at_any_price=False) for one in (kept, came))
        return bool(np.array_equal(ours, theirs))
    except (Undecodable, MemoryError):  # what cannot be shown equal is not
        return False
