"""The simulated head that the self-test sends, and the grain that a scanner lays over it."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files

import cv2
import numpy as np
import numpy.typing as npt

NAME = "head.npz"
_GRAIN_MM = 0.7
_GRAIN_HU = 3.0


@dataclass(frozen=True)
class Head:
    """A head with one bleed.

    Parameters
    ----------
    hu
        float32 (slice, row, column): inferior to superior, anterior to posterior, right to left.
    bleed
        bool of the same shape.
    spacing_mm
        Of the same axes, mm.
    subtype
        What the bleed is, one of `codes.SUBTYPES`.
    """

    hu: npt.NDArray[np.float32]
    bleed: npt.NDArray[np.bool_]
    spacing_mm: tuple[float, float, float]
    subtype: str


def load_head(seed: int) -> Head:
    """Return the shipped head under a grain of its own for each seed.

    It was drawn by `python -m training.simulate.selftest_head`, without grain: so it packs well.
    """
    with (files("ich_node.selftest") / NAME).open("rb") as file, np.load(file) as kept:
        hu = kept["hu"].astype(np.float32)
        slices, rows, columns = (float(step) for step in kept["spacing_mm"])
        bleed, subtype = kept["bleed"], str(kept["subtype"])
    rng = np.random.default_rng(seed)
    hu += np.stack([scanner_grain(rng, hu.shape[1:], columns, _GRAIN_HU) for _ in hu])
    return Head(hu, bleed, (slices, rows, columns), subtype)


def scanner_grain(
    rng: np.random.Generator, shape: tuple[int, ...], pixel_mm: float, sigma_hu: float
) -> npt.NDArray[np.float32]:
    """Return the textured noise of one slice, HU.

    Parameters
    ----------
    shape
        (row, column).
    pixel_mm
        Distance between pixels, mm.
    sigma_hu
        Its standard deviation, HU.
    """
    white = rng.standard_normal(shape).astype(np.float32)
    grain = cv2.GaussianBlur(white, (0, 0), _GRAIN_MM / pixel_mm)
    return np.asarray(sigma_hu * grain / grain.std(), np.float32)
