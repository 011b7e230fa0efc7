"""References to frames of multi-frame images: by SOP Instance UID and frame number.

While an object is built and checked each frame goes by a UID of its own; what is written names
the instance and the frame (PS3.3 10.3, Image SOP Instance Reference Macro).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydicom import Dataset
from pydicom.sequence import Sequence

from ich_node.records import FrameName

# Lists of instances, in which frames have no place: each instance stands there once.
_LISTS = (
    "ReferencedInstanceSequence",
    "ReferencedSOPSequence",
    "ReferencedImageSequence",
    "SourceImageSequence",
)
_OF_INSTANCES = (
    "ReferencedSeriesSequence",
    "CurrentRequestedProcedureEvidenceSequence",
    "PertinentOtherEvidenceSequence",
)


def name_frames(dataset: Dataset, frames: Mapping[str, FrameName]) -> None:
    """Write every reference to a frame as its instance and number."""
    if not frames:
        return
    for item in (dataset, *(item for name in _OF_INSTANCES for item in dataset.get(name) or [])):
        _list_once(item, frames)
    for item in _references(dataset):
        name = frames.get(str(item.ReferencedSOPInstanceUID))
        if name is not None:
            item.ReferencedSOPClassUID = name.sop_class_uid
            item.ReferencedSOPInstanceUID = name.sop_instance_uid
            item.ReferencedFrameNumber = name.number


def frames_named(dataset: Dataset, frames: Mapping[str, FrameName]) -> Dataset:
    """Give back to every reference to a frame the UID that it goes by here."""
    uids = {(name.sop_instance_uid, name.number): uid for uid, name in frames.items()}
    for item in _references(dataset) if frames else ():
        number = item.get("ReferencedFrameNumber")
        uid = uids.get((str(item.ReferencedSOPInstanceUID), number))
        if uid is not None:
            item.ReferencedSOPInstanceUID = uid
    return dataset


def _references(dataset: Dataset) -> Iterator[Dataset]:
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                if "ReferencedSOPInstanceUID" in item:
                    yield item
                yield from _references(item)


def _list_once(item: Dataset, frames: Mapping[str, FrameName]) -> None:
    for series in item.get("ReferencedSeriesSequence") or []:
        _list_once(series, frames)
    for keyword in _LISTS:
        listed = item.get(keyword)
        if not listed:
            continue
        kept: dict[str, Dataset] = {}
        for reference in listed:
            name = frames.get(str(reference.ReferencedSOPInstanceUID))
            if name is not None:
                reference.ReferencedSOPClassUID = name.sop_class_uid
                reference.ReferencedSOPInstanceUID = name.sop_instance_uid
            kept.setdefault(str(reference.ReferencedSOPInstanceUID), reference)
        setattr(item, keyword, Sequence(kept.values()))
