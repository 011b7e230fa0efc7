"""Changes to training slices that keep their meaning: pose, scanner, brightness."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from ich_node.infer.preprocess import SIZE, WINDOW_HU, Preprocessing, preprocess, value_range
from training.recipe import Data
from training.simulate.scanner import expose

Hu = npt.NDArray[np.float32]
Labels = npt.NDArray[np.uint8]
Pose = npt.NDArray[np.float64]
Bend = npt.NDArray[np.float32]

_AIR = -1000.0
_FINER = 2
# A bend is smooth between so many points on either side of the plane: 40 mm apart, about.
_NODES = 6
_CUBIC = cv2.INTER_CUBIC
# Some readers' pictures were made smaller before they came; how often, and to what.
_COARSE, _COARSEST = 0.25, 0.7


def _pose(rng: np.random.Generator, data: Data) -> Pose:
    """Draw where a point of the plane of 256x256 comes to lie on it: (2, 3), column before row."""
    middle = (SIZE - 1) / 2
    turn = rng.uniform(-data.turn_deg, data.turn_deg)
    scale = np.exp(rng.uniform(-data.scale, data.scale / 2))
    matrix: Pose = cv2.getRotationMatrix2D((middle, middle), turn, scale)
    if rng.random() < 0.5:
        sides = (-1.0, 1.0) if data.flip == "ours" else (-1.0, -1.0)
        mirror = np.eye(3)
        for axis, side in enumerate(sides):
            mirror[axis, axis], mirror[axis, 2] = side, 0.0 if side > 0 else SIZE - 1
        matrix = matrix @ mirror
    matrix[:, 2] += rng.uniform(-data.shift, data.shift, 2) * SIZE
    return matrix


def _bend(rng: np.random.Generator, data: Data) -> Bend | None:
    """Draw how far points of the plane of 256x256 are moved: (2, node, node), column before row."""
    if not data.bend:
        return None
    reach = rng.uniform(0, data.bend) * SIZE
    return np.asarray(reach * rng.standard_normal((2, _NODES, _NODES)), np.float32)


def _hu_at(pose: Pose, bend: Bend | None, hu: Hu, size: int) -> Hu:
    return np.asarray(_moved(hu, pose, bend, size, cv2.INTER_LINEAR, _AIR), np.float32)


def _labels_at(pose: Pose, bend: Bend | None, labels: Labels, size: int) -> Labels:
    return np.asarray(_moved(labels, pose, bend, size, cv2.INTER_NEAREST, 0), np.uint8)


def _moved(
    planes: Hu | Labels, pose: Pose, bend: Bend | None, size: int, kind: int, beside: float
) -> npt.NDArray[Any]:
    """Return planes in a pose, bent, on others of another size."""
    matrix, square = _onto(pose, size), (size, size)
    if bend is None:
        turned = (cv2.warpAffine(p, matrix, square, flags=kind, borderValue=beside) for p in planes)
        return np.stack(list(turned))
    row, column = np.mgrid[:size, :size].astype(np.float32)
    back = cv2.invertAffineTransform(matrix).astype(np.float32)
    x, y = (
        along[0] * column + along[1] * row + along[2] + cv2.resize(by, square, interpolation=_CUBIC)
        for along, by in zip(back, bend, strict=True)
    )
    return np.stack([cv2.remap(one, x, y, kind, borderValue=beside) for one in planes])


def _onto(pose: Pose, size: int) -> Pose:
    """Bring a pose onto a plane of another size: edges stay on edges, not pixel centres."""
    matrix = pose * (size / SIZE)
    matrix[:, 2] += (size / SIZE - 1) / 2
    return matrix


def pose_and_scan(
    rng: np.random.Generator,
    data: Data,
    hu: Hu,
    labels: Labels,
    size: int,
    spacing_mm: tuple[float, float, float] | None,
) -> tuple[Hu, Labels]:
    """Give slices another pose, and a scanner where they have none.

    A scanner's matrix is finer than what a network reads: bone is cut at the window's end first and
    averaged with its neighbours after, which leaves its edge grey. So it is here.

    Parameters
    ----------
    hu, labels
        (slice, 256, 256).
    size
        Rows and columns of what the network reads.
    spacing_mm
        Of slices without a scanner's noise: (slice, row, column), mm; None of those that have it.

    Returns
    -------
    ndarray, ndarray
        HU (slice, 2 size, 2 size), and labels (slice, size, size).
    """
    finer = _FINER * size
    pose, bend = _pose(rng, data), _bend(rng, data)
    fine = _hu_at(pose, bend, hu, finer)
    if spacing_mm is not None:
        pixel = spacing_mm[1] * hu.shape[1] / finer
        fine = scan(rng, fine, (spacing_mm[0], pixel, pixel))
    return fine, _labels_at(pose, bend, labels, size)


def scan(rng: np.random.Generator, hu: Hu, spacing_mm: tuple[float, float, float]) -> Hu:
    """Lay a scanner over slices that have none; some are made coarser after it."""
    seen = expose(rng, hu, spacing_mm)
    if rng.random() >= _COARSE:
        return seen
    rows, columns = hu.shape[1:]
    part = rng.uniform(_COARSEST, 1.0)
    small = (round(columns * part), round(rows * part))
    coarse = [
        cv2.resize(cv2.resize(one, small, interpolation=cv2.INTER_AREA), (columns, rows))
        for one in seen
    ]
    return np.stack(coarse)


def look(rng: np.random.Generator, data: Data, hu: Hu, how: Preprocessing) -> Hu:
    """Preprocess slices as the node does, then change brightness, contrast and gamma a little.

    Returns
    -------
    ndarray
        float32 (slice, row, column), in the range that `preprocess` gives.
    """
    windowed = how.bone_hu > WINDOW_HU[1] and rng.random() < data.windowed
    image = preprocess(np.minimum(hu, WINDOW_HU[1]) if windowed else hu, how)
    if data.brightness and rng.random() < 0.5:
        top = 1.0 if windowed else value_range(how)[1]
        gain = rng.uniform(1 - data.brightness, 1 + data.brightness)
        image = np.clip((image - 0.45) * gain + 0.45 + rng.normal(0, data.brightness / 4), 0, top)
        image = np.minimum(image ** np.exp(rng.normal(0, data.brightness)), top)
    return np.asarray(image, np.float32)


def without_crumbs(labels: Labels, smallest_px: int) -> Labels:
    """Remove pieces of a slice's mask of fewer pixels, whatever their subtype."""
    if not smallest_px:
        return labels
    kept = labels.copy()
    for plane in kept:
        count, pieces, stats, _ = cv2.connectedComponentsWithStats((plane > 0).astype(np.uint8))
        for piece in range(1, count):
            if stats[piece, cv2.CC_STAT_AREA] < smallest_px:
                plane[pieces == piece] = 0
    return kept
