"""SMART-Net's preprocessing, once, for training and for the node; and the way back.

Volumes are (slice, row, column): inferior to superior, anterior to posterior, right to left. That
is the paper's PLS order with the slices in front.
"""

from __future__ import annotations

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


def preprocess(hu: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Bring a volume to what the network reads.

    As published, in this order: clip to 0..80 HU and scale to 0..1; resize in the plane to
    256x256, linear with aligned corners, depth kept; 8 bit; CLAHE (clip 2.0, 8x8 tiles) slice by
    slice; min-max over the whole volume, skipped where it is constant. Empty slices are kept, as
    the paper keeps them when it tests.

    Parameters
    ----------
    hu
        (slice, row, column), HU.

    Returns
    -------
    ndarray
        float32 (slice, 256, 256) in 0..1.
    """
    low, high = WINDOW_HU
    equal = cv2.createCLAHE(_CLAHE_CLIP, _CLAHE_TILES)
    out = np.empty((len(hu), SIZE, SIZE), np.uint8)
    for index, plane in enumerate(hu):
        scaled = (np.clip(plane, low, high).astype(np.float32) - low) / (high - low)
        small = resize(torch.from_numpy(scaled)[None, None], (SIZE, SIZE))[0, 0].numpy()
        out[index] = equal.apply((small * 255.0).astype(np.uint8))
    lowest, highest = int(out.min()), int(out.max())
    if highest == lowest:
        return out.astype(np.float32) / 255.0
    return (out.astype(np.float32) - lowest) / float(highest - lowest)


def resize(planes: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize (B, C, row, column) in the plane, linear with aligned corners.

    The corners' pixel centres stay where they are, so that resizing back puts every structure
    where it was.
    """
    return interpolate(planes, size, mode="bilinear", align_corners=True)
