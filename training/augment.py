"""Changes to a training slice that keep its meaning."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

_SHIFT, _SCALE, _TURN = 0.0625, 0.1, 15.0  # as published


def augment(
    rng: np.random.Generator, image: npt.NDArray[np.uint8], labels: npt.NDArray[np.uint8]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    """Shift, scale, turn, mirror; brightness, contrast; noise or blur.

    As published but for the mirror: the paper turns by 180 degrees, we exchange left and right.

    Parameters
    ----------
    image
        (256, 256), 0..255.
    labels
        Same shape.

    Returns
    -------
    tuple
        image float32 in 0..1, labels uint8.
    """
    moved = image.astype(np.float32) / 255
    if rng.random() < 0.5:
        moved, labels = moved[:, ::-1], labels[:, ::-1]
    if rng.random() < 0.5:
        size = image.shape[0]
        turn = cv2.getRotationMatrix2D(
            (size / 2, size / 2), rng.uniform(-_TURN, _TURN), 1 + rng.uniform(-_SCALE, _SCALE)
        )
        turn[:, 2] += rng.uniform(-_SHIFT, _SHIFT, 2) * size
        moved = cv2.warpAffine(np.ascontiguousarray(moved), turn, (size, size))
        labels = cv2.warpAffine(
            np.ascontiguousarray(labels), turn, (size, size), flags=cv2.INTER_NEAREST
        )
    if rng.random() < 0.5:
        moved = (moved - 0.5) * rng.uniform(0.9, 1.1) + 0.5 + rng.uniform(-0.1, 0.1)
    if rng.random() < 0.5:
        moved = moved + rng.normal(0, rng.uniform(0.0, 0.05), moved.shape).astype(np.float32)
    elif rng.random() < 0.4:
        moved = cv2.GaussianBlur(moved, (3, 3), 0)
    return np.clip(moved, 0, 1).astype(np.float32), np.ascontiguousarray(labels)
