"""A model bundle: what a network is, what it was trained on, and weights that are its own.

Layout of MONAI bundles: ``configs/metadata.json``, ``models/*.safetensors``, ``docs/README.md``.
The part that the node reads stands in the metadata under ``ich_node``. Weights may lie in several
files, each entry in one of them; their SHA-256 is that of all files joined in the order of their
names.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from importlib.resources import files
from pathlib import Path
from typing import Any

from ich_node.codes import CLASSES
from ich_node.errors import BundleError
from ich_node.infer.backbones import BACKBONES
from ich_node.infer.fit import in_brief, misfits
from ich_node.infer.network import SmartNet
from ich_node.infer.preprocess import WINDOW_HU, Preprocessing
from ich_node.infer.weights import FOLDER, load_weights, sha256_of

METADATA = Path("configs/metadata.json")


@dataclass(frozen=True)
class Bundle:
    """A bundle as its metadata states it.

    Parameters
    ----------
    calibration
        For each class the slope and the offset that turn its logit into a calibrated one.
    thresholds
        For each class the calibrated probability from which it is present.
    slice_calibration, slice_thresholds
        The same for single slices; those of the volume where the metadata does not say.
    mask_threshold
        Probability of `any` from which a voxel belongs to a bleed.
    preprocessing
        What the network was taught to read; as published where the metadata does not say.
    backgrounds
        Names of real heads that bleeds were drawn on for its training: no test of it.
    """

    folder: Path
    name: str
    version: str
    sha256: str
    backbone: str
    calibration: dict[str, tuple[float, float]]
    thresholds: dict[str, float]
    slice_calibration: dict[str, tuple[float, float]]
    slice_thresholds: dict[str, float]
    mask_threshold: float
    preprocessing: Preprocessing
    backgrounds: tuple[str, ...] = ()


def find_bundle(name_or_folder: str | Path) -> Path:
    """Return the folder of a shipped bundle's name, or the folder itself.

    Raises
    ------
    BundleError
        There is neither.
    """
    shipped = Path(str(files("ich_node.infer"))) / "bundles"
    for folder in (Path(name_or_folder), shipped / name_or_folder):
        if (folder / METADATA).is_file():
            return folder
    known = ", ".join(sorted(item.name for item in shipped.glob("*") if item.is_dir()))
    raise BundleError(
        f"model.bundle = {str(name_or_folder)!r} is neither a folder with {METADATA} nor a shipped "
        f"bundle; shipped: {known or 'none'}"
    )


def read_bundle(name_or_folder: str | Path) -> Bundle:
    """Read and check a bundle's metadata.

    Raises
    ------
    BundleError
        No bundle, metadata that cannot be read, or values that no network here can use.
    """
    folder = find_bundle(name_or_folder)
    try:
        stated: dict[str, Any] = json.loads((folder / METADATA).read_text(encoding="utf-8"))
        own = stated["ich_node"]
        bundle = Bundle(
            folder=folder,
            name=str(stated["name"]),
            version=str(stated["version"]),
            sha256=str(own["sha256"]),
            backbone=str(own["backbone"]),
            calibration=_calibration(own["calibration"]),
            thresholds=_thresholds(own["thresholds"]),
            slice_calibration=_calibration(own.get("slice_calibration", own["calibration"])),
            slice_thresholds=_thresholds(own.get("slice_thresholds", own["thresholds"])),
            mask_threshold=float(own["mask_threshold"]),
            preprocessing=_preprocessing(own.get("preprocessing", {})),
            backgrounds=_names(own.get("backgrounds", [])),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BundleError(
            f"{folder / METADATA}: {type(error).__name__}: {error}; a bundle states name, version "
            "and, under ich_node, sha256, backbone, calibration, thresholds and mask_threshold"
        ) from error
    if bundle.backbone not in BACKBONES:
        raise BundleError(
            f"{folder / METADATA}: backbone {bundle.backbone!r} is unknown; "
            f"known: {', '.join(BACKBONES)}"
        )
    return bundle


def _calibration(stated: dict[str, Any]) -> dict[str, tuple[float, float]]:
    return {name: _pair(stated[name]) for name in CLASSES}


def _thresholds(stated: dict[str, Any]) -> dict[str, float]:
    return {name: float(stated[name]) for name in CLASSES}


def _names(stated: object) -> tuple[str, ...]:
    if not isinstance(stated, list) or not all(isinstance(name, str) for name in stated):
        raise ValueError(f"backgrounds = {stated!r}, expected a list of names")
    return tuple(stated)


def _preprocessing(stated: object) -> Preprocessing:
    if not isinstance(stated, dict):
        raise ValueError(f"preprocessing = {stated!r}, expected a table")
    known = {item.name: item.type for item in fields(Preprocessing)}
    for name, value in stated.items():
        if type(value).__name__ != known.get(name):
            raise ValueError(f"preprocessing: {name} = {value!r}, expected {known}")
    found = Preprocessing(**stated)
    if found.size % 16 or not 32 <= found.size <= 1024:
        raise ValueError(f"preprocessing: size = {found.size}, expected a multiple of 16, 32..1024")
    if found.bone_hu < WINDOW_HU[1] or (found.bone_hu > WINDOW_HU[1] and found.clahe):
        raise ValueError(
            f"preprocessing: bone_hu = {found.bone_hu}, expected at least {WINDOW_HU[1]}, "
            "and no more than that with clahe, which knows no grey level above 1"
        )
    return found


def _pair(value: Sequence[float]) -> tuple[float, float]:
    slope, offset = value
    return float(slope), float(offset)


def load_network(bundle: Bundle) -> SmartNet:
    """Build the bundle's network and load its weights, all of them and no others.

    Raises
    ------
    BundleError
        The weights are not those that the metadata names, or do not fit the network.
    """
    path = bundle.folder / FOLDER
    found = sha256_of(bundle.folder)
    if found != bundle.sha256:
        raise BundleError(
            f"{path}: SHA-256 {found[:16]}..., but the metadata states {bundle.sha256[:16]}...; "
            "a file was altered or belongs to another version: install the bundle again"
        )
    weights = load_weights(bundle.folder)
    net = SmartNet(bundle.backbone, len(CLASSES))
    faults = misfits(net, weights)
    if faults:
        raise BundleError(f"{path} does not fit the network: {in_brief(faults)}")
    net.load_state_dict(weights)
    return net.requires_grad_(False).eval()
