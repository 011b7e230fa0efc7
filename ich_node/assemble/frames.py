"""The frames of Enhanced and Legacy Converted CT as slices (PS3.3 A.38, A.70).

Each frame becomes a data set of its own with what its functional groups say, under a UID of its
own; `FrameName` keeps how the frame is named to others.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import Dataset
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import FileMetaDataset
from pydicom.tag import BaseTag, Tag
from pydicom.uid import (
    UID,
    CTImageStorage,
    EnhancedCTImageStorage,
    ExplicitVRLittleEndian,
    LegacyConvertedEnhancedCTImageStorage,
)

from ich_node.assemble import source
from ich_node.assemble.pixels import check_voxels, decoded
from ich_node.assemble.source import SourceImage, items, number, text
from ich_node.errors import Reason, SeriesRefused
from ich_node.records import FrameName
from ich_node.uids import derive

MULTIFRAME = (EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage)

# What a frame says in its functional groups and a slice in its data set (PS3.3 C.7.6.16.2).
_MACROS = {
    "PlanePositionSequence": ("ImagePositionPatient",),
    "PlaneOrientationSequence": ("ImageOrientationPatient",),
    "PixelMeasuresSequence": ("PixelSpacing", "SliceThickness"),
    "PixelValueTransformationSequence": ("RescaleSlope", "RescaleIntercept", "RescaleType"),
}
_IMAGE_TYPE = Tag("ImageType")
_MOST_US = 0xFFFF  # of the value representation of Frame Acquisition Number
_NOT_OF_A_SLICE = {
    Tag("PixelData"),
    Tag("NumberOfFrames"),
    Tag("SharedFunctionalGroupsSequence"),
    Tag("PerFrameFunctionalGroupsSequence"),
    Tag("DimensionOrganizationSequence"),
    Tag("DimensionIndexSequence"),
}


def as_slices(
    images: Sequence[SourceImage],
) -> tuple[list[SourceImage], dict[str, FrameName]]:
    """Replace multi-frame images by their frames.

    Returns
    -------
    images, names
        ``names`` holds for each frame, by its UID here, how others know it.

    Raises
    ------
    SeriesRefused
        TOO_LARGE, before anything is decoded; UNREADABLE where pixels cannot be; MULTIFRAME where
        functional groups do not describe the frames.
    """
    check_voxels([image for image in images if text(image.dataset, "SOPClassUID") in MULTIFRAME])
    slices: list[SourceImage] = []
    names: dict[str, FrameName] = {}
    for image in images:
        sop_class = UID(text(image.dataset, "SOPClassUID"))
        if sop_class not in MULTIFRAME:
            slices.append(image)
            continue
        for index, frame in enumerate(_frames(image), start=1):
            slices.append(frame)
            names[frame.uid] = FrameName(str(sop_class), image.uid, index)
    return slices, names


def _frames(image: SourceImage) -> Iterator[SourceImage]:
    dataset = image.dataset
    groups = items(image, dataset, "PerFrameFunctionalGroupsSequence")
    shared = _first(image, dataset, "SharedFunctionalGroupsSequence")
    common = _common(dataset)
    _check_elements(image, len(groups) * _elements(common))
    stored = _stored(image, len(groups))
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    for index, (group, plane) in enumerate(zip(groups, stored, strict=True), start=1):
        frame = copy.deepcopy(common)
        frame.update(_of_frame(image, group, shared))
        frame.update(_own(image.uid, index, plane))
        frame.file_meta = meta
        yield SourceImage(f"{image.name} frame {index}", frame)


def _common(dataset: Dataset) -> Dataset:
    """Return what is said of all frames, as encoded: what a slice does not need may be damaged."""
    kept = set(dataset.keys()) - _NOT_OF_A_SLICE
    common = Dataset({tag: _encoded(dataset, tag) for tag in kept})
    common.set_original_encoding(*dataset.original_encoding, dataset.original_character_set)
    return common


def _encoded(holder: Dataset, key: str | BaseTag) -> DataElement | RawDataElement | None:
    """Return an element as it is; pydicom would decode an empty one, of whatever VR."""
    return holder.get_item(key, keep_deferred=True)


def _own(uid: str, index: int, plane: npt.NDArray[Any]) -> Dataset:
    """Return what makes an image of a frame."""
    own = Dataset()
    own.SOPClassUID = CTImageStorage
    own.SOPInstanceUID = derive("frame", uid, str(index))
    own.InstanceNumber = index
    kind = "<i2" if plane.dtype.kind == "i" else "<u2"
    own.PixelData = np.ascontiguousarray(plane.astype(kind)).tobytes()
    own.BitsAllocated = 16
    return own


def _check_elements(image: SourceImage, elements: int) -> None:
    """What all frames share becomes part of each: a few megabytes may become gigabytes."""
    if elements > source.MOST_ELEMENTS:
        raise SeriesRefused(
            Reason.UNREADABLE,
            f"file {image.name}: its frames as slices have {elements} elements, at most "
            f"{source.MOST_ELEMENTS} are read; send the series without those that it does not need",
        )


def _elements(dataset: Dataset) -> int:
    inside = 0
    for element in dataset.values():
        if not isinstance(element, RawDataElement) and element.VR == "SQ":
            inside += sum(1 + _elements(item) for item in element.value)
    return len(dataset) + inside


def _of_frame(image: SourceImage, group: Dataset, shared: Dataset) -> Dataset:
    """Return what holds for a frame: what is said per frame, else for all.

    Values are taken as they are encoded, and judged like those of any other slice.
    """
    found = Dataset()
    for macro, keywords in _MACROS.items():
        for holder in (_first(image, shared, macro), _first(image, group, macro)):
            for keyword in keywords:
                element = _encoded(holder, keyword)
                if element is not None and element.value not in (None, "", b""):
                    found[element.tag] = element
    acquisition = number(_first(image, group, "FrameContentSequence"), "FrameAcquisitionNumber")
    if acquisition is not None and 0 <= acquisition <= _MOST_US:
        found.AcquisitionNumber = int(acquisition)
    for holder in (shared, group):
        kind = _encoded(_first(image, holder, "CTImageFrameTypeSequence"), "FrameType")
        if isinstance(kind, RawDataElement) and kind.value:
            found[_IMAGE_TYPE] = kind._replace(tag=_IMAGE_TYPE)
    return found


def _first(image: SourceImage, holder: Dataset, keyword: str) -> Dataset:
    """Return the only item of a sequence, an empty one where it has none."""
    return next(iter(items(image, holder, keyword)), Dataset())


def _stored(image: SourceImage, frames: int) -> npt.NDArray[Any]:
    """Decode all frames at once, shape (frame, row, column)."""
    shape = (int(image.dataset.Rows), int(image.dataset.Columns))
    planes = decoded(image).reshape(-1, *shape)
    if len(planes) != frames:
        raise SeriesRefused(
            Reason.MULTIFRAME,
            f"file {image.name}: pixel data has {len(planes)} frames, its functional groups "
            f"(5200,9230) describe {frames}",
        )
    if planes.dtype.kind not in "iu" or planes.dtype.itemsize > 2:
        raise SeriesRefused(
            Reason.UNREADABLE,
            f"file {image.name}: its pixels are {planes.dtype.name}, expected whole numbers of 16 "
            "bits (PS3.3 C.8.15.2); send it again",
        )
    return planes
