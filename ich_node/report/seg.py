"""The segmentation: one disjoint segment for each subtype that has a voxel (PS3.3 A.51)."""

from __future__ import annotations

from collections.abc import Sequence

import highdicom as hd
import numpy as np
import numpy.typing as npt
from pydicom import Dataset
from pydicom.valuerep import DSfloat

from ich_node import codes
from ich_node.codes import SUBTYPES
from ich_node.records import CtVolume, Prediction, SourceSlices
from ich_node.report.headers import carry_lossy
from ich_node.report.identity import PRODUCT, Work
from ich_node.report.measure import voxels
from ich_node.report.objects import coded, common_arguments
from ich_node.report.seg_frames import fill_frames

# Series and dimension organization of each Segmentation Type.
_SERIES = {"BINARY": "seg", "LABELMAP": "seg-labelmap"}
_DIMENSIONS = {"BINARY": "dimensions", "LABELMAP": "dimensions-labelmap"}
_ALGORITHM_TYPE = hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC


def segmented(labels: npt.NDArray[np.uint8]) -> list[str]:
    """Return the subtypes with at least one voxel, in the order of their segment numbers."""
    counts = voxels(labels)
    return [name for name in SUBTYPES if counts[name]]


def tracking_id(subtype: str) -> str:
    """Return the human-readable name of the bleed; the UID beside it makes it unique."""
    return f"{codes.OF_CLASS[subtype].name} 1"


def build_seg(
    volume: CtVolume, prediction: Prediction, headers: Sequence[Dataset], work: Work
) -> Dataset:
    """Build the BINARY segmentation of a prediction that has a mask.

    Parameters
    ----------
    volume, prediction
        The mask is brought back to the rows and columns of the source; frames without a voxel are
        left out.
    headers
        Normalised, one for each slice of the volume.
    work
        Gives UIDs and equipment.

    Raises
    ------
    ValueError
        No label has a voxel, or the headers contradict one another.
    """
    names = segmented(prediction.labels)
    labels = volume.source.plane_map.to_source(prediction.labels)
    some = _one_voxel_each(labels.shape, len(names))
    seg = _segmentation(some, "BINARY", volume.source, names, headers, work)
    fill_frames(seg, labels, [1 + SUBTYPES.index(name) for name in names], headers)
    return seg


def build_label_map(
    volume: CtVolume, prediction: Prediction, headers: Sequence[Dataset], work: Work
) -> Dataset:
    """Build the LABELMAP segmentation of a prediction that has a mask: one frame for each slice.

    Its background is described last: a widespread viewer colours segments by their place in the
    sequence. Parameters and errors are those of `build_seg`.
    """
    names = segmented(prediction.labels)
    numbers = np.zeros(len(SUBTYPES) + 1, dtype=np.uint8)
    for number, name in enumerate(names, start=1):
        numbers[1 + SUBTYPES.index(name)] = number
    labels = numbers[volume.source.plane_map.to_source(prediction.labels)]
    seg = _segmentation(labels, "LABELMAP", volume.source, names, headers, work)
    seg.SegmentSequence = sorted(seg.SegmentSequence, key=lambda item: not item.SegmentNumber)
    return seg


def _segmentation(
    numbers: npt.NDArray[np.uint8],
    kind: str,
    source: SourceSlices,
    names: Sequence[str],
    headers: Sequence[Dataset],
    work: Work,
) -> Dataset:
    """Build a segmentation of segment numbers, which count from 1 without a gap."""
    seg = hd.seg.Segmentation(
        source_images=headers,
        pixel_array=np.ascontiguousarray(numbers),
        segmentation_type=hd.seg.SegmentationTypeValues(kind),
        segment_descriptions=[
            describe(number, name, work) for number, name in enumerate(names, start=1)
        ],
        content_label="ICH_MASK",
        content_description="Intracranial haemorrhage, research use only",
        omit_empty_frames=True,
        **common_arguments(work, _SERIES[kind]),
    )
    seg.BodyPartExamined = "HEAD"
    _state_spacing(seg, source)
    carry_lossy(seg, headers)
    for sequence in (seg.DimensionOrganizationSequence, seg.DimensionIndexSequence):
        for item in sequence:
            item.DimensionOrganizationUID = work.uids[_DIMENSIONS[kind]]
    return seg


def _one_voxel_each(shape: tuple[int, ...], segments: int) -> npt.NDArray[np.uint8]:
    """Segment numbers for the library to describe; the frames themselves are filled in later."""
    numbers = np.zeros(shape, dtype=np.uint8)
    numbers[0, 0, :segments] = np.arange(1, segments + 1)
    return numbers


def _state_spacing(seg: Dataset, source: SourceSlices) -> None:
    """State the distance between slices where they have one.

    The library leaves it out where slices have jitter; readers then take the thickness instead.
    """
    measures = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    if np.ptp(source.extents_mm) == 0:
        measures.SpacingBetweenSlices = DSfloat(float(source.extents_mm[0]), auto_format=True)
    elif "SpacingBetweenSlices" in measures:
        del measures.SpacingBetweenSlices


def describe(number: int, name: str, work: Work) -> hd.seg.SegmentDescription:
    """Return what is said of one segment."""
    entry = codes.OF_CLASS[name]
    return hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=entry.name,
        segmented_property_category=coded(codes.MORPHOLOGICALLY_ABNORMAL_STRUCTURE),
        segmented_property_type=coded(entry.finding),
        algorithm_type=_ALGORITHM_TYPE,
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name=work.model_name,
            family=coded(codes.ARTIFICIAL_INTELLIGENCE),
            version=work.version,
            source=PRODUCT,
        ),
        tracking_uid=work.uids[f"tracking-{name}"],
        tracking_id=tracking_id(name),
        anatomic_regions=[coded(entry.site)],
        display_color=hd.color.CIELabColor.from_dicom_value(entry.cielab),
    )
