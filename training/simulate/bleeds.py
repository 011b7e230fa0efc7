"""Where bleeds of the five subtypes lie: planned before the head, since they move the brain."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from training.simulate.anatomy import Anatomy, Push
from training.simulate.atlas import Atlas, Mask, Point, Volume
from training.simulate.tissue import tent_height, tent_region

_DRAWS = 12
_APART_MM = 60.0
_CENTRE: Point = (8.0, 18.0, 0.0)
# Sites of bleeds in the brain and how often: (z, y, x) for the left, spread, share.
_SITES: tuple[tuple[Point, float, float], ...] = (
    ((4.0, 0.0, 26.0), 6.0, 0.20),  # putamen
    ((8.0, 18.0, 12.0), 4.0, 0.13),  # thalamus
    ((-36.0, 62.0, 22.0), 9.0, 0.09),  # cerebellum
    ((-30.0, 26.0, 2.0), 4.0, 0.05),  # pons
    ((-10.0, -52.0, 20.0), 8.0, 0.09),  # frontal base
    ((-24.0, 2.0, 46.0), 8.0, 0.09),  # temporal lobe
)


@dataclass(frozen=True)
class Plan:
    """One bleed before the head is made.

    Parameters
    ----------
    subtype
        One of `codes.SUBTYPES`.
    place
        Its centre, or the point of the skull that it lies against, mm in the average head.
    size_mm
        Radius of a ball, or thickness of a layer.
    pushes
        What it does to the brain.
    draw
        Gives the mask in a head.
    old
        Weeks after: fluid between membranes, darker than brain.
    """

    subtype: str
    place: Point
    size_mm: float
    draw: Callable[[np.random.Generator, Anatomy], Mask]
    pushes: tuple[Push, ...] = field(default=())
    old: bool = False


def plan_bleed(rng: np.random.Generator, atlas: Atlas, subtype: str) -> Plan:
    """Draw where and how large a bleed of a subtype is."""
    return _PLANS[subtype](rng, atlas)


def plan_bleeds(rng: np.random.Generator, atlas: Atlas, subtypes: Sequence[str]) -> list[Plan]:
    """Draw the bleeds of a head; two of one subtype lie apart."""
    plans: list[Plan] = []
    for subtype in subtypes:
        others = [np.array(plan.place) for plan in plans if plan.subtype == subtype]
        for _ in range(_DRAWS):
            plan = plan_bleed(rng, atlas, subtype)
            if all(np.linalg.norm(plan.place - other) > _APART_MM for other in others):
                break
        plans.append(plan)
    return plans


def _towards(rng: np.random.Generator, lowest: float, highest: float) -> tuple[Point, float]:
    """Return a unit vector to a point of the convexity and its side (-1 or 1)."""
    side = float(rng.choice([-1, 1]))
    around = rng.uniform(-1.2, 1.2)
    height = rng.uniform(lowest, highest)
    flat = np.sqrt(1 - height**2)
    unit = (height, float(flat * np.sin(around)), float(side * flat * np.cos(around)))
    return unit, side


def _rather_small(rng: np.random.Generator, least: float, most: float) -> float:
    """Draw between two sizes, more often one near the lesser."""
    return float(least * (most / least) ** rng.random() ** 1.8)


def _angle_from(head: Anatomy, unit: Point) -> Volume:
    """Angle between each voxel and a direction as seen from the centre, radians."""
    z, y, x = head.z - _CENTRE[0], head.y - _CENTRE[1], head.x - _CENTRE[2]
    length = np.sqrt(z * z + y * y + x * x) + 1e-3
    along = (z * unit[0] + y * unit[1] + x * unit[2]) / length
    return np.asarray(np.arccos(np.clip(along, -1, 1)), np.float32)


def _surface(atlas: Atlas, unit: Point) -> Point:
    """Return where a ray from the centre meets the inner table."""
    along = np.arange(30, 120, 1.0, dtype=np.float32)
    ray = [(centre + part * along)[None, None] for centre, part in zip(_CENTRE, unit, strict=True)]
    depth = atlas.form.at(*ray)[0][0, 0]
    return _at(unit, float(along[np.argmin(np.abs(depth))]))


def _at(unit: Point, distance: float) -> Point:
    return (
        _CENTRE[0] + distance * unit[0],
        _CENTRE[1] + distance * unit[1],
        _CENTRE[2] + distance * unit[2],
    )


def _epidural(rng: np.random.Generator, atlas: Atlas) -> Plan:
    """A lens between inner table and dura: short, thick, with a smooth inner edge."""
    unit, _ = _towards(rng, -0.45, 0.75)
    thick = float(rng.uniform(4, 32))
    reach = float(rng.uniform(6, 12) + rng.uniform(0.8, 1.4) * thick)
    place = _surface(atlas, unit)
    push = Push(place, tuple(-0.7 * thick * part for part in unit), 42.0)  # type: ignore[arg-type]

    def draw(rng: np.random.Generator, head: Anatomy) -> Mask:
        off = head.away_mm(place) / reach
        profile = thick * (1 - off * off) + 0.6 * head.grid.noise(rng, 25.0)
        return head.inside & (head.depth_mm < profile) & (off < 1)

    return Plan("epidural", place, thick, draw, (push,))


def _subdural(rng: np.random.Generator, _: Atlas) -> Plan:
    """A crescent along a convexity, or a layer on falx or tentorium."""
    kind = rng.random()
    if kind < 0.14:
        return _beside_falx(rng)
    if kind < 0.25:
        return _on_tentorium(rng)
    return _along_convexity(rng)


def _along_convexity(rng: np.random.Generator) -> Plan:
    unit, side = _towards(rng, -0.1, 0.6)
    old = rng.random() < 0.33
    if old:  # swollen by fluid: thick, and a lens as often as a layer
        thick = float(rng.uniform(9, 30))
        half = _rather_small(rng, max(0.36, thick / 34), 1.0)  # rad
    else:
        thick = _rather_small(rng, 4.0, 13.0)
        half = _rather_small(rng, max(0.36, thick / 16), 1.3)  # a layer, not a lens
    place = _at(unit, 60.0)
    shift = float(min(14.0, thick * rng.uniform(0.1, 0.9)))
    push = Push(place, (0.0, 0.0, -side * shift), float(rng.uniform(50, 75)))
    power = float(rng.uniform(3.0, 8.0))  # as thick over most of its length, pointed at its ends

    def draw(rng: np.random.Generator, head: Anatomy) -> Mask:
        uneven = 1 + rng.uniform(0.05, 0.3) * head.grid.noise(rng, 30.0)
        off = np.clip(_angle_from(head, unit) / half, 0, 1)
        profile = thick * (1 - off**power) * uneven
        own = (head.depth_mm < profile) & (off < 1) & (head.x * side > 1.5) & head.inside
        own &= (head.z > tent_height(head)) | ~tent_region(head)
        return np.asarray(own, bool)

    return Plan("subdural", place, thick, draw, (push,), old)


def _beside_falx(rng: np.random.Generator) -> Plan:
    side = float(rng.choice([-1, 1]))
    thick = float(rng.uniform(2.5, 9.0))
    middle, long_ = rng.uniform(-50, 80), rng.uniform(20, 60)
    reach = rng.uniform(14, 40)
    place = (40.0, float(middle), 4.0 * side)
    push = Push(place, (0.0, 0.0, side * 0.7 * thick), 40.0)

    def draw(rng: np.random.Generator, head: Anatomy) -> Mask:
        off = np.clip(np.abs(head.y - middle) / long_, 0, 1)
        profile = thick * (1 - off**3) * (1 + 0.25 * head.grid.noise(rng, 20.0))
        beside = (head.x * side > -0.6) & (head.x * side < profile)
        beside &= head.inside & (head.depth_mm < reach) & (head.z > 2)
        return np.asarray(beside, bool)

    return Plan("subdural", place, thick, draw, (push,))


def _on_tentorium(rng: np.random.Generator) -> Plan:
    side = float(rng.choice([-1, 1]))
    thick = float(rng.uniform(2.5, 7.0))
    inner, outer = rng.uniform(4, 16), rng.uniform(35, 62)
    place = (-2.0, 55.0, 25.0 * side)

    def draw(rng: np.random.Generator, head: Anatomy) -> Mask:
        above = head.z - tent_height(head)
        profile = thick * (1 + 0.3 * head.grid.noise(rng, 20.0))
        within = (head.x * side > inner) & (head.x * side < outer)
        return tent_region(head) & within & (above > -0.8) & (above < profile)

    return Plan("subdural", place, thick, draw)


def _subarachnoid(rng: np.random.Generator, _: Atlas) -> Plan:
    """Blood in the furrows of a region, or in the basal cisterns and Sylvian fissures."""
    basal = rng.random() < 0.45
    if basal:
        place = (-14.0, 2.0, float(rng.normal(0, 14)))
        reach = float(rng.uniform(18, 55))
    else:
        place = _at(_towards(rng, -0.2, 0.95)[0], 58.0)
        reach = float(rng.uniform(14, 48))
    fluid = float(rng.uniform(0.50, 0.74))
    lower = float(rng.uniform(-0.9, 0.6))

    def draw(rng: np.random.Generator, head: Anatomy) -> Mask:
        near = head.away_mm(place) < reach * (1 + 0.25 * head.grid.noise(rng, 20.0))
        furrow = (head.grey + head.white < fluid) & (head.ventricle_mm > 1.5)
        if not basal:  # a filled layer over the convexity would look like a subdural bleed
            furrow &= (head.depth_mm < 26) & (head.brain_depth_mm > 1.0)
        patchy = head.grid.noise(rng, 10.0) > lower - 0.8
        return furrow & near & patchy & head.inside & (head.depth_mm > 2.5)

    return Plan("subarachnoid", place, reach, draw)


def _intraparenchymal(rng: np.random.Generator, atlas: Atlas) -> Plan:
    """A ragged ball inside the brain: deep, lobar or in the posterior fossa; or bruised cortex."""
    if rng.random() < 0.22:
        return _contusion(rng, atlas)
    side = float(rng.choice([-1, 1]))
    place = _lobar(rng, side)
    chosen = rng.random()
    for at, spread, share in _SITES:
        if chosen < share:
            moved = np.array(at) * (1, 1, side) + rng.normal(0, spread, 3)
            place = (float(moved[0]), float(moved[1]), float(moved[2]))
            break
        chosen -= share
    volume = float(np.exp(rng.uniform(np.log(0.25), np.log(110.0))))
    radius = float((3 * volume * 1000 / (4 * np.pi)) ** (1 / 3))
    away = np.array([0.2 * (place[0] - 8), 0.3 * (place[1] - 18), place[2]])
    away /= np.linalg.norm(away) + 1e-6
    by = -min(11.0, rng.uniform(0.0, 0.55) * radius) * away
    push = Push(place, (float(by[0]), float(by[1]), float(by[2])), 2.2 * radius + 14)
    parts = int(rng.choice([1, 2, 3, 5], p=[0.5, 0.2, 0.15, 0.15]))
    bruised = rng.random() < 0.3  # blood and swollen brain side by side
    clotted = float(rng.uniform(-0.5, 0.6))

    def draw(rng: np.random.Generator, head: Anatomy) -> Mask:
        found = np.zeros(head.grid.shape, bool)
        rough = head.grid.noise(rng, max(4.0, 0.7 * radius))
        for part in range(parts):
            off = rng.normal(0, 0.8 * radius, 3) if part else np.zeros(3)
            own = radius * (rng.uniform(0.35, 0.8) if part else 1.0) / parts**0.2
            found |= _ball(head, np.array(place) + off, own, rng, rough)
        if bruised:
            found &= head.grid.noise(rng, rng.uniform(4, 9)) > clotted
        brain = head.inside & (head.brain_depth_mm > 1.0) & (head.grey + head.white > 0.25)
        return found & brain & (head.ventricle_mm > 0.3)

    return Plan("intraparenchymal", place, radius, draw, (push,))


def _contusion(rng: np.random.Generator, atlas: Atlas) -> Plan:
    """Bruised cortex: patches of blood in swollen brain against the skull."""
    unit, _ = _towards(rng, -0.55, 0.97)
    surface = _surface(atlas, unit)
    inward = float(rng.uniform(4, 13))
    place = (
        surface[0] - inward * unit[0],
        surface[1] - inward * unit[1],
        surface[2] - inward * unit[2],
    )
    reach = float(np.exp(rng.uniform(np.log(6.0), np.log(30.0))))
    grain = float(rng.uniform(3.5, 9.0))
    sparse = float(rng.uniform(-0.6, 0.7))
    push = Push(place, tuple(-0.1 * reach * part for part in unit), 2 * reach)  # type: ignore[arg-type]

    def draw(rng: np.random.Generator, head: Anatomy) -> Mask:
        near = head.away_mm(place) < reach * (1 + 0.3 * head.grid.noise(rng, 12.0))
        patches = head.grid.noise(rng, grain) > sparse
        brain = head.inside & (head.brain_depth_mm > 0.3) & (head.grey + head.white > 0.25)
        return near & patches & brain & (head.depth_mm < 26) & (head.ventricle_mm > 0.3)

    return Plan("intraparenchymal", place, 0.7 * reach, draw, (push,))


def _lobar(rng: np.random.Generator, side: float) -> Point:
    """A place in a lobe, nearer to the surface than to the middle."""
    unit, _ = _towards(rng, -0.15, 0.95)
    deep = rng.uniform(24, 58)
    return (
        float(10 + 0.95 * deep * unit[0]),
        float(18 + 1.25 * deep * unit[1]),
        float(side * max(7.0, deep * abs(unit[2]))),
    )


def _ball(
    head: Anatomy, centre: np.ndarray, radius: float, rng: np.random.Generator, rough: Volume
) -> Mask:
    stretch = np.exp(rng.uniform(-0.45, 0.45, 3))
    stretch /= np.prod(stretch) ** (1 / 3)
    away = np.sqrt(
        ((head.z - centre[0]) / stretch[0]) ** 2
        + ((head.y - centre[1]) / stretch[1]) ** 2
        + ((head.x - centre[2]) / stretch[2]) ** 2
    )
    ball: Mask = away < radius * (1 + rng.uniform(0.05, 0.3) * rough)
    return ball


def _intraventricular(rng: np.random.Generator, _: Atlas) -> Plan:
    """Blood that settles in the dependent part of the ventricles, with a level; or a cast."""
    cast = rng.random() < 0.35
    empty = float(rng.uniform(0.3, 0.85))  # of the ventricles' height
    sides = [(-1, 1), (-1,), (1,)][int(rng.choice(3, p=[0.5, 0.25, 0.25]))]
    inward = float(rng.uniform(0.0, 0.8))

    def draw(rng: np.random.Generator, head: Anatomy) -> Mask:
        wet = head.ventricles & (head.ventricle_mm < -0.2)
        of_side = np.zeros(head.grid.shape, bool)
        for side in sides:
            of_side |= head.x * side > -3
        if cast:
            clot = head.grid.noise(rng, 14.0) > -1.2 + inward
            return wet & of_side & clot
        wobble = 0.5 * head.grid.noise(rng, 20.0)
        return wet & of_side & (head.grid.down_mm + wobble > head.grid.level_mm(wet, empty))

    return Plan("intraventricular", (8.0, 30.0, 0.0), 10.0, draw)


_PLANS: dict[str, Callable[[np.random.Generator, Atlas], Plan]] = {
    "epidural": _epidural,
    "subdural": _subdural,
    "subarachnoid": _subarachnoid,
    "intraparenchymal": _intraparenchymal,
    "intraventricular": _intraventricular,
}
