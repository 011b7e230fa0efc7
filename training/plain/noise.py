"""Smooth random fields in millimetres, the stuff that simulated anatomy is drawn with."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

Volume = npt.NDArray[np.float32]


def smooth_noise(
    rng: np.random.Generator,
    shape: tuple[int, int, int],
    spacing_mm: tuple[float, float, float],
    length_mm: float,
) -> Volume:
    """Return a smooth field of zero mean and unit variance.

    Parameters
    ----------
    shape
        (slice, row, column).
    spacing_mm
        Of the same axes, mm.
    length_mm
        Distance between independent values, mm: the size of the structures.
    """
    nodes = [
        max(2, int(np.ceil(n * s / length_mm)) + 1) for n, s in zip(shape, spacing_mm, strict=True)
    ]
    coarse = rng.standard_normal(nodes).astype(np.float32)
    at = np.linspace(0, nodes[0] - 1, shape[0])
    low = np.minimum(at.astype(int), nodes[0] - 2)
    share = (at - low).astype(np.float32)[:, None, None]
    between = coarse[low] * (1 - share) + coarse[low + 1] * share
    size = (shape[2], shape[1])
    field = np.stack([cv2.resize(plane, size, interpolation=cv2.INTER_CUBIC) for plane in between])
    return np.asarray((field - field.mean()) / (field.std() + 1e-6), np.float32)
