"""Checks that images belong together and that each is an axial CT image.

Each check raises `SeriesRefused` with the first contradiction it finds and passes in silence
otherwise.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from pydicom import Dataset
from pydicom.uid import UID, CTImageStorage

from ich_node.assemble.frames import MULTIFRAME
from ich_node.assemble.source import SourceImage, among, is_there, number, numbers, text, texts
from ich_node.decoding import stored_values
from ich_node.errors import Reason, SeriesRefused
from ich_node.geometry import MIN_SLICES, plane_axes
from ich_node.uids import is_uid, name_of

# Cosines that differ by less turn the edge of a head by less than 0.15 mm.
ORIENTATION_TOLERANCE = 1e-3
# Rows and columns must be unit vectors at right angles within this (cosines come rounded).
ORTHOGONAL_TOLERANCE = 1e-2
# Spacings that differ by less move the edge of a 512 matrix by less than 0.1 mm.
PIXEL_SPACING_TOLERANCE_MM = 2e-4
# Slices are angled along the orbitomeatal line by up to 30 degrees, coronal ones by 60 or more.
AXIAL_TOLERANCE_DEG = 35.0

# PS3.3 C.7.6.3.1.2.
_PHOTOMETRIC = (
    *("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB", "HSV", "ARGB", "CMYK", "XYB"),
    *("YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_420", "YBR_PARTIAL_422", "YBR_ICT", "YBR_RCT"),
)


# What is to be done.
_AS_MADE = "send the images as the scanner made them"
_APART = "send what belongs together as a series of its own"

_NAMES = ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")


def check_names_are_uids(images: Sequence[SourceImage]) -> None:
    """Results refer to every image by its UIDs: only such as are some (PS3.5 9.1)."""
    for image in images:
        for keyword in _NAMES:
            if not is_uid(text(image.dataset, keyword)):
                raise SeriesRefused(
                    Reason.UNREADABLE,
                    f"file {image.name} has a {keyword} that is no UID; send it again with one",
                )


def check_each_is_ct(images: Sequence[SourceImage]) -> None:
    """Every image is a CT image with names, single-frame or enhanced (PS3.3 A.3, A.38, A.70)."""
    for image in images:
        dataset = image.dataset
        for keyword in _NAMES:
            if not text(dataset, keyword):
                raise SeriesRefused(
                    Reason.UNREADABLE, f"file {image.name} has no {keyword}; send it again"
                )
        sop_class = UID(text(dataset, "SOPClassUID"))
        if sop_class in MULTIFRAME:
            continue
        if (number(dataset, "NumberOfFrames") or 1) > 1:
            raise SeriesRefused(
                Reason.MULTIFRAME,
                f"file {image.name} is {sop_class.name} and has more than one frame; "
                "send the series as CT Image Storage or Enhanced CT Image Storage",
            )
        if sop_class != CTImageStorage:
            raise SeriesRefused(
                Reason.NOT_CT,
                f"file {image.name}: SOP Class UID (0008,0016) is "
                f"{name_of(sop_class) or 'absent'}, expected CT Image Storage",
            )


def check_pixels_are_there(images: Sequence[SourceImage]) -> None:
    """Every image has pixel data, a value a pixel, bright for dense."""
    for image in images:
        dataset = image.dataset
        if not is_there(dataset, "PixelData"):
            raise SeriesRefused(
                Reason.NO_PIXEL_DATA,
                f"file {image.name} has no Pixel Data (7FE0,0010); send the images again",
            )
        shown = text(dataset, "PhotometricInterpretation")
        if shown == "MONOCHROME1":
            raise SeriesRefused(
                Reason.MONOCHROME1,
                f"file {image.name}: Photometric Interpretation (0028,0004) is MONOCHROME1, "
                "expected MONOCHROME2; whether its values were inverted cannot be told",
            )
        if shown != "MONOCHROME2":
            raise SeriesRefused(
                Reason.NOT_HU,
                f"file {image.name}: Photometric Interpretation (0028,0004) is "
                f"{among(shown, _PHOTOMETRIC)}, expected MONOCHROME2",
            )


def check_one_series(images: Sequence[SourceImage]) -> None:
    """All images are of one patient, study, series and Frame of Reference."""
    for keyword, reason, what in (
        ("PatientID", Reason.MIXED_PATIENTS, "Patient ID (0010,0020)"),
        ("PatientName", Reason.MIXED_PATIENTS, "Patient's Name (0010,0010)"),
        ("StudyInstanceUID", Reason.MIXED_SERIES, "Study Instance UID (0020,000D)"),
        ("SeriesInstanceUID", Reason.MIXED_SERIES, "Series Instance UID (0020,000E)"),
        (
            "FrameOfReferenceUID",
            Reason.MIXED_FRAME_OF_REFERENCE,
            "Frame of Reference UID (0020,0052)",
        ),
    ):
        _check_same(images, reason, what, partial(_plain, keyword=keyword))


def _plain(dataset: Dataset, keyword: str) -> str:
    """Return what makes names different: not case, not trailing carets (PS3.5 6.2.1)."""
    return text(dataset, keyword).rstrip("^ ").casefold()


def check_geometry_is_there(images: Sequence[SourceImage]) -> None:
    """Every image says where it lies and how large its pixels are (PS3.3 C.7.6.2)."""
    for keyword, count, what in (
        ("ImagePositionPatient", 3, "Image Position (Patient) (0020,0032)"),
        ("ImageOrientationPatient", 6, "Image Orientation (Patient) (0020,0037)"),
        ("PixelSpacing", 2, "Pixel Spacing (0028,0030)"),
    ):
        for image in images:
            if numbers(image.dataset, keyword, count) is None:
                raise SeriesRefused(
                    Reason.NO_POSITION,
                    f"file {image.name}: {what} is absent or has not {count} numbers; {_AS_MADE}",
                )
    for image in images:
        spacing = numbers(image.dataset, "PixelSpacing", 2) or (0.0, 0.0)
        if min(spacing) <= 0:
            raise SeriesRefused(
                Reason.NO_POSITION,
                f"file {image.name}: Pixel Spacing (0028,0030) is {spacing[0]:g}\\{spacing[1]:g}, "
                f"expected two lengths above 0 mm; {_AS_MADE}",
            )


def check_one_grid(images: Sequence[SourceImage]) -> None:
    """All images have the same rows, columns, pixel spacing and orientation."""

    def matrix(dataset: Dataset) -> str:
        sides = (number(dataset, keyword) for keyword in ("Rows", "Columns"))
        return " x ".join("absent" if side is None else f"{side:g}" for side in sides)

    _check_same(images, Reason.MIXED_MATRIX, "Rows x Columns", matrix, shown=True)
    _check_close(
        images,
        ("PixelSpacing", 2, PIXEL_SPACING_TOLERANCE_MM),
        (Reason.MIXED_MATRIX, "Pixel Spacing (0028,0030)", " mm"),
    )
    _check_close(
        images,
        ("ImageOrientationPatient", 6, ORIENTATION_TOLERANCE),
        (Reason.MIXED_ORIENTATION, "Image Orientation (Patient) (0020,0037)", ""),
    )


def common_orientation(images: Sequence[SourceImage]) -> tuple[float, ...]:
    """Return the direction cosines of the series: the median of each, so no order matters."""
    every = [numbers(image.dataset, "ImageOrientationPatient", 6) for image in images]
    return tuple(float(cosine) for cosine in np.median(np.array(every, dtype=np.float64), axis=0))


def check_axial(orientation: Sequence[float]) -> None:
    """The normal is near the patient's long axis, the rows near right-left or front-back.

    Any position of the patient on the table will do: the cosines are the patient's own.
    """
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    lengths = np.array([row @ row, column @ column])
    shown = "\\".join(f"{cosine:g}" for cosine in orientation)
    if np.abs(lengths - 1).max() > ORTHOGONAL_TOLERANCE or abs(row @ column) > ORTHOGONAL_TOLERANCE:
        raise SeriesRefused(
            Reason.NO_POSITION,
            f"Image Orientation (Patient) (0020,0037) is {shown}: "
            f"not two unit vectors at right angles (PS3.3 C.7.6.2.1.1); {_AS_MADE}",
        )
    along_row, _, normal = plane_axes(orientation)
    off_axis = math.degrees(math.acos(min(1.0, abs(float(normal[2])))))
    turned = math.degrees(math.acos(min(1.0, float(np.abs(along_row[:2]).max()))))
    if off_axis > AXIAL_TOLERANCE_DEG:
        raise SeriesRefused(
            Reason.NOT_AXIAL,
            f"the slices are not axial: their normal is {off_axis:.1f} degrees off the patient's "
            f"long axis, at most {AXIAL_TOLERANCE_DEG:g} are read; send axial images",
        )
    if turned > AXIAL_TOLERANCE_DEG:
        raise SeriesRefused(
            Reason.NOT_AXIAL,
            f"the rows are turned {turned:.1f} degrees off the patient's right-left and "
            f"front-back axes, at most {AXIAL_TOLERANCE_DEG:g} are read; send axial images that "
            "are not turned",
        )


def check_enough(images: Sequence[SourceImage]) -> None:
    """There are slices enough to be a head."""
    if len(images) < MIN_SLICES:
        raise SeriesRefused(
            Reason.TOO_FEW_SLICES,
            f"{len(images)} CT slices; at least {MIN_SLICES} are needed: send the whole series",
        )


def without_localizers(images: Sequence[SourceImage]) -> list[SourceImage]:
    """Leave out the localizers, which some scanners send inside the series.

    Raises
    ------
    SeriesRefused
        LOCALIZER where nothing else is there.
    """
    slices = [image for image in images if "LOCALIZER" not in texts(image.dataset, "ImageType")[2:]]
    if images and not slices:
        raise SeriesRefused(
            Reason.LOCALIZER, f"all {len(images)} images are localizers (Image Type value 3)"
        )
    return slices


def without_copies(images: Sequence[SourceImage]) -> list[SourceImage]:
    """Leave out instances that are here twice.

    Raises
    ------
    SeriesRefused
        DUPLICATE_POSITIONS where one SOP Instance UID names images that differ.
    """
    kept: dict[str, SourceImage] = {}
    for image in images:
        first = kept.setdefault(image.uid, image)
        if first is not image and not same_image(first.dataset, image.dataset):
            raise SeriesRefused(
                Reason.DUPLICATE_POSITIONS,
                f"files {first.name} and {image.name} have the same SOP Instance UID (0008,0018) "
                "but another position or other pixels",
            )
    return list(kept.values())


def same_image(first: Dataset, second: Dataset) -> bool:
    """Whether two data sets show the same stored values at the same position."""
    if numbers(first, "ImagePositionPatient", 3) != numbers(second, "ImagePositionPatient", 3):
        return False
    try:
        if first.get("PixelData") == second.get("PixelData"):
            return True
        # the same image may come in two transfer syntaxes
        return bool(np.array_equal(stored_values(first), stored_values(second)))
    except Exception:  # what cannot be decoded cannot be called the same
        return False


def _check_same(
    images: Sequence[SourceImage],
    reason: Reason,
    what: str,
    value: Callable[[Dataset], str],
    *,
    shown: bool = False,
) -> None:
    found = Counter(value(image.dataset) for image in images)
    if len(found) <= 1:
        return
    usual = found.most_common(1)[0][0]
    other = next(image for image in images if value(image.dataset) != usual)
    values = f" ({', '.join(sorted(found))})" if shown else ""
    raise SeriesRefused(
        reason,
        f"the series has {len(found)} different values of {what}{values}; "
        f"file {other.name} is one that differs: {_APART}",
    )


def _check_close(
    images: Sequence[SourceImage],
    element: tuple[str, int, float],
    refusal: tuple[Reason, str, str],
) -> None:
    keyword, count, tolerance = element
    reason, what, unit = refusal
    values = np.array([numbers(image.dataset, keyword, count) for image in images], np.float64)
    off = np.abs(values - np.median(values, axis=0)).max(axis=1)
    worst = int(off.argmax())
    if off[worst] > tolerance:
        shown = "\\".join(f"{value:g}" for value in values[worst])
        raise SeriesRefused(
            reason,
            f"{what} differs between slices: {shown} in file {images[worst].name} is "
            f"{off[worst]:.3g}{unit} off the others, at most {tolerance:g}{unit} is allowed: "
            f"{_APART}",
        )
