"""Heads drawn in no time: brain in a ring of bone, with bright squares for bleeds."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ich_node.codes import SUBTYPES
from ich_node.infer.preprocess import SIZE
from training import data
from training.real.records import classes_of_labels
from training.seeds import TRAINING, Purpose, file_name
from training.simulate import SimulatedHead

BRAIN_HU, BLOOD_HU = 34, 72


def phantom(
    bleeds: Mapping[int, Sequence[str]], slices: int = 8, *, side: int = 30, scanned: bool = False
) -> data.Example:
    """A head whose slices hold these subtypes, each a square with a place of its own."""
    y, x = np.mgrid[:SIZE, :SIZE]
    radius = np.hypot((y - 128) / 110, (x - 128) / 90)
    plane = np.where(radius < 1, BRAIN_HU, np.where(radius < 1.08, 900, -1000)).astype(np.int16)
    hu = np.repeat(plane[None], slices, 0)
    labels = np.zeros(hu.shape, np.uint8)
    for index, names in bleeds.items():
        for name in names:
            value = 1 + SUBTYPES.index(name)
            top, left = 50 + 30 * value, 90 + 10 * value
            labels[index, top : top + side, left : left + side] = value
    hu[labels > 0] = BLOOD_HU
    return data.Example(hu, (5.0, 0.9, 0.9), labels, classes_of_labels(labels), scanned)


def write_phantoms(folder: Path, purpose: Purpose = TRAINING) -> Path:
    """Four heads: two with bleeds of one subtype, one with two, one with none."""
    folder.mkdir(parents=True, exist_ok=True)
    held = (
        {2: ("epidural",), 3: ("epidural",)},
        {1: ("intraparenchymal",), 4: ("intraparenchymal", "subdural")},
        {5: ("intraventricular",)},
        {},
    )
    for seed, bleeds in zip(purpose.seeds, held, strict=False):
        data.save(phantom(bleeds), folder / file_name(seed))
    return folder


def small_head(seed: int, **_: object) -> SimulatedHead:
    """A disc of brain in a ring of bone; two of three seeds hold a bleed, of one subtype each."""
    rows, columns = np.mgrid[:64, :64]
    away = np.hypot(rows - 32, columns - 32)
    plane = np.where(away < 24, 30.0, np.where(away < 27, 900.0, -1000.0))
    hu = np.repeat(plane[None], 8, 0).astype(np.float32)
    labels = np.zeros(hu.shape, np.uint8)
    if seed % 3:
        labels[2:5, 28:36, 28:36] = 1 + seed % 5
    hu[labels > 0] = 65
    return SimulatedHead(hu, labels, (5.0, 3.5, 3.5), seed)
