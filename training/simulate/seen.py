"""Labels of blood that a reader could point at; what nobody can tell from its surroundings is none.

Real slices are labelled by people who look at them. Blood as dense as the brain beside it, or in
what bone makes bright, stays in the picture and has no label; nor has thin blood darker than brain,
which looks like fluid.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from training.simulate.atlas import Mask, Volume

# Where it is labelled blood changes a voxel by more than this, and leaves it no brighter than this;
# nor may the voxel be so bright without it that bone must be in it.
CHANGED_HU = 6.0
BRIGHTEST_HU = 105.0
_MIXED_HU = 80.0
# So much of a piece, in one slice, has to be so much denser than the brain around, away from bone
# and from what is bright without blood, for the piece to be seen, as far as it reaches from there.
CONTRAST_HU = 14.0
LEAST_MM2 = 30.0
REACH_MM = 6.0
_BRIGHT_HU, _BONE_HU, _BESIDE_BONE_MM = 50.0, 100.0, 3.0
# Brain, with its oedema and without its fluid, within about this, mm.
_AROUND_MM = 8.0
_BRAIN_HU = (15.0, 48.0)
# A layer along the skull as thick as this is seen by what it pushes away, whatever its density.
THICK_MM = 8.0
_LAYERS = ("epidural", "subdural")
# Walls through it that are as dense as brain are a part of it.
_WALL_MM = 4.0


def seen(
    subtype: str, blood: Mask, any_blood: Mask, clean: Volume, bloody: Volume, pixel_mm: float
) -> Mask:
    """Return what is seen of one bleed.

    Parameters
    ----------
    subtype
        One of `codes.SUBTYPES`.
    blood, any_blood
        (slice, row, column): this bleed, and all of them.
    clean, bloody
        The head without and with its bleeds, of the same shape, HU, without noise.
    pixel_mm
        Width of a pixel, mm.
    """
    free = blood & (bloody < BRIGHTEST_HU) & (bloody > 0) & (clean < _MIXED_HU)
    changed = free & (np.abs(bloody - clean) > CHANGED_HU)
    found = np.zeros(blood.shape, bool)
    for index in np.flatnonzero(changed.any((1, 2))):
        piece = changed[index]
        if subtype in _LAYERS:
            piece = _closed(piece, pixel_mm) & free[index]
        around = _around(bloody[index], any_blood[index], pixel_mm)
        told = piece & (bloody[index] - around >= CONTRAST_HU)
        dull = clean[index] < _BRIGHT_HU
        told &= dull & ~_beside_bone(clean[index], pixel_mm)
        if subtype in _LAYERS:
            told |= _thick(piece & dull, pixel_mm)
        whole = _pieces_with(piece, told, LEAST_MM2 / pixel_mm**2)
        found[index] = whole & _within(told & whole, REACH_MM, pixel_mm)
    return found


def _around(
    plane: npt.NDArray[np.float32], blood: npt.NDArray[np.bool_], pixel_mm: float
) -> npt.NDArray[np.float32]:
    """Return the mean of the brain around each pixel, HU."""
    low, high = _BRAIN_HU
    brain = ((plane > low) & (plane < high) & ~blood).astype(np.float32)
    sigma = _AROUND_MM / pixel_mm
    weight = cv2.GaussianBlur(brain, (0, 0), sigma)
    total = cv2.GaussianBlur(np.where(brain > 0, plane, 0).astype(np.float32), (0, 0), sigma)
    rest = float(plane[brain > 0].mean()) if brain.any() else 0.0
    return np.where(weight > 0.02, total / np.maximum(weight, 1e-6), rest).astype(np.float32)


def _beside_bone(clean: npt.NDArray[np.float32], pixel_mm: float) -> npt.NDArray[np.bool_]:
    """Return where bone shines in."""
    return _within(clean > _BONE_HU, _BESIDE_BONE_MM, pixel_mm)


def _within(mask: npt.NDArray[np.bool_], reach_mm: float, pixel_mm: float) -> npt.NDArray[np.bool_]:
    """Return what lies no further than this from a mask."""
    disc = _disc(2 * round(reach_mm / pixel_mm) + 1)
    return np.asarray(cv2.dilate(mask.astype(np.uint8), disc) > 0)


def _closed(piece: npt.NDArray[np.bool_], pixel_mm: float) -> npt.NDArray[np.bool_]:
    """Return a piece without the gaps that are narrow."""
    disc = _disc(2 * round(_WALL_MM / 2 / pixel_mm) + 1)
    return np.asarray(cv2.morphologyEx(piece.astype(np.uint8), cv2.MORPH_CLOSE, disc) > 0)


def _thick(piece: npt.NDArray[np.bool_], pixel_mm: float) -> npt.NDArray[np.bool_]:
    """Return where a layer is thick."""
    disc = _disc(max(3, round(THICK_MM / pixel_mm)))
    return np.asarray(cv2.morphologyEx(piece.astype(np.uint8), cv2.MORPH_OPEN, disc) > 0)


def _disc(across: int) -> npt.NDArray[np.uint8]:
    """Return a disc so many pixels wide."""
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (across, across)), np.uint8)


def _pieces_with(
    piece: npt.NDArray[np.bool_], told: npt.NDArray[np.bool_], least_px: float
) -> npt.NDArray[np.bool_]:
    """Return the connected pieces of a slice that hold enough of what is told apart."""
    count, numbers = cv2.connectedComponents(piece.astype(np.uint8))
    held = np.bincount(numbers[told], minlength=count)
    held[0] = 0
    return np.asarray((held >= least_px)[numbers] & piece)
