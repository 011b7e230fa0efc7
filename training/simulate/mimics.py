"""What looks like a bleed, or troubles the eye, and is none."""

from __future__ import annotations

import numpy as np

from training.simulate.anatomy import Anatomy
from training.simulate.atlas import Mask, Volume
from training.simulate.tissue import AIR, smoothstep


def paint_mimics(rng: np.random.Generator, head: Anatomy, hu: Volume) -> None:
    """Paint what the rng draws: calcium, old infarcts, old fluid, contrast, tumours."""
    _calcium(rng, head, hu)
    if rng.random() < 0.20:
        _infarct(rng, head, hu)
    if rng.random() < 0.10:
        _old_fluid(rng, head, hu)
    if rng.random() < 0.05:
        _contrast(rng, head, hu)
    if rng.random() < 0.05:
        _mass(rng, head, hu)


def _calcium(rng: np.random.Generator, head: Anatomy, hu: Volume) -> None:
    """Pineal gland, choroid plexus, basal ganglia, falx, vessels."""
    if rng.random() < 0.65:
        spot = head.away_mm((rng.normal(0, 1.5), 28 + rng.normal(0, 2), rng.normal(0, 0.8)))
        hu[spot < rng.uniform(1.2, 3.8)] = rng.uniform(70, 350)
    for side in (-1, 1):
        if rng.random() < 0.75:
            at = (rng.normal(10, 4), rng.normal(40, 4), side * rng.normal(22, 3))
            spot = head.away_mm(at) + 0.8 * head.grid.noise(rng, 4.0)
            hu[(spot < rng.uniform(1.2, 5.5)) & (head.ventricle_mm < 4)] = rng.uniform(50, 300)
        if rng.random() < 0.08:
            spot = head.away_mm((2, 0, side * 20)) + 2 * head.grid.noise(rng, 4.0)
            hu[(spot < rng.uniform(2, 7)) & head.inside] = rng.uniform(55, 180)
        if rng.random() < 0.15:
            spot = head.away_mm((-22, rng.normal(-4, 4), side * rng.uniform(8, 16)))
            hu[(spot < rng.uniform(1, 2.5)) & head.inside] = rng.uniform(100, 500)
    if rng.random() < 0.3:
        place = rng.uniform(-50, 80)
        long_ = rng.uniform(3, 25)
        plate = (np.abs(head.x) < rng.uniform(0.6, 2.2)) & (np.abs(head.y - place) < long_)
        plate &= (head.depth_mm < rng.uniform(4, 24)) & head.inside & (head.z > 10)
        hu[plate] = rng.uniform(70, 500)
    for _ in range(int(rng.integers(0, 3)) * (rng.random() < 0.2)):
        at = (rng.uniform(-30, 60), rng.uniform(-40, 70), rng.uniform(-50, 50))
        hu[(head.away_mm(at) < rng.uniform(1, 2.5)) & head.inside] = rng.uniform(110, 500)


def _infarct(rng: np.random.Generator, head: Anatomy, hu: Volume) -> None:
    """A territory that lost its density, fresh or turned to fluid."""
    side = rng.choice([-1, 1])
    centre = (rng.uniform(-35, 55), rng.uniform(-50, 85), side * rng.uniform(8, 55))
    size = rng.uniform(4, 38)
    spot = size * (1 + 0.3 * head.grid.noise(rng, 15.0)) - head.away_mm(centre)
    part = smoothstep(spot, -2, 3) * head.inside * (head.x * side > -2)
    target = rng.uniform(5, 28)
    hu += np.minimum(part * (np.float32(target) - hu), 0)


def _old_fluid(rng: np.random.Generator, head: Anatomy, hu: Volume) -> None:
    """A hygroma: fluid between brain and skull, as dark as in the ventricles."""
    side = rng.choice([-1, 1])
    thick = rng.uniform(3, 16)
    off = np.clip(((head.y - rng.uniform(-30, 30)) / 75) ** 2 + ((head.z - 40) / 60) ** 2, 0, 1)
    layer = (head.depth_mm < thick * (1 - off)) & (head.x * side > 2) & head.inside
    hu[layer] = rng.uniform(0, 11)


def _contrast(rng: np.random.Generator, head: Anatomy, hu: Volume) -> None:
    """Vessels and dura after contrast medium."""
    more = rng.uniform(40, 140)
    tubes = np.abs(head.grid.noise(rng, 14.0)) + np.abs(head.grid.noise(rng, 14.0)) < 0.16
    fluid = head.grey + head.white < 0.7
    hu[tubes & fluid & head.inside & (head.depth_mm > 1)] += np.float32(more)
    hu[(np.abs(head.x) < 1.2) & (head.depth_mm < 30) & head.inside & (head.z > 5)] += more / 2
    hu[head.brain] += np.float32(rng.uniform(1, 6))


def _mass(rng: np.random.Generator, head: Anatomy, hu: Volume) -> None:
    """A tumour without blood: oedema, now and then a slightly denser core."""
    side = rng.choice([-1, 1])
    centre = (rng.uniform(-30, 50), rng.uniform(-45, 75), side * rng.uniform(10, 50))
    away = head.away_mm(centre) + 3 * head.grid.noise(rng, 12.0)
    size = rng.uniform(6, 22)
    ring = smoothstep(2 * size - away, -3, 6) * (head.white > 0.3) * head.inside
    hu += np.minimum(ring * (np.float32(rng.uniform(14, 24)) - hu), 0)
    core = (away < size * rng.uniform(0.5, 1)) & head.inside
    hu[core] = rng.uniform(26, 45)


def paint_surgery(rng: np.random.Generator, head: Anatomy, hu: Volume, bone: Mask) -> Mask:
    """Paint what the rng draws of gaps in the skull, air inside it, a catheter, a clip.

    Returns the bone that is left.
    """
    side = rng.choice([-1, 1])
    opened = rng.random()
    place = (rng.uniform(5, 60), rng.uniform(-50, 70), side * 62.0)
    away = head.away_mm(place)
    if opened < 0.05:
        bone = _no_flap(rng, head, hu, bone, away)
    elif opened < 0.12:
        bone = _flap_put_back(rng, head, hu, bone, away)
    if opened < 0.12 or rng.random() < 0.03:
        _air(rng, head, hu)
    if rng.random() < 0.05:
        _catheter(rng, head, hu)
    if rng.random() < 0.03:
        _clip(rng, head, hu)
    return bone


def _no_flap(rng: np.random.Generator, head: Anatomy, hu: Volume, bone: Mask, away: Volume) -> Mask:
    """A part of the skull was taken out."""
    gap = bone & (away < rng.uniform(30, 55)) & (head.depth_mm > -14)
    hu[gap] = rng.uniform(15, 55)
    return np.asarray(bone & ~gap, bool)


def _flap_put_back(
    rng: np.random.Generator, head: Anatomy, hu: Volume, bone: Mask, away: Volume
) -> Mask:
    """A line around a part of the skull that was taken out and put back."""
    size = rng.uniform(20, 45)
    gap = bone & (np.abs(away - size) < rng.uniform(0.6, 2.0)) & (head.depth_mm > -14)
    hu[gap] = rng.uniform(-100, 60)
    return np.asarray(bone & ~gap, bool)


def _air(rng: np.random.Generator, head: Anatomy, hu: Volume) -> None:
    """Air before the brain after surgery, more often than not."""
    front = head.y < rng.uniform(-70, -35) + 6 * head.grid.noise(rng, 25.0)
    air = front & head.inside & (head.depth_mm < rng.uniform(2, 12))
    hu[air & (rng.random() < 0.6)] = AIR


def _clip(rng: np.random.Generator, head: Anatomy, hu: Volume) -> None:
    """Metal on a vessel."""
    spot = head.away_mm((rng.uniform(-25, 20), rng.uniform(-30, 20), rng.uniform(-35, 35)))
    hu[spot < rng.uniform(1.5, 5)] = rng.uniform(2000, 3000)


def _catheter(rng: np.random.Generator, head: Anatomy, hu: Volume) -> None:
    """A drain from the skull to a ventricle."""
    side = rng.choice([-1, 1])
    start = np.array([rng.uniform(20, 75), rng.uniform(-60, 60), side * rng.uniform(15, 45)])
    end = np.array([10.0, 0.0, side * 6.0])
    along = end - start
    length = float(np.linalg.norm(along))
    along /= length
    rel = [head.z - start[0], head.y - start[1], head.x - start[2]]
    share = rel[0] * along[0] + rel[1] * along[1] + rel[2] * along[2]
    off = sum((one - share * part) ** 2 for one, part in zip(rel, along, strict=True))
    hu[(off < rng.uniform(1.0, 1.8) ** 2) & (share > -15) & (share < length)] = rng.uniform(80, 400)
