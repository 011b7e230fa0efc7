"""SEG and SR read back with plain pydicom, by other code than wrote them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from pydicom import Dataset

from ich_node import codes
from ich_node.codes import OF_CLASS, SUBTYPES, Concept
from ich_node.errors import CheckFailed
from ich_node.report.outlines import Mask, Polyline

_SUBTYPE_OF_CODE = {OF_CLASS[name].finding.value: name for name in SUBTYPES}
_CLASS_OF_CODE = {entry.finding.value: name for name, entry in OF_CLASS.items()}
_TRACKING_UID = Concept("112040", "DCM", "Tracking Unique Identifier")
_MEASUREMENT_GROUP = Concept("125007", "DCM", "Measurement Group")
_IMAGE_REGION = Concept("111030", "DCM", "Image Region")
_PREDECESSORS = 0x0040A360  # Predecessor Documents Sequence
# What the items of a Referenced Series Sequence hold: of an SR, a segmentation, a presentation.
_INSTANCES = ("ReferencedSOPSequence", "ReferencedInstanceSequence", "ReferencedImageSequence")


class Instance(NamedTuple):
    """An image or object by all that names it."""

    study_instance_uid: str
    series_instance_uid: str
    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True)
class Frame:
    """One frame of the SEG: what it shows, on which image, and where (LPS, mm)."""

    number: int
    subtype: str
    source_uid: str
    position: npt.NDArray[np.float64]
    orientation: npt.NDArray[np.float64]
    pixel_spacing: tuple[float, float]
    mask: Mask


@dataclass(frozen=True)
class Said:
    """What the SR says of one class; certainty in percent, volume in mL, None where not given."""

    present: bool
    certainty: float | None
    volume_ml: float | None


@dataclass(frozen=True)
class Group:
    """One Measurement Group of the SR: outlines by the SOP Instance UID of their image."""

    subtype: str
    tracking_uid: str
    said: Said
    outlines: dict[str, list[Polyline]]


@dataclass(frozen=True)
class Report:
    """What an SR says: Measurement Groups, Qualitative Evaluations, and its texts."""

    groups: list[Group]
    evaluations: dict[str, Said]
    texts: list[str]


def segments(seg: Dataset) -> dict[str, str]:
    """Return the Tracking UID of each subtype that has a segment."""
    return {_subtype(item): str(item.TrackingUID) for item in _bleeds(seg)}


def _bleeds(seg: Dataset) -> list[Dataset]:
    """The items of segments; a label map describes the background too, as number 0."""
    return [item for item in seg.SegmentSequence if item.SegmentNumber]


def frames(seg: Dataset) -> Iterator[Frame]:
    """Yield the frames of a BINARY segmentation; those of a label map, once for each segment."""
    subtypes = {int(item.SegmentNumber): _subtype(item) for item in _bleeds(seg)}
    shared = seg.SharedFunctionalGroupsSequence[0]
    orientation = shared.PlaneOrientationSequence[0].ImageOrientationPatient
    spacing = shared.PixelMeasuresSequence[0].PixelSpacing
    for index, groups in enumerate(seg.PerFrameFunctionalGroupsSequence):
        source = groups.DerivationImageSequence[0].SourceImageSequence[0]
        for number, mask in _masks(seg, index, groups):
            yield Frame(
                number=index + 1,
                subtype=subtypes[number],
                source_uid=str(source.ReferencedSOPInstanceUID),
                position=_floats(groups.PlanePositionSequence[0].ImagePositionPatient),
                orientation=_floats(orientation),
                pixel_spacing=(float(spacing[0]), float(spacing[1])),
                mask=mask,
            )


def _masks(seg: Dataset, index: int, groups: Dataset) -> Iterator[tuple[int, Mask]]:
    """Yield segment number and mask of each segment that a frame shows."""
    packed = np.frombuffer(seg.PixelData, dtype=np.uint8)
    shape = (int(seg.Rows), int(seg.Columns))
    if seg.SegmentationType == "LABELMAP":
        size = shape[0] * shape[1]
        plane = packed[index * size : (index + 1) * size].reshape(shape)
        for number in np.unique(plane[plane != 0]):
            yield int(number), plane == number
        return
    # What all frames have in common may stand in the shared groups (PS3.3 C.7.6.16).
    shared = seg.SharedFunctionalGroupsSequence[0]
    holder = groups if "SegmentIdentificationSequence" in groups else shared
    segment = holder.SegmentIdentificationSequence[0].ReferencedSegmentNumber
    yield int(segment), _bits(packed, index, shape)


def spacing_mm(seg: Dataset) -> float | None:
    """Return the distance between slices as the SEG itself states it, mm."""
    measures = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    stated = measures.get("SpacingBetweenSlices")
    return None if stated is None else float(stated)


def report(sr: Dataset) -> Report:
    """Return what a report says; it is walked through once, to its containers."""
    groups: list[Group] = []
    evaluations: dict[str, Said] = {}
    texts: list[str] = []
    for section in sr.get("ContentSequence", []):
        items = section.get("ContentSequence", [])
        if section.ValueType == "TEXT":
            texts.append(str(section.TextValue))
        elif _is(section, codes.IMAGING_MEASUREMENTS):
            groups += [_group(item) for item in items if _is(item, _MEASUREMENT_GROUP)]
        elif _is(section, codes.QUALITATIVE_EVALUATIONS):
            evaluations |= dict(_evaluation(item) for item in items if _class_of(item) is not None)
            texts += [str(item.TextValue) for item in items if item.ValueType == "TEXT"]
    return Report(groups, evaluations, texts)


def _class_of(item: Dataset) -> str | None:
    return _CLASS_OF_CODE.get(str(item.ConceptNameCodeSequence[0].CodeValue))


def _evaluation(item: Dataset) -> tuple[str, Said]:
    present = str(item.ConceptCodeSequence[0].CodeValue) == codes.PRESENT.value
    return str(_class_of(item)), _said(item, present)


def outlines_of(state: Dataset) -> dict[str, dict[str, list[Polyline]]]:
    """Return the outlines of a presentation state: by subtype, then by SOP Instance UID."""
    found: dict[str, dict[str, list[Polyline]]] = {}
    for annotation in state.GraphicAnnotationSequence:
        (image,) = annotation.ReferencedImageSequence
        of_class = found.setdefault(str(annotation.GraphicLayer).lower(), {})
        for graphic in annotation.GraphicObjectSequence:
            points = np.array(graphic.GraphicData, dtype=np.float64).reshape(-1, 2)
            of_class.setdefault(str(image.ReferencedSOPInstanceUID), []).append(points)
    return found


def references(dataset: Dataset) -> set[str]:
    """Return every Referenced SOP Instance UID, however deep, but for documents superseded."""
    current = Dataset({tag: item for tag, item in dataset.items() if tag != _PREDECESSORS})
    return {
        str(element.value)
        for element in current.iterall()
        if element.keyword == "ReferencedSOPInstanceUID"
    }


def listed(dataset: Dataset) -> set[Instance]:
    """Return what an object lists as its evidence: that of an SR, and Referenced Series Sequence.

    PS3.3 C.17.2.3, and C.12.1 (Common Instance Reference) and C.11.11 of images.
    """
    evidence = ("CurrentRequestedProcedureEvidenceSequence", "PertinentOtherEvidenceSequence")
    studies = [item for keyword in evidence for item in dataset.get(keyword) or ()]
    return {
        Instance(
            str(holder.StudyInstanceUID),
            str(series.SeriesInstanceUID),
            str(item.ReferencedSOPClassUID),
            str(item.ReferencedSOPInstanceUID),
        )
        for holder in (dataset, *studies)
        for series in holder.get("ReferencedSeriesSequence") or ()
        for keyword in _INSTANCES
        for item in series.get(keyword) or ()
    }


def sources(dataset: Dataset) -> set[tuple[str, str]]:
    """Return SOP Class and SOP Instance UID of each item of the Source Image Sequence."""
    return {
        (str(item.ReferencedSOPClassUID), str(item.ReferencedSOPInstanceUID))
        for item in dataset.get("SourceImageSequence") or ()
    }


def key_images(sr: Dataset) -> set[str]:
    """Return the SOP Instance UIDs in the Image Library of a report."""
    return {
        str(image.ReferencedSOPSequence[0].ReferencedSOPInstanceUID)
        for library in sr.get("ContentSequence", [])
        if _is(library, codes.IMAGE_LIBRARY)
        for group in library.get("ContentSequence", [])
        for image in group.get("ContentSequence", [])
        if image.ValueType == "IMAGE"
    }


def _group(item: Dataset) -> Group:
    outlines: dict[str, list[Polyline]] = {}
    for region in item.ContentSequence:
        if _is(region, _IMAGE_REGION):
            source = region.ContentSequence[0].ReferencedSOPSequence[0]
            points = np.array(region.GraphicData, dtype=np.float64).reshape(-1, 2)
            outlines.setdefault(str(source.ReferencedSOPInstanceUID), []).append(points)
    finding = _child(item, codes.FINDING).ConceptCodeSequence[0].CodeValue
    return Group(
        subtype=_SUBTYPE_OF_CODE[finding],
        tracking_uid=str(_child(item, _TRACKING_UID).UID),
        said=_said(item, present=True),
        outlines=outlines,
    )


def _bits(packed: npt.NDArray[np.uint8], index: int, shape: tuple[int, int]) -> Mask:
    """Unpack one frame; frames follow one another without padding to bytes."""
    size = shape[0] * shape[1]
    first, offset = divmod(index * size, 8)
    last = -(-(index * size + size) // 8)
    bits = np.unpackbits(packed[first:last], bitorder="little")[offset : offset + size]
    return bits.reshape(shape).astype(bool)


def _subtype(segment: Dataset) -> str:
    value = str(segment.SegmentedPropertyTypeCodeSequence[0].CodeValue)
    if value not in _SUBTYPE_OF_CODE:
        raise CheckFailed(f"segment {segment.SegmentNumber}: type {value} is no code of ours")
    return _SUBTYPE_OF_CODE[value]


def _is(item: Dataset, concept: Concept) -> bool:
    names = item.get("ConceptNameCodeSequence")
    return bool(names) and names[0].get("CodeValue") == concept.value


def _child(item: Dataset, concept: Concept) -> Dataset:
    for child in item.get("ContentSequence", []):
        if _is(child, concept):
            return child
    raise CheckFailed(f"SR: a content item lacks {concept.meaning} ({concept.value})")


def _said(item: Dataset, present: bool) -> Said:
    numbers = {
        str(child.ConceptNameCodeSequence[0].CodeValue): float(
            child.MeasuredValueSequence[0].NumericValue
        )
        for child in item.get("ContentSequence", [])
        if child.ValueType == "NUM"
    }
    return Said(present, numbers.get(codes.CERTAINTY.value), numbers.get(codes.VOLUME.value))


def _floats(values: Any) -> npt.NDArray[np.float64]:  # noqa: ANN401 - a multi-value of DS
    return np.array([float(value) for value in values], dtype=np.float64)
