"""Real slices and scans: what the model says of each.

No training learned from one, but a bundle may state a scan as background of drawn bleeds. Only what
is right about each is known: a bleed or none, where a box was drawn, that a scan holds no blood.
Nothing here chooses or fits anything; of the 8-bit slices the even half of each class may have
served for calibration, the odd half never.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from ich_node.assemble.source import read
from ich_node.codes import CLASSES
from ich_node.infer.predictor import Predictor, Raw
from ich_node.infer.preprocess import resize
from ich_node.pipeline.folder import analyze_folder
from ich_node.pipeline.stages import header
from ich_node.records import CtVolume
from training.evaluate.reading import (
    Volume,
    halved,
    read_boxes,
    read_dicom_slice,
    read_inv3,
    read_npy,
    read_png,
    volume_of_array,
)
from training.real.dicom import pile_of

PNG, BOXED, TILTED, CRANIUM, SUBDURAL, PHANTOM = (
    "8-bit slices",
    "boxed slices",
    "tilted head",
    "cranium",
    "subdural slice",
    "phantom",
)
# Where the scans of these groups lie; and what a bundle calls them that had one as background.
FOLDERS = {TILTED: "ge-head-tilt", PHANTOM: "philips-phantom"}


@dataclass(frozen=True)
class SliceRow:
    """What the model says of one slice.

    Parameters
    ----------
    group, name
        Which data, and which slice of them.
    half
        ``odd`` or ``even`` by sorted name within its class; empty where there are no halves.
    bleed
        Whether it holds one; None where nobody says.
    logit
        Of `any`, before calibration.
    probabilities
        Calibrated, of each of `codes.CLASSES`.
    """

    group: str
    name: str
    half: str
    bleed: bool | None
    logit: float
    probabilities: tuple[float, ...]


@dataclass(frozen=True)
class BoxRow:
    """How a mask lies to a box: pixels of the slice in both, in the box, in the whole mask."""

    name: str
    label: str
    both: int
    box: int
    mask: int


@dataclass(frozen=True)
class ScanRow:
    """What became of a scan without blood.

    ``outcome`` is ``analysed``, or ``refused`` with its reason; ``present`` names the findings,
    ``probability`` is of `any`; ``flagged`` of ``slices`` reach the slice threshold.
    """

    group: str
    name: str
    outcome: str
    present: tuple[str, ...]
    probability: float
    volume_ml: float
    slices: int
    flagged: int


@dataclass(frozen=True)
class RealRows:
    """All that was measured on real data."""

    slices: tuple[SliceRow, ...]
    boxes: tuple[BoxRow, ...]
    scans: tuple[ScanRow, ...]


def measure(
    predictor: Predictor, shared: Path, cranium: Path | None, subdural: Path | None
) -> RealRows:
    """Run everything that is there.

    Parameters
    ----------
    shared
        Folder with `rsna-slices`, `ge-head-tilt` and `philips-phantom`, or with some of them.
    cranium
        InVesalius' example `Cranium.inv3`.
    subdural
        pydicom's `693_UNCR.dcm`.

    Raises
    ------
    ValueError
        A file is not what it should be.
    """
    slices: list[SliceRow] = []
    boxes: list[BoxRow] = []
    scans: list[ScanRow] = []
    if (pictures := shared / "rsna-slices" / "png").is_dir():
        slices += png_slices(predictor, pictures)
    if (shared / "rsna-slices" / "gt.csv").is_file():
        boxed, boxes = boxed_slices(predictor, shared / "rsna-slices")
        slices += boxed
    if (tilted := shared / FOLDERS[TILTED]).is_dir():
        scan, of_scan = tilted_head(predictor, tilted)
        scans += [node_says(predictor, tilted, TILTED), scan]
        slices += of_scan
    if (phantoms := shared / FOLDERS[PHANTOM]).is_dir():
        scans += [node_says(predictor, study, PHANTOM) for study in studies(phantoms)]
    if cranium is not None:
        scan, of_scan = scan_of(predictor, read_inv3(cranium), CRANIUM, "as a volume")
        scans.append(scan)
        slices += of_scan
    if subdural is not None:
        raw = run_slice(predictor, read_dicom_slice(subdural))
        slices.append(_row(predictor, raw, 0, SUBDURAL, subdural.name, bleed=True))
    return RealRows(tuple(slices), tuple(boxes), tuple(scans))


def run_slice(predictor: Predictor, hu: Volume) -> Raw:
    """Run a volume of one slice (1, row, column), HU."""
    with torch.inference_mode():
        return predictor.run(hu)


def png_slices(predictor: Predictor, folder: Path) -> Iterator[SliceRow]:
    """Give a row for each slice of the folders `normal` and `intraparenchymal`.

    Raises
    ------
    ValueError
        A folder holds none.
    """
    for kind, bleed in (("normal", False), ("intraparenchymal", True)):
        for path, half in halved(folder / kind):
            raw = run_slice(predictor, read_png(path))
            yield _row(predictor, raw, 0, PNG, path.stem, half=half, bleed=bleed)


def boxed_slices(predictor: Predictor, folder: Path) -> tuple[list[SliceRow], list[BoxRow]]:
    """Return a row for each slice in HU, and one for each box of `gt.csv`."""
    boxes = read_boxes(folder / "gt.csv")
    slices, found = [], []
    for path in sorted(folder.glob("*.npy")):
        hu = read_npy(path)
        raw = run_slice(predictor, hu)
        drawn = boxes.get(path.stem, [])
        slices.append(_row(predictor, raw, 0, BOXED, path.stem, bleed=bool(drawn) or None))
        mask = bleed_mask(predictor, raw, hu.shape)[0]
        for box in drawn:
            inside = mask[box.rows, box.columns]
            row = BoxRow(path.stem, box.label, int(inside.sum()), inside.size, int(mask.sum()))
            found.append(row)
    return slices, found


def bleed_mask(predictor: Predictor, raw: Raw, shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """Return the mask of `any` on the source's grid (slice, row, column), whatever is present."""
    bundle = predictor.bundle
    planes = []
    with torch.inference_mode():
        for chunk in predictor.mask_logits(raw.maps):
            full = resize(chunk[:, :1], (shape[1], shape[2]), bundle.preprocessing)[:, 0]
            planes.append((torch.sigmoid(full) >= bundle.mask_threshold).numpy())
    return np.concatenate(planes)


def tilted_head(predictor: Predictor, folder: Path) -> tuple[ScanRow, list[SliceRow]]:
    """Read a tilted head as a pile of slices, as if it were upright."""
    paths = [path for path in sorted(folder.iterdir()) if header(path) is not None]
    pile = pile_of(read(paths))
    volume = volume_of_array(pile.hu, pile.spacing_mm)
    return scan_of(predictor, volume, TILTED, "as a pile of slices", pile.names)


def scan_of(
    predictor: Predictor,
    volume: CtVolume,
    group: str,
    name: str,
    names: tuple[str, ...] = (),
) -> tuple[ScanRow, list[SliceRow]]:
    """Read a scan without blood, whole and slice by slice."""
    with torch.inference_mode():
        raw = predictor.run(volume.hu)
    prediction = predictor.conclude(raw, volume.hu.shape)
    slices = [
        _row(predictor, raw, index, group, names[index] if names else str(index), bleed=False)
        for index in range(len(volume.hu))
    ]
    cut = slice_threshold(predictor)
    row = ScanRow(
        group,
        name,
        "analysed",
        tuple(key for key, score in prediction.scores.items() if score.present),
        prediction.scores["any"].probability,
        float((prediction.labels > 0).sum()) * volume.voxel_ml,
        len(slices),
        sum(item.probabilities[0] >= cut for item in slices),
    )
    return row, slices


def studies(folder: Path) -> list[Path]:
    """Return the study folders in a folder."""
    return sorted(path for path in folder.iterdir() if path.is_dir())


def node_says(predictor: Predictor, folder: Path, group: str) -> ScanRow:
    """Analyse a folder as `ich-node analyze` does."""
    with tempfile.TemporaryDirectory() as out:
        told = analyze_folder(folder, Path(out), predictor.predict, lambda _: None)
    findings = told["findings"] or {}
    of_slices = told["slice_probabilities"] or ()
    outcome = told["status"] + (f" ({told['reason']})" if told["reason"] else "")
    return ScanRow(
        group,
        f"by the node, {folder.name}",
        outcome,
        tuple(name for name, finding in findings.items() if finding["present"]),
        findings["any"]["probability"] if findings else float("nan"),
        findings["any"]["volume_ml"] if findings else 0.0,
        len(of_slices),
        sum(value >= slice_threshold(predictor) for value in of_slices),
    )


def slice_threshold(predictor: Predictor) -> float:
    """Return the shipped probability from which on a slice is called."""
    return predictor.bundle.slice_thresholds[CLASSES[0]]


def _row(
    predictor: Predictor,
    raw: Raw,
    index: int,
    group: str,
    name: str,
    *,
    bleed: bool | None,
    half: str = "",
) -> SliceRow:
    probabilities = predictor.slice_probabilities(raw)[index]
    logit = float(raw.slice_logits[index, 0])
    return SliceRow(group, name, half, bleed, logit, tuple(float(p) for p in probabilities))
