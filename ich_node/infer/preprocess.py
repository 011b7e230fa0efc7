"""SMART-Net's preprocessing, once, for training and for the node; and the way back.

Volumes are (slice, row, column): inferior to superior, anterior to posterior, right to left. That
is the paper's PLS order with the slices in front.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import interpolate

SIZE = 256
WINDOW_HU = (0.0, 80.0)
_CLAHE_CLIP = 2.0
_CLAHE_TILES = (8, 8)
_BONE = 0.5


@dataclass(frozen=True)
class Preprocessing:
    """What a network was taught to read; its bundle states it.

    Parameters
    ----------
    size
        Rows and columns of a slice; a multiple of 16.
    clahe
        Equalise each slice in 8x8 tiles, in 8 bit. Without it a grey level is an HU.
    stretch
        Bring the volume's darkest and brightest value to 0 and 1.
    antialias
        Average what a pixel of a smaller slice covers; without it one value of the slice is taken,
        with all its noise, and corner pixels stay on corner pixels.
    bone_hu
        What is denser than the window is kept up to this HU, at a lesser slope, as 1..1.5: a layer
        of blood along the inner table is told from bone there. At 80 the window ends all.
    """

    size: int = SIZE
    clahe: bool = True
    stretch: bool = True
    antialias: bool = False
    bone_hu: float = WINDOW_HU[1]


PUBLISHED = Preprocessing()
OURS = Preprocessing(size=192, clahe=False, stretch=False, antialias=True, bone_hu=300.0)


def preprocess(hu: npt.NDArray[Any], how: Preprocessing = PUBLISHED) -> npt.NDArray[np.float32]:
    """Bring a volume to what the network reads.

    As published, in this order: clip to 0..80 HU and scale to 0..1; resize in the plane to
    256x256, linear with aligned corners, depth kept; 8 bit; CLAHE (clip 2.0, 8x8 tiles) slice by
    slice; min-max over the whole volume, skipped where it is constant. Empty slices are kept, as
    the paper keeps them when it tests.

    Parameters
    ----------
    hu
        (slice, row, column), HU.
    how
        Which of these steps.

    Returns
    -------
    ndarray
        float32 (slice, size, size) in 0..1; to 1.5 with `bone_hu`.
    """
    out = np.empty((len(hu), how.size, how.size), np.float32)
    for index, plane in enumerate(hu):
        scaled = torch.from_numpy(_grey(plane, how.bone_hu))
        small = resize(scaled[None, None], (how.size, how.size), how)[0, 0]
        out[index] = small.numpy()
    if how.clahe:
        equal = cv2.createCLAHE(_CLAHE_CLIP, _CLAHE_TILES)
        for index, plane in enumerate(out):
            out[index] = equal.apply((plane * 255.0).astype(np.uint8)) / np.float32(255)
    return _stretched(out) if how.stretch else out


def value_range(how: Preprocessing) -> tuple[float, float]:
    """Return the least and the greatest grey level of what `preprocess` gives."""
    return (0.0, 1.0 + _BONE if how.bone_hu > WINDOW_HU[1] else 1.0)


def _grey(hu: npt.NDArray[Any], bone_hu: float) -> npt.NDArray[np.float32]:
    low, high = WINDOW_HU
    grey = (np.clip(hu, low, high).astype(np.float32) - low) / (high - low)
    if bone_hu > high:
        grey += _BONE * (np.clip(hu, high, bone_hu).astype(np.float32) - high) / (bone_hu - high)
    return np.asarray(grey, np.float32)


def _stretched(volume: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    lowest, highest = float(volume.min()), float(volume.max())
    if highest == lowest:
        return volume
    return np.asarray((volume - lowest) / (highest - lowest), np.float32)


def resize(planes: Tensor, size: tuple[int, int], how: Preprocessing = PUBLISHED) -> Tensor:
    """Resize (B, C, row, column) in the plane, linear.

    As published with aligned corners: the corners' pixel centres stay where they are. Else the
    slices' edges do. Either way, resizing back puts every structure where it was.
    """
    if tuple(planes.shape[2:]) == size:
        return planes
    if how.antialias:
        return interpolate(planes, size, mode="bilinear", align_corners=False, antialias=True)
    return interpolate(planes, size, mode="bilinear", align_corners=True)
