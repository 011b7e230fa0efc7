"""What a scanner lays over a head: kernel, beam hardening, streaks, noise with its texture."""

from __future__ import annotations

import cv2
import numpy as np

from training.simulate.noise import Volume

_BONE_HU = 250.0
_METAL_HU = 1800.0  # no bone is drawn denser


def expose(rng: np.random.Generator, hu: Volume, spacing_mm: tuple[float, float, float]) -> Volume:
    """Look at a head through a scanner that the rng draws, the same for all of its slices.

    Parameters
    ----------
    hu
        (slice, row, column) without noise, HU.
    spacing_mm
        Of the same axes, mm.
    """
    pixel = spacing_mm[1]
    soft = rng.uniform(0.25, 1.0) / pixel
    sharp = rng.uniform(0.0, 0.9) if rng.random() < 0.4 else 0.0
    halo = rng.uniform(0.0, 0.035) if rng.random() < 0.8 else 0.0
    reach = rng.uniform(3.0, 9.0) / pixel
    streaks = _streak_angles(rng)
    cup = rng.normal(0, 1.5)
    offset, gain = rng.normal(0, 1.5), rng.normal(1, 0.02)
    grain = _Grain.draw(rng, pixel)
    moved = rng.random() < 0.05
    metal = rng.spawn(1)[0]  # its own: the rest of a scan is the same with metal and without
    out = np.empty_like(hu)
    for index, plane in enumerate(hu):
        seen = cv2.GaussianBlur(plane, (0, 0), max(soft, 0.3))
        if sharp:
            seen += np.float32(sharp) * (seen - cv2.GaussianBlur(seen, (0, 0), 1.2 / pixel))
        bone = np.clip(plane - _BONE_HU, 0, 1600)
        if halo:
            seen += np.float32(halo) * cv2.GaussianBlur(bone, (0, 0), reach)
        for angle, amplitude in streaks:
            seen += amplitude * _streak(bone, angle, pixel)
        seen += _starburst(metal, plane, pixel)
        if moved:
            seen = _moved(rng, seen)
        body = plane > -300
        seen[body] += (cup * _cup(plane.shape))[body] + offset
        out[index] = seen * gain + grain.of(rng, body)
    return np.clip(out, -1024, 3071)


def _cup(shape: tuple[int, ...]) -> Volume:
    y, x = (np.linspace(-1.3, 1.3, n, dtype=np.float32) for n in shape)
    return np.asarray(y[:, None] ** 2 + x[None] ** 2 - 0.5, np.float32)


def _streak_angles(rng: np.random.Generator) -> list[tuple[float, np.float32]]:
    """Directions in which bone darkens or brightens what lies between, and by how much."""
    if rng.random() < 0.35:
        return []
    strength = 0.04 if rng.random() < 0.75 else 0.12
    found = [(float(rng.normal(0, 8)), np.float32(rng.normal(-0.05, strength)))]
    more = range(int(rng.integers(0, 3)))
    found += [(float(rng.uniform(0, 180)), np.float32(rng.normal(0, 0.03))) for _ in more]
    return found


def _streak(bone: Volume, angle: float, pixel_mm: float) -> Volume:
    """Bone smeared along a direction, less what is smeared evenly."""
    size = bone.shape[0]
    small = cv2.resize(bone, (size // 2, size // 2), interpolation=cv2.INTER_AREA)
    half = small.shape[0] / 2
    there = cv2.getRotationMatrix2D((half, half), angle, 1.0)
    back = cv2.getRotationMatrix2D((half, half), -angle, 1.0)
    turned = cv2.warpAffine(small, there, small.shape[::-1])
    along = cv2.GaussianBlur(turned, (0, 0), sigmaX=18 / pixel_mm, sigmaY=0.8 / pixel_mm)
    along -= cv2.GaussianBlur(turned, (0, 0), sigmaX=18 / pixel_mm, sigmaY=6 / pixel_mm)
    straight = cv2.warpAffine(along, back, small.shape[::-1])
    return np.asarray(cv2.resize(straight, bone.shape[::-1]), np.float32)


def _starburst(rng: np.random.Generator, plane: Volume, pixel_mm: float) -> Volume | float:
    """Bright and dark rays from every piece of metal, through the whole slice, HU."""
    metal = plane > _METAL_HU
    if not metal.any():
        return 0.0
    count, _, stats, centres = cv2.connectedComponentsWithStats(metal.astype(np.uint8))
    rows, columns = np.indices(plane.shape, np.float32)
    rays = np.zeros(plane.shape, np.float32)
    for piece in range(1, count):
        y, x = rows - centres[piece, 1], columns - centres[piece, 0]
        across = float(np.sqrt(stats[piece, cv2.CC_STAT_AREA])) * pixel_mm
        knots = rng.standard_normal(int(rng.integers(24, 60)))
        turn = (np.arctan2(y, x) / np.pi) % 1  # a ray goes on behind the metal
        ray = np.interp(turn * len(knots), np.arange(len(knots) + 1), np.append(knots, knots[0]))
        strength = rng.uniform(80, 350) * min(1.0, across / 6)
        fading = (1 + np.hypot(y, x) * pixel_mm / rng.uniform(10, 30)) ** 2
        rays += (strength * ray / fading).astype(np.float32)
    return rays


def _moved(rng: np.random.Generator, plane: Volume) -> Volume:
    """The head moved while it was scanned."""
    turn = cv2.getRotationMatrix2D((plane.shape[1] / 2, plane.shape[0] / 2), rng.normal(0, 2), 1.0)
    turn[:, 2] += rng.normal(0, 2, 2)
    other = cv2.warpAffine(plane, turn, plane.shape[::-1], borderValue=-1000)
    part = np.float32(rng.uniform(0.1, 0.45))
    return np.asarray((1 - part) * plane + part * other, np.float32)


class _Grain:
    """Noise of one scan: its strength, its texture and its streaks."""

    def __init__(self, sigma: float, fine: float, coarse: float, dip: float, lines: float) -> None:
        self._sigma, self._fine, self._coarse = sigma, fine, coarse
        self._dip, self._lines = dip, lines

    @classmethod
    def draw(cls, rng: np.random.Generator, pixel_mm: float) -> _Grain:
        sigma = float(np.exp(rng.uniform(np.log(1.2), np.log(8.0))))
        fine = float(rng.uniform(0.3, 0.9) / pixel_mm)
        coarse = float(rng.uniform(1.5, 3.5) / pixel_mm)
        lines = float(rng.uniform(0.3, 1.5)) if rng.random() < 0.2 else 0.0
        return cls(sigma, fine, coarse, float(rng.uniform(0, 0.9)), lines)

    def of(self, rng: np.random.Generator, body: np.ndarray) -> Volume:
        """Return the noise of one slice, HU."""
        white = rng.standard_normal(body.shape, np.float32)
        grain = cv2.GaussianBlur(white, (0, 0), max(self._fine, 0.3))
        grain -= np.float32(self._dip) * cv2.GaussianBlur(white, (0, 0), self._coarse)
        if self._lines:
            line = cv2.GaussianBlur(white, (0, 0), sigmaX=6.0, sigmaY=0.5)
            grain = grain / grain.std() + np.float32(self._lines) * line / line.std()
        wide = max(float(body.mean()), 0.05) ** 0.5 / 0.65  # more to go through, more noise
        return np.asarray(self._sigma * min(wide, 1.4) * grain / grain.std(), np.float32)
