"""The frames of a segmentation: only those with a pixel, packed and encoded at once.

highdicom makes every frame's functional groups as objects and pydicom encodes each of them; most
are the same for all frames of a slice or of a segment. Here each is encoded once, and the items of
the frames are put together from the bytes. What comes out is read like any other.
"""

from __future__ import annotations

import copy
import struct
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from pydicom import Dataset
from pydicom.charset import convert_encodings
from pydicom.dataelem import RawDataElement
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.tag import Tag

_PER_FRAME_GROUPS = Tag("PerFrameFunctionalGroupsSequence")
_ITEM = struct.Struct("<HHL")
_INDEX_VALUES = struct.Struct("<LL")
_ITEM_TAG = (0xFFFE, 0xE000)
# Pixels are bits, and so many frames end at the end of a byte whatever their size (PS3.5 8.2).
_TOGETHER = 8

Labels = npt.NDArray[np.uint8]


def fill_frames(
    seg: Dataset, labels: Labels, values: Sequence[int], sources: Sequence[Dataset]
) -> None:
    """Give a BINARY segmentation its frames: by segment, then slice; none without a pixel.

    Parameters
    ----------
    seg
        Complete but for its frames; its first frame shows how their functional groups look.
    labels
        Shape (slice, row, column), in the rows and columns of the source.
    values
        The label of each segment, in the order of their numbers.
    sources
        Header of each slice.
    """
    frames = [
        (number, index)
        for number, value in enumerate(values, start=1)
        for index, plane in enumerate(labels)
        if (plane == value).any()
    ]
    groups = _encoded_groups(seg.PerFrameFunctionalGroupsSequence[0], frames, sources)
    seg[_PER_FRAME_GROUPS] = RawDataElement(
        _PER_FRAME_GROUPS, "SQ", len(groups), groups, 0, is_implicit_VR=False, is_little_endian=True
    )
    # Tells the writer that encoded elements need not be decoded to be written.
    seg.set_original_encoding(False, True, convert_encodings(seg.SpecificCharacterSet))
    seg.NumberOfFrames = len(frames)
    packed = _packed(labels, [(values[number - 1], index) for number, index in frames])
    seg.add_new("PixelData", "OB", packed)


def _packed(labels: Labels, frames: Sequence[tuple[int, int]]) -> bytes:
    """Pack frames, each a label on a slice, to bits, least significant first."""
    planes = np.empty((_TOGETHER, *labels.shape[1:]), dtype=bool)
    parts = []
    for first in range(0, len(frames), _TOGETHER):
        some = frames[first : first + _TOGETHER]
        for plane, (value, index) in zip(planes, some, strict=False):
            np.equal(labels[index], value, out=plane)
        parts.append(np.packbits(planes[: len(some)].reshape(-1), bitorder="little").tobytes())
    packed = b"".join(parts)
    return packed + b"\0" * (len(packed) % 2)


def _encoded_groups(
    template: Dataset, frames: Sequence[tuple[int, int]], sources: Sequence[Dataset]
) -> bytes:
    """Encode the Per-Frame Functional Groups of frames, each a segment number and a slice."""
    slices = sorted({index for _, index in frames})
    place = {index: position for position, index in enumerate(slices, start=1)}
    derivation = Dataset()
    derivation.DerivationImageSequence = copy.deepcopy(template.DerivationImageSequence)
    images = {index: _encoded(_derived_from(derivation, sources[index])) for index in slices}
    positions = {index: _encoded(_plane_position(sources[index])) for index in slices}
    # What is said of all frames at once, as of a single segment, is not said again of each.
    each = "SegmentIdentificationSequence" in template
    segments = {number: _encoded(_segment(number)) if each else b"" for number, _ in frames}
    any_content = _encoded(_frame_content(1, 1))[: -_INDEX_VALUES.size]  # they are its last bytes
    items = []
    for number, index in frames:
        content = any_content + _INDEX_VALUES.pack(number, place[index])
        # In the order of their tags.
        item = images[index] + content + positions[index] + segments[number]
        items.append(_ITEM.pack(*_ITEM_TAG, len(item)) + item)
    return b"".join(items)


def _encoded(group: Dataset) -> bytes:
    """Encode in Explicit VR Little Endian."""
    buffer = DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = False, True
    write_dataset(buffer, group)
    encoded: bytes = buffer.getvalue()
    return encoded


def _derived_from(derivation: Dataset, source: Dataset) -> Dataset:
    image = derivation.DerivationImageSequence[0].SourceImageSequence[0]
    image.ReferencedSOPClassUID = source.SOPClassUID
    image.ReferencedSOPInstanceUID = source.SOPInstanceUID
    return derivation


def _frame_content(segment: int, position: int) -> Dataset:
    content = Dataset()
    content.DimensionIndexValues = [segment, position]
    return _group("FrameContentSequence", content)


def _plane_position(source: Dataset) -> Dataset:
    position = Dataset()
    position.ImagePositionPatient = source.ImagePositionPatient
    return _group("PlanePositionSequence", position)


def _segment(number: int) -> Dataset:
    identification = Dataset()
    identification.ReferencedSegmentNumber = number
    return _group("SegmentIdentificationSequence", identification)


def _group(keyword: str, item: Dataset) -> Dataset:
    group = Dataset()
    setattr(group, keyword, [item])
    return group
