"""What leaves is checked first: read again, and held against the mask and the source.

The mask is compared voxel by voxel in patient space, so that an object which is right in its own
rows and columns but lies elsewhere does not pass.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom import Dataset

from ich_node.codes import SUBTYPES
from ich_node.errors import CheckFailed
from ich_node.records import CtVolume, Prediction, Results, SourceSlices
from ich_node.report import decode
from ich_node.report.belonging import (
    check_evidence,
    check_references,
    check_sources,
    check_subject,
    instances_of,
    subject_of,
)
from ich_node.report.check_capture import check_captures, check_refusal_capture
from ich_node.report.check_report import check_key_images, check_outlines, check_report
from ich_node.report.decode import Frame, Instance, Said
from ich_node.report.frames import frames_named
from ich_node.report.headers import normalise_header, same_subject
from ich_node.report.measure import volumes_ml, voxels
from ich_node.report.outlines import Mask
from ich_node.uids import is_uid

# Places are written with at most 16 characters; a pixel of a head CT is 0.3 mm or more.
_PLACE_MM = 0.01
_COSINE = 0.0005
# How far a voxel's centre may lie from that of the source slice, in voxels.
_OFF_GRID = 0.25
# How far the extent of a slice may be from half-way to its neighbours: positions come rounded.
_EXTENT_RELATIVE, _EXTENT_MM = 0.05, 0.1
_VOLUME_RELATIVE = 0.001


def check_results(volume: CtVolume, prediction: Prediction, results: Results) -> None:
    """Check the files of an analysed series against what they were built from.

    Raises
    ------
    CheckFailed
        Something differs; the text names object, attribute and both values.
    """
    with _readable():
        _check_built(volume, prediction, results)
    check_others(volume, prediction, results.volumes_ml, results.others)


def check_others(
    volume: CtVolume,
    prediction: Prediction,
    volumes_ml: Mapping[str, float],
    others: Mapping[str, Sequence[Path]],
) -> None:
    """Check the objects beside SEG and SR, by kind, against what those were checked against.

    Raises
    ------
    CheckFailed
        Something differs; the text names object, attribute and both values.
    """
    with _readable():
        if "sc" in others:
            check_captures(others["sc"], volume, prediction, volumes_ml)
        for path in others.get("seg-labelmap", ()):
            seg = frames_named(pydicom.dcmread(path), volume.source.frames)
            _check_segmentation(seg, volume.source, prediction.labels, volumes_ml)
            if seg.SegmentSequence[-1].SegmentNumber != 0:
                raise CheckFailed("SEG: the background is not the last segment described")
        for path in others.get("pr", ()):
            _check_presentation(path, volume.source, prediction.labels)


@contextmanager
def _readable() -> Iterator[None]:
    """What is missing or malformed in an object is a failed check too."""
    try:
        yield
    except (AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
        raise CheckFailed(f"what was written cannot be read back: {error}") from error


def _check_built(volume: CtVolume, prediction: Prediction, results: Results) -> None:
    source = volume.source
    sources = _images(source)
    _check_extents(source)
    _check_presence(prediction, results.volumes_ml, source.voxels_ml)
    evidence = instances_of(source.headers, source.frames)
    sr = frames_named(pydicom.dcmread(results.sr), source.frames)
    check_subject("SR", sr, subject_of(source.headers[0]))
    check_key_images(sr, prediction, [str(header.SOPInstanceUID) for header in source.headers])
    if results.seg is None:
        check_references("SR", sr, sources)
        check_evidence("SR", sr, evidence)
        check_report(sr, prediction, results.volumes_ml, {}, {})
        return
    seg = frames_named(pydicom.dcmread(results.seg), source.frames)
    check_references("SR", sr, [*sources, str(seg.SOPInstanceUID)])
    frames = _check_segmentation(seg, source, prediction.labels, results.volumes_ml)
    check_evidence("SR", sr, evidence | {_instance(seg)})
    check_report(sr, prediction, results.volumes_ml, decode.segments(seg), _by_image(frames))


def _instance(built: Dataset) -> Instance:
    return Instance(
        str(built.StudyInstanceUID),
        str(built.SeriesInstanceUID),
        str(built.SOPClassUID),
        str(built.SOPInstanceUID),
    )


def _check_segmentation(
    seg: Dataset,
    source: SourceSlices,
    labels: npt.NDArray[np.uint8],
    volumes_ml: Mapping[str, float],
) -> list[Frame]:
    """Check a segmentation of either type; return its frames."""
    check_subject("SEG", seg, subject_of(source.headers[0]))
    _check_frame_of_reference(seg, source.headers[0])
    check_references("SEG", seg, _images(source))
    evidence = instances_of(source.headers, source.frames)
    check_evidence("SEG", seg, evidence)
    check_sources("SEG", seg, evidence)
    frames = list(decode.frames(seg))
    _check_voxels(frames, source, labels)
    _check_volumes(seg, frames, source, volumes_ml)
    return frames


def _images(source: SourceSlices) -> list[str]:
    """Every SOP Instance UID by which an image of the source may go."""
    return [
        *(str(header.SOPInstanceUID) for header in source.headers),
        *(name.sop_instance_uid for name in source.frames.values()),
    ]


def check_not_analysed(headers: Sequence[Dataset], sentence: str, results: Results) -> None:
    """Check the SR of a refused series: its subject, its references, and that it says so.

    Raises
    ------
    CheckFailed
        Something differs.
    """
    with _readable():
        _check_refusal(pydicom.dcmread(results.sr), headers, sentence)
    check_refusal_others(headers, sentence, results.others)


def _check_refusal(sr: Dataset, headers: Sequence[Dataset], sentence: str) -> None:
    check_subject("SR", sr, subject_of(_first_named(headers)))
    check_references("SR", sr, [str(header.get("SOPInstanceUID")) for header in headers])
    check_evidence("SR", sr, _named(headers))
    report = decode.report(sr)
    if not any(sentence in text for text in report.texts):
        raise CheckFailed("SR: the sentence that says why the series was not analysed is missing")
    if report.groups or report.evaluations != {"any": Said(False, None, None)}:
        raise CheckFailed("SR: a series that was not analysed has a finding")


def _first_named(headers: Sequence[Dataset]) -> Dataset:
    return next(header for header in headers if header.get("StudyInstanceUID"))


def _named(headers: Sequence[Dataset]) -> set[Instance]:
    """The images of a refused series that can be referred to."""
    return instances_of(same_subject([normalise_header(header) for header in headers]), {})


def check_refusal_others(
    headers: Sequence[Dataset], sentence: str, others: Mapping[str, Sequence[Path]]
) -> None:
    """Check the objects beside the SR of a refused series.

    Raises
    ------
    CheckFailed
        Something differs.
    """
    with _readable():
        for path in others.get("sc", ()):
            check_refusal_capture(path, _first_named(headers), _named(headers), sentence)


def _check_frame_of_reference(seg: Dataset, source: Dataset) -> None:
    expected = str(source.get("FrameOfReferenceUID") or "")
    found = seg.get("FrameOfReferenceUID")
    if not found or (is_uid(expected) and found != expected):
        raise CheckFailed(f"SEG: FrameOfReferenceUID is {found}, that of the source is another")


def _check_extents(source: SourceSlices) -> None:
    """Each slice stands for the patient half-way to its neighbours, by the positions sent."""
    normal = np.array(source.direction)[:, 0]
    heights = np.array([_position(header) for header in source.headers]) @ normal
    steps = np.diff(heights)
    around = np.concatenate([steps[:1], steps, steps[-1:]])
    expected = (around[:-1] + around[1:]) / 2
    off = np.abs(source.extents_mm - expected) - _EXTENT_RELATIVE * np.abs(expected)
    worst = int(off.argmax())
    if off[worst] > _EXTENT_MM:
        raise CheckFailed(
            f"slice {worst + 1} stands for {source.extents_mm[worst]:.2f} mm, by the positions of "
            f"its source image and its neighbours for {expected[worst]:.2f} mm"
        )


def _position(header: Dataset) -> npt.NDArray[np.float64]:
    return np.array([float(part) for part in header.ImagePositionPatient])


def _check_presence(
    prediction: Prediction, volumes: Mapping[str, float], voxels_ml: npt.NDArray[np.float64]
) -> None:
    """Only a class that is present has voxels, and the volumes are those of the mask."""
    counted = volumes_ml(prediction.labels, voxels_ml)
    if counted != dict(volumes):
        raise CheckFailed(f"volumes are {dict(volumes)} mL, the mask has {counted} mL")
    for name, count in voxels(prediction.labels).items():
        if count and not prediction.scores[name].present:
            raise CheckFailed(f"{name} is not present, yet its mask has voxels")


def _check_voxels(
    frames: Sequence[Frame], source: SourceSlices, labels: npt.NDArray[np.uint8]
) -> None:
    """Every voxel of the SEG lies where the mask has its class, and the other way round."""
    places = {str(header.SOPInstanceUID): k for k, header in enumerate(source.headers)}
    rebuilt = np.zeros_like(labels)
    for frame in frames:
        index = places[frame.source_uid]
        _check_place(frame, source.headers[index])
        rows, columns = _pixels(frame, source, index).T
        if rebuilt[index, rows, columns].any():
            raise CheckFailed(f"SEG: frame {frame.number} overlaps another segment")
        rebuilt[index, rows, columns] = 1 + SUBTYPES.index(frame.subtype)
    if not np.array_equal(rebuilt, labels):
        wrong = rebuilt != labels
        raise CheckFailed(
            f"SEG: {int(wrong.sum())} voxels in {int(wrong.any(axis=(1, 2)).sum())} slices differ "
            "from the mask in patient space"
        )


def _check_place(frame: Frame, source: Dataset) -> None:
    """A frame lies where the image lies that it names."""
    for keyword, found, tolerance in (
        ("ImagePositionPatient", frame.position, _PLACE_MM),
        ("ImageOrientationPatient", frame.orientation, _COSINE),
        ("PixelSpacing", np.array(frame.pixel_spacing), _COSINE),
    ):
        expected = np.array([float(part) for part in source.get(keyword)])
        if np.abs(found - expected).max() > tolerance:
            raise CheckFailed(
                f"SEG: frame {frame.number} has {keyword} {found.tolist()}, "
                f"its source image {expected.tolist()}"
            )


def _pixels(frame: Frame, source: SourceSlices, index: int) -> npt.NDArray[np.intp]:
    """Rows and columns, shape (pixel, 2), in a source slice of the pixels set: by patient space."""
    rows, columns = np.nonzero(frame.mask)
    along_row, along_column = frame.orientation[:3], frame.orientation[3:]
    points = (
        frame.position
        + np.outer(columns * frame.pixel_spacing[1], along_row)
        + np.outer(rows * frame.pixel_spacing[0], along_column)
    )
    steps = (source.extents_mm[index], *source.pixel_spacing_mm)
    exact: npt.NDArray[np.float64] = (
        (points - source.origins_mm[index]) @ np.array(source.direction) / steps
    )
    found: npt.NDArray[np.intp] = np.rint(exact).astype(np.intp)
    outside = (found < 0).any() or (found >= (1, *source.hu.shape[1:])).any()
    if outside or np.abs(exact - found).max(initial=0.0) > _OFF_GRID:
        raise CheckFailed(f"SEG: frame {frame.number} does not lie on its source image")
    return found[:, 1:]


def _check_volumes(
    seg: Dataset, frames: Sequence[Frame], source: SourceSlices, volumes: Mapping[str, float]
) -> None:
    """Counting the SEG's voxels, in the size that it states, gives the volumes told.

    Where slices are uneven it states none along the normal: then each slice stands for its extent.
    """
    stated = decode.spacing_mm(seg)
    even = np.ptp(source.extents_mm) == 0
    if (stated is not None) != even:
        raise CheckFailed(f"SEG: spacing between slices is {stated}, evenly spaced slices: {even}")
    extents = {
        str(header.SOPInstanceUID): stated or float(extent)
        for header, extent in zip(source.headers, source.extents_mm, strict=True)
    }
    found = dict.fromkeys(SUBTYPES, 0.0)
    for frame in frames:
        area = frame.pixel_spacing[0] * frame.pixel_spacing[1]
        pixels = int(frame.mask.sum())
        found[frame.subtype] += pixels * area * extents[frame.source_uid] / 1000
    for name, ml in found.items():
        if not math.isclose(ml, volumes[name], rel_tol=_VOLUME_RELATIVE):
            raise CheckFailed(f"SEG: {name} has {ml:g} mL, told are {volumes[name]:g} mL")


def _by_image(frames: Sequence[Frame]) -> dict[str, dict[str, Mask]]:
    """Order masks by subtype and source image."""
    ordered: dict[str, dict[str, Mask]] = {}
    for frame in frames:
        ordered.setdefault(frame.subtype, {})[frame.source_uid] = frame.mask
    return ordered


def _check_presentation(path: Path, source: SourceSlices, labels: npt.NDArray[np.uint8]) -> None:
    """A presentation state outlines every class that has a mask, where the mask is."""
    state = frames_named(pydicom.dcmread(path), source.frames)
    check_subject("PR", state, subject_of(source.headers[0]))
    check_references("PR", state, _images(source))
    check_evidence("PR", state, instances_of(source.headers, source.frames))
    uids = [str(header.SOPInstanceUID) for header in source.headers]
    sent = source.plane_map.to_source(labels)
    found = decode.outlines_of(state)
    masked = {name: value for value, name in enumerate(SUBTYPES, 1) if (labels == value).any()}
    if set(found) != set(masked):
        raise CheckFailed(f"PR: outlines {sorted(found)}, masks are there of {sorted(masked)}")
    for name, value in masked.items():
        masks = {
            uid: plane == value
            for uid, plane in zip(uids, sent, strict=True)
            if (plane == value).any()
        }
        check_outlines("PR", name, found[name], masks)
