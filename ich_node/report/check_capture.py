"""Captures are read again and held against the masks and numbers that they show."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom import Dataset

from ich_node.codes import CLASSES, SUBTYPES
from ich_node.errors import CheckFailed
from ich_node.records import CtVolume, Prediction, SourceSlices
from ich_node.report.belonging import (
    check_references,
    check_sources,
    check_subject,
    subject_of,
)
from ich_node.report.decode import Instance
from ich_node.report.drawing import WINDOW_HU, colour, edges
from ich_node.report.frames import frames_named
from ich_node.report.identity import RESEARCH_USE, RESULT_SERIES
from ich_node.report.overlay import scale_of
from ich_node.report.words import rows_read

Pixels = npt.NDArray[np.uint8]

# A picture tells volumes and probabilities to the tenth.
_TENTH = 0.0501
_HU_A_GREY = (WINDOW_HU[1] - WINDOW_HU[0]) / 255.0


def check_captures(
    paths: Sequence[Path],
    volume: CtVolume,
    prediction: Prediction,
    volumes_ml: Mapping[str, float],
) -> None:
    """Check the summary and the overlay of an analysed series.

    The overlay has one image for each slice, in whose pixels the edges of every mask are found
    again; the summary tells the same numbers as SEG and SR.

    Raises
    ------
    CheckFailed
        Something differs.
    """
    source = volume.source
    subject = subject_of(source.headers[0])
    images = [str(header.SOPInstanceUID) for header in source.headers]
    overlays: list[Dataset] = []
    pages: list[str] = []
    for path in paths:
        capture = frames_named(pydicom.dcmread(path), source.frames)
        _check_form(capture, subject, images)
        if capture.SeriesNumber == RESULT_SERIES["sc-overlay"].number:
            overlays.append(capture)
        else:
            _check_numbers(capture, prediction, volumes_ml)
            pages.append(_shown(capture))
    shown = [_shown(capture) for capture in overlays]
    if shown != images:
        raise CheckFailed("SC: the overlay has not one image for each slice, from below")
    _check_pages(pages, images, prediction)
    for index, capture in enumerate(overlays):
        _check_picture(capture, source, prediction.labels[index], index)


def check_refusal_capture(
    path: Path, first: Dataset, images: Collection[Instance], sentence: str
) -> None:
    """Check the page of a series that was not analysed: its subject, and that it says why.

    Parameters
    ----------
    first
        Header whose patient and study they are.
    images
        All that it must refer to.

    Raises
    ------
    CheckFailed
        Something differs.
    """
    capture = pydicom.dcmread(path)
    _check_form(capture, subject_of(first), [item.sop_instance_uid for item in images])
    check_sources("SC", capture, images)
    if sentence[:80] not in capture.ImageComments:
        raise CheckFailed("SC: the sentence that says why the series was not analysed is missing")


def _check_form(capture: Dataset, subject: Mapping[str, str], images: Sequence[str]) -> None:
    check_subject("SC", capture, subject)
    check_references("SC", capture, images)
    form = (capture.PhotometricInterpretation, capture.BitsAllocated, capture.SamplesPerPixel)
    if form != ("RGB", 8, 3) or not capture.file_meta.TransferSyntaxUID.is_little_endian:
        raise CheckFailed(f"SC: pixels are {form}, expected RGB of 8 bits")
    if capture.BurnedInAnnotation != "YES" or RESEARCH_USE not in capture.ImageComments:
        raise CheckFailed("SC: does not say that text is burned in, or what it is not for")


def _check_pages(pages: Sequence[str], images: Sequence[str], prediction: Prediction) -> None:
    """The summary has a page of the largest slice of each mask, and refers to that slice.

    Of a haemorrhage found without a mask it has one of the most suspicious slice, as the SR.
    """
    if not pages:
        raise CheckFailed("SC: there is no summary")
    labels = prediction.labels
    weights = {
        name: np.count_nonzero(labels == value, axis=(1, 2))
        for value, name in enumerate(SUBTYPES, start=1)
    }
    if prediction.scores["any"].present and not labels.any():
        weights = {"the probability": np.array(prediction.slice_probabilities)}
    for name, weight in weights.items():
        most = {images[int(index)] for index in np.flatnonzero(weight == weight.max())}
        if weight.any() and not most & set(pages):
            raise CheckFailed(f"SC: the summary does not show {min(most)}, the most of {name}")


def _shown(capture: Dataset) -> str:
    (image,) = capture.SourceImageSequence
    return str(image.ReferencedSOPInstanceUID)


def _check_numbers(
    capture: Dataset, prediction: Prediction, volumes_ml: Mapping[str, float]
) -> None:
    """The summary tells each class as the prediction does, and its volume as SEG and SR do."""
    told = rows_read(str(capture.ImageComments))
    if set(told) != set(CLASSES):
        raise CheckFailed(f"SC: tells of {', '.join(told) or 'no class'}")
    for name, (percent, ml) in told.items():
        score = prediction.scores[name]
        expected = volumes_ml[name] if score.present else None
        if abs(percent - 100 * score.probability) > _TENTH or (ml is None) != (expected is None):
            raise CheckFailed(f"SC: tells of {name} {percent} %, {ml} mL; the prediction differs")
        if ml is not None and expected is not None and abs(ml - expected) > _TENTH:
            raise CheckFailed(f"SC: {name} has {ml} mL, told are {expected:g} mL")


def _check_picture(
    capture: Dataset, source: SourceSlices, labels: npt.NDArray[np.uint8], index: int
) -> None:
    """Where a picture is coloured, and only there, is the edge of a mask; the rest is the slice."""
    shape = (int(capture.Rows), int(capture.Columns), 3)
    scale = scale_of(labels.shape)
    rows, columns = (scale * side for side in labels.shape)
    picture = np.frombuffer(capture.PixelData, np.uint8, int(np.prod(shape))).reshape(shape)
    if picture.shape[0] < rows or picture.shape[1] != columns:
        raise CheckFailed(f"SC: overlay {index + 1} is {shape[:2]}, its slice {rows, columns}")
    blocks = picture[:rows].reshape(labels.shape[0], scale, labels.shape[1], scale, 3)
    pixels = blocks[:, 0, :, 0]
    if scale > 1 and (blocks != pixels[:, None, :, None]).any():
        raise CheckFailed(f"SC: overlay {index + 1} is not its slice enlarged")
    red, green, blue = (pixels[:, :, part].astype(np.int32) for part in range(3))
    drawn = np.zeros(labels.shape, dtype=bool)
    for value, name in enumerate(SUBTYPES, start=1):
        r, g, b = colour(name)
        coloured = (red == r) & (green == g) & (blue == b)
        if not np.array_equal(coloured, edges(labels == value)):
            raise CheckFailed(f"SC: overlay {index + 1} does not show the edge of {name}")
        drawn |= coloured
    low, high = WINDOW_HU
    grey = (np.clip(source.hu[index], low, high) - low) / _HU_A_GREY
    wrong = (np.abs(red - grey) > 1.0) | (red != green) | (red != blue)
    if (wrong & ~drawn).any():
        raise CheckFailed(f"SC: overlay {index + 1} does not show its slice")
