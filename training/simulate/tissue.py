"""What a head is painted with: HU of brain, fluid, skull, scalp, face and what lies about it."""

from __future__ import annotations

import cv2
import numpy as np

from training.simulate.anatomy import Anatomy
from training.simulate.atlas import Mask, Volume

AIR = -1000.0
# From this part on a voxel counts as bone.
_MOSTLY = 0.3


def smoothstep(value: Volume, low: float, high: float) -> Volume:
    """Rise from 0 to 1 between two values."""
    share = np.clip((value - np.float32(low)) / np.float32(high - low), 0, 1)
    return np.asarray(share * share * (3 - 2 * share), np.float32)


def paint_brain(rng: np.random.Generator, head: Anatomy) -> Volume:
    """Return HU of what the skull holds, painted everywhere; the skull comes on top."""
    grid = head.grid
    middle, contrast = rng.uniform(26, 37), rng.uniform(3, 11)
    white_hu, grey_hu = middle - contrast / 2, middle + contrast / 2
    csf_hu = rng.uniform(0, 14)
    matter = head.grey + head.white
    open_ = rng.uniform(0.05, 0.72)  # from furrows that do not show to those of the very old
    brain_part = smoothstep(matter, max(0.0, open_ - 0.25), open_ + 0.25)
    grey_part = head.grey / np.maximum(matter, 0.05)
    hu = white_hu + (grey_hu - white_hu) * smoothstep(grey_part, 0.15, 0.85)
    hu += np.float32(rng.uniform(0.3, 1.6)) * grid.noise(rng, rng.uniform(6, 14))
    hu += np.float32(rng.uniform(0.3, 2.0)) * grid.noise(rng, 60.0)
    if rng.random() < 0.35:  # white matter of the old
        around = np.exp(-np.clip(head.ventricle_mm, 0, None) / rng.uniform(4, 12)) * (
            head.white > 0.4
        )
        hu -= np.float32(rng.uniform(2, 9)) * around * np.clip(1 + grid.noise(rng, 15.0), 0, 2)
    hu = hu * brain_part + np.float32(csf_hu) * (1 - brain_part)
    wet = smoothstep(-head.ventricle_mm, -0.7, 0.9) * (head.brain_depth_mm > 6)
    hu = hu * (1 - wet) + np.float32(csf_hu) * wet
    _falx_and_sinuses(rng, head, hu)
    return np.asarray(hu, np.float32)


def _falx_and_sinuses(rng: np.random.Generator, head: Anatomy, hu: Volume) -> None:
    """Dura and venous blood: thin, denser than brain, dense ones look like bleeds."""
    dense = rng.uniform(38, 58) if rng.random() < 0.8 else rng.uniform(58, 75)
    wobble = head.x + 1.2 * head.grid.noise(rng, 40.0)
    half = rng.uniform(0.4, 1.4)
    reach = rng.uniform(22, 42)
    high = (head.z > 2) | (head.y < -20)
    falx = (np.abs(wobble) < half) & (head.depth_mm < reach) & high & head.inside
    hu[falx] = dense
    venous = rng.uniform(38, 60) if rng.random() < 0.85 else rng.uniform(60, 78)
    size = rng.uniform(4.0, 8.0)
    sagittal = (np.abs(wobble) < 0.7 * (size - head.depth_mm)) & head.inside & high & (head.z > -12)
    hu[sagittal] = venous
    slope = tent_height(head)
    near = np.abs(head.z - slope)
    transverse = (head.depth_mm < size) & (near < size * 0.7) & (head.y > 45) & head.inside
    hu[transverse] = venous
    # A leaf thinner than what is drawn shares its voxels: where it lies flat it is a grey haze.
    leaf, slice_mm = rng.uniform(0.8, 2.0), head.grid.spacing_mm[0]
    shared = np.clip((leaf + slice_mm) / 2 - near, 0, min(leaf, slice_mm)) / slice_mm
    hu += np.float32(shared * tent_region(head)) * (np.float32(dense) - hu)
    straight = (np.abs(wobble) < 1.6) & (near < 2.5) & (head.y > 45) & head.inside
    hu[straight] = venous


def tent_height(head: Anatomy) -> Volume:
    """Height of the tentorium over each place, mm."""
    slope = 4 - 0.0085 * head.x**2 - 0.26 * np.abs(head.y - 48)
    return np.asarray(slope, np.float32)


def tent_region(head: Anatomy) -> Mask:
    """Where there is a tentorium."""
    notch = (head.x / 17) ** 2 + ((head.y - 30) / 26) ** 2 > 1
    region: Mask = (head.y > 22) & (np.abs(head.x) < 62) & notch & head.inside
    return region


def paint_skull(rng: np.random.Generator, head: Anatomy, hu: Volume) -> Mask:
    """Paint skull, scalp, face and air; return the bone."""
    grid = head.grid
    inner = hu.copy()
    outside = head.depth_mm <= 0
    thick = rng.uniform(4.0, 9.0) + rng.uniform(0.5, 1.6) * grid.noise(rng, 35.0)
    thick = np.clip(thick, 2.5, 14.0)
    scalp = np.clip(rng.uniform(2.5, 9.0) + 1.5 * grid.noise(rng, 40.0), 1.5, 14)
    swollen = rng.random() < 0.2
    if swollen:
        scalp += np.clip(rng.uniform(4, 14) * (grid.noise(rng, 60.0) - 0.8), 0, 18)
    out = -head.depth_mm
    fat = rng.uniform(-105, -40)
    hu[outside] = AIR
    hu[outside & (out < thick + scalp)] = fat if rng.random() < 0.7 else rng.uniform(-20, 45)
    skin = outside & (out < thick + scalp) & (out > thick + scalp - 1.7)
    hu[skin] = rng.uniform(10, 60)
    if swollen:
        _scalp_blood(rng, head, hu, outside & (out < thick + scalp - 1.5) & (out > thick))
    bone = _base(rng, head, hu, thick + scalp)
    vault = (head.z > -38) | (head.y > 20)
    if head.average_hu is not None:
        vault &= head.z > -12 - 0.35 * (head.y - 20)
    table = outside & (out < thick) & vault
    cortical = rng.uniform(900, 1500)
    hu[table] = cortical
    middle = np.abs(out / thick - 0.5) < rng.uniform(0.1, 0.3)
    diploe = table & middle & (thick > 4)
    hu[diploe] = rng.uniform(250, 800)
    part = below(head, 0.0)
    mixed = vault & (part > 0) & (part < 1)
    hu[mixed] = (part * inner + (1 - part) * np.float32(cortical))[mixed]
    return np.asarray(bone | table, bool)


def below(head: Anatomy, surface_mm: Volume | float) -> Volume:
    """Return how much of each voxel lies deeper than a surface below the inner table, 0..1.

    A slice that bone runs through at a slant shows a band as grey as blood beside it.
    """
    reach = np.abs(np.gradient(head.depth_mm, axis=0)) + np.float32(0.5 * head.grid.spacing_mm[1])
    return np.asarray(np.clip(0.5 + (head.depth_mm - surface_mm) / reach, 0, 1), np.float32)


def _scalp_blood(rng: np.random.Generator, head: Anatomy, hu: Volume, where: Mask) -> None:
    """A swelling of the scalp may be dense; it is no intracranial bleed."""
    hu[where & (head.grid.noise(rng, 30.0) > 0.6)] = rng.uniform(30, 75)


def _base(rng: np.random.Generator, head: Anatomy, hu: Volume, cover: Volume) -> Mask:
    """Skull base and face: the average sharpened with noise, so that each head has its own."""
    grid = head.grid
    outside = head.depth_mm <= 0
    if head.average_hu is None:
        return _drawn_base(rng, head, hu, cover)
    coarse, fine = grid.noise(rng, 9.0), grid.noise(rng, 4.0)
    seen = head.average_hu + rng.uniform(20, 60) * coarse + rng.uniform(10, 45) * fine
    low = outside & (head.z < 8 - 0.3 * (head.y - 20))
    soft = low & (head.average_hu > -420)
    planes = smoothstep(grid.noise(rng, 22.0) + 0.5 * coarse, rng.uniform(0.5, 1.0), 1.4)
    fat = smoothstep(-head.average_hu, -20.0, rng.uniform(20, 60))
    muscle = 52 + 7 * coarse - (145 + 5 * fine) * np.maximum(planes, fat)
    hu[soft] = muscle[soft]
    _orbits(rng, head, hu, soft)
    bone = low & (seen > rng.uniform(170, 260))
    density = np.clip(rng.uniform(1.6, 3.0) * (seen - 150) + 250, 300, 1800)
    hu[bone] = density[bone]
    air = low & (seen < rng.uniform(-260, -140)) & ~bone
    hu[air] = AIR
    cells = bone & (head.z < -15) & (np.abs(head.x) > 30) & (head.y > 10) & (fine > 0.7)
    hu[cells] = rng.uniform(-900, -300)  # mastoid
    return np.asarray(bone, bool)


def _orbits(rng: np.random.Generator, head: Anatomy, hu: Volume, soft: Mask) -> None:
    """Fat and globes."""
    place = (-34 + rng.normal(0, 2), -58 + rng.normal(0, 2), 32 + rng.normal(0, 1.5))
    for side in (-1, 1):
        away = np.sqrt(
            (head.z - place[0]) ** 2 + (head.y - place[1]) ** 2 + (head.x - side * place[2]) ** 2
        )
        hu[soft & (away < 20) & (head.y < -32)] = rng.uniform(-100, -60)
        globe = away < rng.uniform(11, 13)
        hu[globe & (head.depth_mm < 0)] = rng.uniform(2, 22)
        hu[(np.abs(away - 12.3) < 0.7) & (head.depth_mm < 0)] = rng.uniform(40, 70)


def _drawn_base(rng: np.random.Generator, head: Anatomy, hu: Volume, cover: Volume) -> Mask:
    """A skull base and a face of noise, where there is no average to take them from."""
    grid = head.grid
    outside = head.depth_mm <= 0
    oval = (head.x / 74) ** 2 + ((head.y - 5) / 92) ** 2 < 1
    low = outside & (head.z < 0) & (oval | (-head.depth_mm < cover))
    hu[low] = (45 + 15 * grid.noise(rng, 12.0))[low]
    seen = grid.noise(rng, 16.0) + 0.6 * grid.noise(rng, 6.0)
    near = low & (-head.depth_mm < rng.uniform(4, 7))
    bone = near | (low & (seen > 0.9))
    hu[bone] = np.clip(700 + 350 * seen, 250, 1500)[bone]
    air = low & (seen < -0.9) & (head.y < 15) & ~near
    hu[air] = AIR
    return np.asarray(bone, bool)


def paint_petrous(rng: np.random.Generator, head: Anatomy, hu: Volume) -> Mask:
    """Ridges and processes of bone that reach into the cavity."""
    part = np.zeros(head.grid.shape, np.float32)
    slice_mm = head.grid.spacing_mm[0]
    for side in (-1, 1):
        line = head.y - 22 + rng.uniform(0.5, 0.9) * (np.abs(head.x) - 30)
        half = rng.uniform(1.5, 5.5) * np.clip((np.abs(head.x) - 10) / 25, 0.2, 1.3)
        ridge = np.abs(line + 2.5 * head.grid.noise(rng, 9.0)) < half
        top = rng.uniform(-36, -26) + 2 * head.grid.noise(rng, 12.0)
        ridge &= head.x * side > rng.uniform(12, 20)
        ridge &= (head.z > -52) & (head.depth_mm > -2) & (head.depth_mm < 16)
        part = np.maximum(part, ridge * np.clip(0.5 + (top - head.z) / slice_mm, 0, 1))
        clinoid = (head.z + 17) ** 2 + (head.y + 6) ** 2 + (head.x - side * 12) ** 2
        part = np.maximum(part, clinoid < rng.uniform(2, 4.5) ** 2)
    rough = rng.uniform(0.3, 2.2) + rng.uniform(0.8, 2.2) * head.grid.noise(rng, 9.0)
    low = (head.z < -14 - 0.3 * (head.y - 10)) & head.inside
    part = np.maximum(part, low * (1 - below(head, rough)))
    part = np.asarray(part * (head.depth_mm > -3), np.float32)
    density = np.clip(rng.uniform(500, 1200) + 250 * head.grid.noise(rng, 6.0), 150, 1800)
    hu += part * (density - hu)
    return np.asarray(part > _MOSTLY, bool)


def paint_holder(rng: np.random.Generator, head: Anatomy, hu: Volume) -> None:
    """A table or a head holder in the air behind the head: arcs that every slice shows."""
    if rng.random() < 0.25:
        return
    _, rows, columns = head.grid.shape
    step = head.grid.spacing_mm[1]
    y = (np.arange(rows, dtype=np.float32)[:, None] - rows / 2) * step
    x = (np.arange(columns, dtype=np.float32)[None] - columns / 2) * step
    wide, high = rng.uniform(88, 125), rng.uniform(95, 125)
    ring = np.sqrt((x / wide) ** 2 + ((y - rng.uniform(-5, 15)) / high) ** 2)
    arc = np.abs(ring - 1) * wide < rng.uniform(0.8, 2.0)
    arc &= y > rng.uniform(-20, 75)
    drawn = cv2.GaussianBlur(arc.astype(np.float32), (0, 0), 0.7)
    density = rng.uniform(-300, 700)
    for plane in hu:
        free = plane < -900
        plane[free] += (drawn * np.float32(density + 1000))[free]
