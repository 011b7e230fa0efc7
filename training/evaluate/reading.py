"""Real slices and volumes as the predictor takes them."""

from __future__ import annotations

import csv
import json
import plistlib
import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from ich_node.assemble.pixels import hounsfield
from ich_node.assemble.source import numbers, read
from ich_node.geometry import plane_axes, plane_map_of
from ich_node.infer.preprocess import WINDOW_HU
from ich_node.records import CtVolume

Volume = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Box:
    """A box that a reader drew around a bleed, in pixels of the slice."""

    label: str
    rows: slice
    columns: slice


def volume_of_array(hu: Volume, spacing_mm: tuple[float, float, float]) -> CtVolume:
    """Give (slice, row, column) in HU the form that the predictor takes, without DICOM."""
    return CtVolume.of_even_slices(hu, spacing_mm)


def read_png(path: Path) -> Volume:
    """Return a slice of 8 bit in the brain window as a volume of one slice (1, row, column), HU.

    Raises
    ------
    ValueError
        It is no grey image of 8 bit.
    """
    with Image.open(path) as image:
        if image.mode != "L":
            raise ValueError(f"{path}: mode {image.mode}, expected 8-bit grey (L)")
        grey = np.asarray(image, np.float32)
    low, high = WINDOW_HU
    return np.asarray(low + grey / 255 * (high - low), np.float32)[None]


def halved(folder: Path) -> list[tuple[Path, str]]:
    """Return the pictures of a class and their halves: ``even``, ``odd``, by sorted name in turns.

    Calibration may use the even half; the odd one only measures.

    Raises
    ------
    ValueError
        There are none.
    """
    paths = sorted(folder.glob("*.png"))
    if not paths:
        raise ValueError(f"{folder} holds no *.png; expected 8-bit slices")
    return [(path, "odd" if index % 2 else "even") for index, path in enumerate(paths)]


def read_npy(path: Path) -> Volume:
    """Return a slice in HU as a volume of one slice (1, row, column).

    Raises
    ------
    ValueError
        It is no slice.
    """
    hu = np.load(path, allow_pickle=False)
    if hu.ndim != 2:
        raise ValueError(f"{path}: shape {hu.shape}, expected (row, column)")
    return np.asarray(hu, np.float32)[None]


def read_boxes(path: Path) -> dict[str, list[Box]]:
    """Return the boxes of each slice by its SOP Instance UID.

    Columns `SOPInstanceUID`, `labelName` and `data`; `data` holds x and width along the columns, y
    and height along the rows, in pixels, between braces.

    Raises
    ------
    ValueError
        A row cannot be read.
    """
    boxes: dict[str, list[Box]] = {}
    with path.open(newline="", encoding="utf-8") as file:
        for number, row in enumerate(csv.DictReader(file), 2):
            try:
                at = {key: float(value) for key, value in _braces(row["data"]).items()}
                box = Box(
                    row["labelName"],
                    slice(round(at["y"]), round(at["y"] + at["height"])),
                    slice(round(at["x"]), round(at["x"] + at["width"])),
                )
                boxes.setdefault(row["SOPInstanceUID"], []).append(box)
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(
                    f"{path}, line {number}: {type(error).__name__}: {error}; expected columns "
                    "SOPInstanceUID, labelName and data = {'x': , 'y': , 'width': , 'height': }"
                ) from error
    return boxes


def _braces(text: str) -> dict[str, float]:
    found: dict[str, float] = json.loads(text.replace("'", '"'))
    return found


def read_dicom_slice(path: Path) -> Volume:
    """Return one CT image as a volume of one slice (1, row, column), HU, turned as CT is read.

    Raises
    ------
    SeriesRefused
        It cannot be decoded, or is no CT.
    """
    image = read([path])[0]
    orientation = numbers(image.dataset, "ImageOrientationPatient", 6)
    hu = hounsfield([image])
    if orientation is None:
        return hu
    along_row, along_column, _ = plane_axes(orientation)
    return np.ascontiguousarray(plane_map_of(along_row, along_column).to_canonical(hu))


def read_inv3(path: Path) -> CtVolume:
    """Return the CT of an InVesalius project, whose rows run from posterior to anterior.

    Raises
    ------
    ValueError
        The archive lacks its description or matrix, or they do not fit.
    """
    try:
        with tarfile.open(path) as archive:
            named = {Path(member.name).name: member for member in archive.getmembers()}
            about = plistlib.loads(_content(archive, named["main.plist"]))
            stored = _content(archive, named[about["matrix"]["filename"]])
        hu = np.frombuffer(stored, about["matrix"]["dtype"]).reshape(about["matrix"]["shape"])
        columns, rows, slices = (float(step) for step in about["spacing"])
    except (KeyError, ValueError, tarfile.TarError) as error:
        raise ValueError(
            f"{path}: {type(error).__name__}: {error}; no InVesalius project"
        ) from error
    turned = np.ascontiguousarray(hu[:, ::-1], np.float32)
    return volume_of_array(turned, (slices, rows, columns))


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    if file is None:
        raise ValueError(f"{member.name} is no file")
    return file.read()
