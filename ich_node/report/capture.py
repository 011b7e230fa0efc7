"""Secondary captures in colour, for viewers that show neither SEG nor SR (PS3.3 A.8.1).

Two series of single images, uncompressed: that is what every PACS takes. The first is the summary,
the second has one image for each slice, from below, to be scrolled through beside the CT.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path

import highdicom as hd
import numpy as np
import numpy.typing as npt
from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from pydicom.valuerep import DSfloat

from ich_node import codes
from ich_node.records import CtVolume, FrameName, Prediction, Refusal
from ich_node.report import words
from ich_node.report.headers import carry_lossy, readable_as_ct
from ich_node.report.identity import RESEARCH_USE, RESULT_SERIES, Work
from ich_node.report.objects import coded, common_arguments, instance_uid, write
from ich_node.report.overlay import draw_overlay, scale_of
from ich_node.report.summary import draw_pages, draw_refusal

Picture = npt.NDArray[np.uint8]


def build_captures(
    volume: CtVolume,
    prediction: Prediction,
    volumes_ml: Mapping[str, float],
    headers: Sequence[Dataset],
    work: Work,
    folder: Path,
) -> list[Path]:
    """Draw and write the summary and the overlay of an analysed series.

    Parameters
    ----------
    volume, prediction, volumes_ml
        What was analysed and found.
    headers
        Normalised, one for each slice of the volume.
    work
        Gives UIDs and equipment.
    folder
        Made if need be; receives the files.

    Returns
    -------
    list of Path
        In the order to send.
    """
    folder.mkdir(exist_ok=True)
    said = words.conclusion(prediction, volumes_ml, volume.source)
    rows = words.rows_text(words.table(prediction, volumes_ml))
    frames = volume.source.frames
    summary = _Series("sc-summary", headers, work, f"{rows}\n{said}\n{RESEARCH_USE}")
    pages = draw_pages(volume, prediction, _when(headers[0], work.made))
    paths = [
        summary.write(np.asarray(page), number, [_named(headers[index], frames)], folder)
        for number, (index, page) in enumerate(pages, start=1)
    ]
    overlay = _Series("sc-overlay", headers, work, RESEARCH_USE)
    scale = scale_of(volume.source.hu.shape[1:])
    overlay.base.PixelSpacing = [
        DSfloat(step / scale, auto_format=True) for step in volume.source.pixel_spacing_mm
    ]
    for index, header in enumerate(headers):
        picture = draw_overlay(volume, prediction, index)
        paths.append(overlay.write(picture, index + 1, [_named(header, frames)], folder))
    return paths


def build_refusal_capture(
    refusal: Refusal, headers: Sequence[Dataset], work: Work, folder: Path
) -> list[Path]:
    """Draw and write the page that says that a series was not analysed, and why.

    Parameters
    ----------
    refusal
        The reason and the sentence to give.
    headers
        Normalised, of one study, of whatever SOP Class.
    work
        Gives UIDs and equipment.
    folder
        Made if need be; receives the file.
    """
    folder.mkdir(exist_ok=True)
    page = np.asarray(draw_refusal(refusal, _when(headers[0], work.made)))
    comments = f"{words.refusal_text(refusal)}\n{RESEARCH_USE}"
    series = _Series("sc-summary", headers, work, comments)
    return [series.write(page, 1, [_named(header, {}) for header in headers], folder)]


class _Series:
    """Captures of one series: what they share, made once; each is written as soon as drawn."""

    def __init__(self, name: str, headers: Sequence[Dataset], work: Work, comments: str) -> None:
        self.name, self.work = name, work
        reference = readable_as_ct(headers[0])
        self.base = hd.sc.SCImage.from_ref_dataset(
            reference,
            pixel_array=np.zeros((1, 1, 3), dtype=np.uint8),
            photometric_interpretation="RGB",
            bits_allocated=8,
            coordinate_system="PATIENT",
            patient_orientation=("L", "P"),
            transfer_syntax_uid=ExplicitVRLittleEndian,
            **common_arguments(work, name),
        )
        self.base.copy_patient_and_study_information(reference)
        self.base.BodyPartExamined = "HEAD"
        self.base.ConversionType = "WSD"
        self.base.ContentDate = self.base.DateOfSecondaryCapture
        self.base.ContentTime = self.base.TimeOfSecondaryCapture
        # Text is drawn in the pixels, though never the patient's name or number.
        self.base.BurnedInAnnotation = "YES"
        self.base.ImageComments = comments
        carry_lossy(self.base, headers)

    def write(
        self, picture: Picture, number: int, sources: Sequence[Dataset], folder: Path
    ) -> Path:
        """Write the next picture, RGB, shape (row, column, 3), made from these images."""
        image = self.base
        image.SOPInstanceUID = instance_uid(self.work, self.name, number)
        image.InstanceNumber = number
        image.SourceImageSequence = sources
        image.Rows, image.Columns = picture.shape[:2]
        pixels = picture.tobytes()
        image.PixelData = pixels + b"\0" * (len(pixels) % 2)
        order = RESULT_SERIES[self.name].number  # files are sent in the order of their names
        path = folder / f"{order}-{self.name}-{number:04d}.dcm"
        return write(image, path, self.work.made)


def _named(header: Dataset, frames: Mapping[str, FrameName]) -> Dataset:
    """Refer to a source image, or to the frame that it was."""
    item = Dataset()
    item.ReferencedSOPClassUID = header.SOPClassUID
    item.ReferencedSOPInstanceUID = header.SOPInstanceUID
    frame = frames.get(str(header.SOPInstanceUID))
    if frame is not None:
        item.ReferencedSOPClassUID = frame.sop_class_uid
        item.ReferencedSOPInstanceUID = frame.sop_instance_uid
        item.ReferencedFrameNumber = frame.number
    item.PurposeOfReferenceCodeSequence = [coded(codes.SOURCE_IMAGE)]
    return item


def _when(header: Dataset, made: datetime) -> str:
    """When the images were taken, as far as their header tells, and when they were analysed."""
    taken = " ".join(_taken(header))
    analysed = made.strftime("analysed %Y-%m-%d %H:%M")
    return f"CT {taken}, {analysed}" if taken else analysed


def _taken(header: Dataset) -> Iterator[str]:
    for what in ("Acquisition", "Content", "Series", "Study"):
        day, clock = str(header.get(f"{what}Date") or ""), str(header.get(f"{what}Time") or "")
        if len(day) == 8:
            yield f"{day[:4]}-{day[4:6]}-{day[6:]}"
            if len(clock) >= 4:
                yield f"{clock[:2]}:{clock[2:4]}"
            return
