"""Make a bundle of trained weights: calibrate, choose thresholds, write it.

    python -m training.export --run out/run --validation out/validation \
        --name my-smartnet --version 1.0.0 --authors "A. Author" --copyright "Some Clinic" \
        --out out/bundle

Calibration and thresholds come from validation heads that no training step saw; those of single
slices also from the even half of real slices where these are given.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors
import torch
from rich.progress import track
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from scipy.special import expit
from torch import Tensor, nn

from ich_node.codes import CLASSES, SUBTYPES
from ich_node.infer.bundle import METADATA
from ich_node.infer.network import SmartNet
from ich_node.infer.predictor import Predictor, Raw, load_predictor
from ich_node.infer.preprocess import PUBLISHED, WINDOW_HU, Preprocessing, resize, value_range
from ich_node.infer.weights import FOLDER, SUFFIX, sha256_of
from training.calibrate import NEUTRAL, Array, Calibration, Scored, balanced, calibrate, platt
from training.data import head_classes, head_files, known_classes, load
from training.downstream import WEIGHTS as NETWORK
from training.evaluate.reading import halved, read_png
from training.recipe import Recipe
from training.seeds import VALIDATION, SeedError
from training.simulate.scanner import expose
from training.upstream import ORIGIN

# Where the mask of `any` may be cut.
CUTS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95)
_NORMAL = "normal"
_SHARD_BYTES = 15 * 2**20 - 2**17  # less what the header may take
_LICENSE = Path("LICENSE")


def write_bundle(
    folder: Path,
    network: SmartNet,
    backbone: str,
    *,
    name: str,
    version: str,
    authors: str,
    copyright: str,
    license_file: Path | None = None,
    calibration: Calibration = NEUTRAL,
    thresholds: Mapping[str, float],
    slice_calibration: Calibration | None = None,
    slice_thresholds: Mapping[str, float] | None = None,
    mask_threshold: float,
    preprocessing: Preprocessing = PUBLISHED,
    recipe: Recipe | None = None,
    origin: Mapping[str, Any] | None = None,
    backgrounds: Sequence[str] = (),
    about: str,
) -> Path:
    """Write a bundle.

    Parameters
    ----------
    authors, copyright
        Who made it, and whose it is and on what terms, for the metadata.
    license_file
        Text of these terms, copied into the bundle; None: the bundle holds none.
    recipe, origin
        What its run was, and what `training.upstream` says of heads and start.
    backgrounds
        Names of the real heads that bleeds were drawn on.
    about
        What it was trained on and where it fails, for `docs/README.md`.
    """
    for part in (METADATA.parent, FOLDER, Path("docs")):
        (folder / part).mkdir(parents=True, exist_ok=True)
    write_weights(folder, network)
    stated = {
        **_monai_part(name, version, preprocessing),
        "authors": authors,
        "copyright": copyright,
        "ich_node": {
            "sha256": sha256_of(folder),
            "backbone": backbone,
            "calibration": {key: list(map(float, calibration[key])) for key in CLASSES},
            "thresholds": {key: float(thresholds[key]) for key in CLASSES},
            "slice_calibration": {
                key: list(map(float, (slice_calibration or calibration)[key])) for key in CLASSES
            },
            "slice_thresholds": {
                key: float((slice_thresholds or thresholds)[key]) for key in CLASSES
            },
            "mask_threshold": mask_threshold,
            "preprocessing": asdict(preprocessing),
            "backgrounds": list(backgrounds),
        },
    }
    if recipe is not None:
        stated["recipe"] = json.loads(recipe.model_dump_json())
    if origin is not None:
        stated["origin"] = origin
    (folder / _LICENSE).unlink(missing_ok=True)
    if license_file is not None:
        shutil.copy(license_file, folder / _LICENSE)
    (folder / METADATA).write_text(json.dumps(stated, indent=2) + "\n", encoding="utf-8")
    (folder / "docs" / "README.md").write_text(
        f"# {name} {version}\n\nResearch use only. Not a medical device.\n\n{about.rstrip()}\n",
        encoding="utf-8",
    )
    return folder


def write_weights(folder: Path, network: nn.Module) -> None:
    """Write a network's weights in half precision, in files of at most 15 MiB.

    Kernels and matrices are rounded to bf16 first: who computes in it then has the weights of who
    computes in fp32, and finds the same masks. A value that half precision cannot hold keeps its
    tensor in single precision.
    """
    for stale in (folder / FOLDER).glob(f"*{SUFFIX}"):
        stale.unlink()
    shards: list[dict[str, Tensor]] = [{}]
    room = _SHARD_BYTES
    for name, value in network.state_dict().items():
        kept = _halved(value)
        if kept.nbytes > room and shards[-1]:
            shards.append({})
            room = _SHARD_BYTES
        shards[-1][name] = kept
        room -= kept.nbytes
    for index, shard in enumerate(shards, 1):
        name = "model" if len(shards) == 1 else f"model-{index:05d}-of-{len(shards):05d}"
        save_file(shard, folder / FOLDER / f"{name}{SUFFIX}")


def _halved(value: Tensor) -> Tensor:
    if value.is_floating_point() and value.ndim > 1:
        value = value.bfloat16().to(value.dtype)
    half = value.half() if value.is_floating_point() else value
    whole = bool(torch.isfinite(half).all()) if value.is_floating_point() else True
    return (half if whole else value).contiguous().clone()


def _channel(how: Preprocessing) -> str:
    said = f"{WINDOW_HU[0]:.0f} to {WINDOW_HU[1]:.0f} HU"
    if how.bone_hu > WINDOW_HU[1]:
        said += f" as 0..1, then to {how.bone_hu:.0f} HU as 1..{value_range(how)[1]}"
    return f"{said}, see ich_node.preprocessing; slices I to S"


def _monai_part(name: str, version: str, how: Preprocessing) -> dict[str, Any]:
    """Return what the metadata of every MONAI bundle states, but for whose it is."""
    plane = {"type": "image", "num_channels": 1, "spatial_shape": ["*", how.size, how.size]}
    outputs = {"type": "probabilities", "format": "segmentation", "is_patch_data": False}
    return {
        "name": name,
        "version": version,
        "changelog": {version: "see docs/README.md"},
        "monai_version": version_of("monai"),
        "pytorch_version": str(torch.__version__).partition("+")[0],
        "numpy_version": np.__version__,
        "required_packages_version": {"safetensors": safetensors.__version__},
        "task": "Intracranial haemorrhage on non-contrast head CT: classes and masks",
        "description": "SMART-Net: a slice encoder, a BiLSTM over slices, 3D convolutions",
        "data_source": "see docs/README.md",
        "data_type": "dicom",
        "intended_use": "Research use only. Not a medical device.",
        "network_data_format": {
            "inputs": {
                "image": {
                    **plane,
                    "format": "hounsfield",
                    "modality": "CT",
                    "dtype": "float32",
                    "value_range": list(value_range(how)),
                    "is_patch_data": False,
                    "channel_def": {"0": _channel(how)},
                }
            },
            "outputs": {
                "pred": {
                    **outputs,
                    "num_channels": len(CLASSES),
                    "spatial_shape": ["*", how.size, how.size],
                    "dtype": "float32",
                    "value_range": [0, 1],
                    "channel_def": {str(index): name for index, name in enumerate(CLASSES)},
                }
            },
        },
    }


@dataclass(frozen=True)
class Validated:
    """What came of the validation heads.

    Parameters
    ----------
    volumes, slices
        Of the heads, and of all their slices.
    dice
        (head, cut): of the mask of `any` where its probability reaches each of `CUTS`, of the heads
        that have a mask.
    """

    volumes: Scored
    slices: Scored
    dice: Array

    @property
    def mask_threshold(self) -> float:
        """Where a voxel is said to bleed: the mean of Dice is best; 0.5 without masks."""
        return CUTS[int(self.dice.mean(0).argmax())] if len(self.dice) else 0.5


def validate(predictor: Predictor, folder: Path) -> Validated:
    """Run the validation heads of a folder.

    What they hold is what training is told of them: NaN where it is not known.

    Raises
    ------
    FileNotFoundError
        The folder holds no heads.
    SeedError
        One of them is not to calibrate by.
    """
    volumes: list[tuple[Array, Array]] = []
    slices: list[tuple[Array, Array]] = []
    dice: list[Array] = []
    for number, path in enumerate(track(head_files(folder, VALIDATION), "validation heads")):
        head = load(path)
        rng = np.random.default_rng((number, 7))
        hu = head.hu.astype(np.float32)
        if not head.scanned:
            hu = expose(rng, hu, head.spacing_mm)
        with torch.inference_mode():
            raw = predictor.run(hu)
            if head.labels is not None and head.labels.any():
                dice.append(_dice_by_cut(predictor, raw, head.labels > 0))
        known = known_classes(head.labels, head.slice_classes)
        whole = head_classes(known, head.classes)
        volumes.append((raw.class_logits[None], whole[None].astype(np.float64)))
        slices.append((raw.slice_logits, known.astype(np.float64)))
    return Validated(_joined(volumes), _joined(slices), np.array(dice))


def _joined(pairs: Sequence[tuple[Array, Array]]) -> Scored:
    logits, truth = (np.concatenate(one) for one in zip(*pairs, strict=True))
    return Scored(logits, truth)


def _dice_by_cut(predictor: Predictor, raw: Raw, true: npt.NDArray[np.bool_]) -> Array:
    """Return Dice of the mask of `any` at each of `CUTS`; ``true`` (slice, row, column)."""
    how, size = predictor.bundle.preprocessing, (true.shape[1], true.shape[2])
    logits = torch.cat([resize(some[:, :1], size, how) for some in predictor.mask_logits(raw.maps)])
    found = expit(logits[:, 0].numpy())
    return np.array(
        [2 * (true & (found >= cut)).sum() / (true.sum() + (found >= cut).sum()) for cut in CUTS]
    )


def real_slices(predictor: Predictor, folder: Path) -> Scored:
    """Run the even half of real slices (0..80 HU in 8 bit) in folders of their class.

    The odd half is left for the evaluation.

    Raises
    ------
    ValueError
        A folder is called otherwise, or holds no slices; there is none of one without a bleed, or
        of one with a bleed.
    """
    logits, truth = [], []
    for name in sorted(part.name for part in folder.iterdir() if part.is_dir()):
        if name not in (_NORMAL, *SUBTYPES):
            raise ValueError(
                f"{folder / name}: not the name of a class; expected {_NORMAL} for slices without "
                f"a bleed, or one of {', '.join(SUBTYPES)}"
            )
        held = [name != _NORMAL, *(name == subtype for subtype in SUBTYPES)]
        for path, half in halved(folder / name):
            if half == "odd":
                continue
            with torch.inference_mode():
                raw = predictor.run(read_png(path))
            logits.append(raw.slice_logits[0])
            truth.append(np.array(held, np.float64))
    if len({one[0] for one in truth}) < 2:
        raise ValueError(f"{folder}: expected slices with and without a bleed, each in its folder")
    return Scored(np.stack(logits), np.stack(truth))


def main() -> None:
    """Calibrate trained weights on validation heads and write the bundle."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--run", type=Path, default=Path("out/run"))
    parser.add_argument("--validation", type=Path, default=Path("out/validation"))
    parser.add_argument("--slices", type=Path, help="real slices, of which the even half is used")
    parser.add_argument(
        "--background",
        metavar="NAME",
        action="append",
        default=[],
        help="folder name of a real head that bleeds were drawn on: no test of it; may be repeated",
    )
    parser.add_argument("--about", type=Path, help="text for the model card")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--name", required=True, help="every result states it, and the version")
    parser.add_argument("--version", required=True)
    parser.add_argument("--authors", required=True, help="who made it")
    parser.add_argument("--copyright", required=True, help="whose it is, and on what terms")
    parser.add_argument("--license", type=Path, help="file with these terms, to go with it")
    given = parser.parse_args()
    torch.set_num_threads(1)
    try:
        _export(given)
    except (OSError, ValueError, RuntimeError, SeedError, SafetensorError) as error:
        raise SystemExit(f"error: {error}") from error


def _export(given: argparse.Namespace) -> None:
    head_files(given.validation, VALIDATION)  # before anything is written
    recipe = Recipe.model_validate_json((given.run / "recipe.json").read_text(encoding="utf-8"))
    origin = given.run / ORIGIN
    network = SmartNet(recipe.backbone, len(CLASSES))
    network.load_state_dict(load_file(given.run / NETWORK))
    flat = dict.fromkeys(CLASSES, 0.5)
    written: dict[str, Any] = {
        "name": given.name,
        "version": given.version,
        "authors": given.authors,
        "copyright": given.copyright,
        "license_file": given.license,
        "about": given.about.read_text(encoding="utf-8") if given.about else "",
        "preprocessing": recipe.reads,
        "recipe": recipe,
        "origin": json.loads(origin.read_text()) if origin.exists() else None,
        "backgrounds": given.background,
    }
    write_bundle(
        given.out, network, recipe.backbone, thresholds=flat, mask_threshold=0.5, **written
    )
    predictor = load_predictor(given.out, "cpu")
    found = validate(predictor, given.validation)
    calibration, thresholds = calibrate(found.volumes)
    slice_calibration, slice_thresholds = calibrate(found.slices)
    if given.slices:
        real = real_slices(predictor, given.slices)
        logits, truth = real.logits[:, 0], real.truth[:, 0]
        slope, offset = slice_calibration["any"] = platt(logits, truth)
        slice_thresholds["any"] = balanced(expit(slope * logits + offset), truth)
    write_bundle(
        given.out,
        network,
        recipe.backbone,
        calibration=calibration,
        thresholds=thresholds,
        slice_calibration=slice_calibration,
        slice_thresholds=slice_thresholds,
        mask_threshold=found.mask_threshold,
        **written,
    )
    print(json.dumps({"mask_threshold": found.mask_threshold}))
    print(json.dumps({"calibration": calibration, "thresholds": thresholds}, indent=2))
    print(json.dumps({"slices": slice_calibration, "slice_thresholds": slice_thresholds}, indent=2))


if __name__ == "__main__":
    main()
