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
from pydicom.dataelem import RawDataElement
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    UID,
    CTImageStorage,
    EnhancedCTImageStorage,
    ExplicitVRLittleEndian,
    LegacyConvertedEnhancedCTImageStorage,
)

from ich_node.assemble import source
from ich_node.assemble.pixels import check_voxels, decoded
from ich_node.assemble.source import SourceImage, number, text
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
_NOT_OF_A_SLICE = (
    "PixelData",
    "NumberOfFrames",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
    "DimensionOrganizationSequence",
    "DimensionIndexSequence",
)


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
    groups = list(dataset.get("PerFrameFunctionalGroupsSequence") or [])
    shared = next(iter(dataset.get("SharedFunctionalGroupsSequence") or []), Dataset())
    common = Dataset()
    for element in dataset:
        if element.keyword not in _NOT_OF_A_SLICE:
            common.add(element)
    _check_elements(image, len(groups) * _elements(common))
    stored = _stored(image, len(groups))
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    for index, (group, plane) in enumerate(zip(groups, stored, strict=True), start=1):
        frame = copy.deepcopy(common)
        frame.file_meta = meta
        frame.SOPClassUID = CTImageStorage
        frame.SOPInstanceUID = derive("frame", image.uid, str(index))
        frame.InstanceNumber = index
        _take(frame, group, shared)
        kind = "<i2" if number(dataset, "PixelRepresentation") else "<u2"
        frame.PixelData = np.ascontiguousarray(plane.astype(kind)).tobytes()
        frame.BitsAllocated = 16
        yield SourceImage(f"{image.name} frame {index}", frame)


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


def _take(frame: Dataset, group: Dataset, shared: Dataset) -> None:
    """Copy into a slice what holds for its frame: per frame, else for all."""
    for macro, keywords in _MACROS.items():
        for keyword in keywords:
            value = _said(group, macro, keyword)
            value = _said(shared, macro, keyword) if value is None else value
            if value is not None:
                setattr(frame, keyword, value)
    content = next(iter(group.get("FrameContentSequence") or []), Dataset())
    if number(content, "FrameAcquisitionNumber") is not None:
        frame.AcquisitionNumber = content.FrameAcquisitionNumber
    for holder in (shared, group):
        kind = _said(holder, "CTImageFrameTypeSequence", "FrameType")
        if kind is not None:
            frame.ImageType = kind


def _said(groups: Dataset, macro: str, keyword: str) -> Any:  # noqa: ANN401 - elements hold anything
    item = next(iter(groups.get(macro) or []), Dataset())
    return item.get(keyword)


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
    return planes
