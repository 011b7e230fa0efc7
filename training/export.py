"""Make a bundle of trained weights: calibrate, choose thresholds, write it.

    python -m training.export --network out/run/network.pt --out ich_node/infer/bundles/smartnet-ich

Calibration and thresholds come from validation seeds that no training step saw.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors
import torch
from safetensors.torch import save_file
from scipy.optimize import minimize
from torch import Tensor, nn

from ich_node.codes import CLASSES
from ich_node.infer.bundle import METADATA, load_network, read_bundle
from ich_node.infer.network import SmartNet
from ich_node.infer.predictor import Predictor
from ich_node.infer.preprocess import SIZE
from ich_node.infer.weights import FOLDER, SUFFIX, sha256_of
from training.data import VALIDATION_SEEDS, draw_scan, slice_classes

NEUTRAL = dict.fromkeys(CLASSES, (1.0, 0.0))
_MARGIN = 0.02
_SHARD_BYTES = 15 * 2**20 - 2**17  # less what the header may take
_LICENSE = Path(__file__).parents[1] / "LICENSE"

Array = npt.NDArray[np.float64]


def write_bundle(
    folder: Path,
    network: SmartNet,
    backbone: str,
    *,
    name: str,
    version: str,
    calibration: Mapping[str, tuple[float, float]] = NEUTRAL,
    thresholds: Mapping[str, float],
    mask_threshold: float,
    about: str,
) -> Path:
    """Write a bundle.

    Parameters
    ----------
    about
        What it was trained on and how well it did, for `docs/README.md` and the metadata.
    """
    for part in (METADATA.parent, FOLDER, Path("docs")):
        (folder / part).mkdir(parents=True, exist_ok=True)
    write_weights(folder, network)
    stated = {
        **_monai_part(name, version, about),
        "ich_node": {
            "sha256": sha256_of(folder),
            "backbone": backbone,
            "calibration": {key: list(map(float, calibration[key])) for key in CLASSES},
            "thresholds": {key: float(thresholds[key]) for key in CLASSES},
            "mask_threshold": mask_threshold,
        },
    }
    shutil.copy(_LICENSE, folder / "LICENSE")
    (folder / METADATA).write_text(json.dumps(stated, indent=2) + "\n", encoding="utf-8")
    (folder / "docs" / "README.md").write_text(
        f"# {name} {version}\n\nResearch use only. Not a medical device.\n\n{about}\n",
        encoding="utf-8",
    )
    return folder


def write_weights(folder: Path, network: nn.Module) -> None:
    """Write a network's weights in half precision, in files of at most 15 MiB.

    A value that half precision cannot hold keeps its tensor in single precision.
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
    half = value.half() if value.is_floating_point() else value
    whole = bool(torch.isfinite(half).all()) if value.is_floating_point() else True
    return (half if whole else value).contiguous().clone()


def _monai_part(name: str, version: str, about: str) -> dict[str, Any]:
    """Return what the metadata of every MONAI bundle states."""
    plane = {"type": "image", "num_channels": 1, "spatial_shape": ["*", SIZE, SIZE]}
    outputs = {"type": "probabilities", "format": "segmentation", "is_patch_data": False}
    return {
        "name": name,
        "version": version,
        "changelog": {version: "first of its kind"},
        "monai_version": "1.6.1",
        "pytorch_version": str(torch.__version__).partition("+")[0],
        "numpy_version": np.__version__,
        "required_packages_version": {"safetensors": safetensors.__version__},
        "task": "Intracranial haemorrhage on non-contrast head CT: classes and masks",
        "description": "SMART-Net: a slice encoder, a BiLSTM over slices, 3D convolutions",
        "authors": "the developers of ich-node",
        "copyright": "the developers of ich-node; Apache-2.0",
        "data_source": about,
        "data_type": "dicom",
        "intended_use": "Research use only. Not a medical device.",
        "network_data_format": {
            "inputs": {
                "image": {
                    **plane,
                    "format": "hounsfield",
                    "modality": "CT",
                    "dtype": "float32",
                    "value_range": [0, 1],
                    "is_patch_data": False,
                    "channel_def": {"0": "0 to 80 HU after CLAHE and min-max; slices I to S"},
                }
            },
            "outputs": {
                "pred": {
                    **outputs,
                    "num_channels": len(CLASSES),
                    "spatial_shape": ["*", SIZE, SIZE],
                    "dtype": "float32",
                    "value_range": [0, 1],
                    "channel_def": {str(index): name for index, name in enumerate(CLASSES)},
                }
            },
        },
    }


def platt(logits: Array, truth: Array) -> tuple[float, float]:
    """Fit slope and offset of a logit by maximum likelihood with Platt's smoothed targets."""
    positive, negative = truth.sum(), (1 - truth).sum()
    smooth = np.where(truth > 0, (positive + 1) / (positive + 2), 1 / (negative + 2))

    def loss(parameters: Array) -> float:
        z = parameters[0] * logits + parameters[1]
        return float(np.mean(np.logaddexp(0, z) - smooth * z))

    slope, offset = minimize(loss, np.array([1.0, 0.0]), method="Nelder-Mead").x
    return float(slope), float(offset)


def threshold(probabilities: Array, truth: Array, clean: npt.NDArray[np.bool_]) -> float:
    """Choose where the F1 is best among the thresholds at which every clean head is negative.

    Of equals the highest, and then half-way down to the next head: room on both sides.
    """
    lowest = float(probabilities[clean].max(initial=0.0)) + _MARGIN
    candidates = sorted({lowest, *probabilities[probabilities >= lowest]}, reverse=True)

    def f1(cut: float) -> float:
        found = probabilities >= cut
        return float(2 * (found & (truth > 0)).sum() / max(1.0, found.sum() + truth.sum()))

    best = float(max(candidates, key=f1))
    below = probabilities[probabilities < best]
    middle = (best + float(below.max(initial=0.0))) / 2  # half-way to the next one below
    return round(min(0.999, max(lowest, middle, 0.05)), 4)


def validate(predictor: Predictor, heads: int) -> tuple[Array, Array]:
    """Run validation heads; return class logits and truth, both (head, 6)."""
    logits, truth = [], []
    for seed in VALIDATION_SEEDS[:heads]:
        head = draw_scan(seed)
        with torch.inference_mode():
            logits.append(predictor.run(head.hu).class_logits)
        truth.append(slice_classes(head.labels).max(0))
        print(f"validation head {seed}", flush=True)
    return np.stack(logits), np.stack(truth).astype(np.float64)


def main() -> None:
    """Calibrate trained weights on validation seeds and write the bundle."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--network", type=Path, default=Path("out/run/network.pt"))
    parser.add_argument("--backbone", default="small")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--name", default="smartnet-ich")
    parser.add_argument("--version", default="0.1.0")
    parser.add_argument("--heads", type=int, default=80)
    given = parser.parse_args()
    torch.set_num_threads(1)
    network = SmartNet(given.backbone, len(CLASSES))
    network.load_state_dict(torch.load(given.network, weights_only=True))
    about = (
        "Trained on simulated heads alone (training/simulate, seeds below 90,000); calibration and "
        f"thresholds from {given.heads} simulated heads of other seeds. It has seen no real scan: "
        "what it says of one is not to be relied on."
    )
    flat = dict.fromkeys(CLASSES, 0.5)
    common = {"name": given.name, "version": given.version, "about": about, "mask_threshold": 0.5}
    write_bundle(given.out, network, given.backbone, thresholds=flat, **common)
    bundle = read_bundle(given.out)
    predictor = Predictor(bundle, load_network(bundle), torch.device("cpu"), bf16=True)
    logits, truth = validate(predictor, given.heads)
    calibration = {name: platt(logits[:, i], truth[:, i]) for i, name in enumerate(CLASSES)}
    clean = truth[:, 0] == 0
    thresholds = {}
    for index, name in enumerate(CLASSES):
        slope, offset = calibration[name]
        probability = 1 / (1 + np.exp(-(slope * logits[:, index] + offset)))
        thresholds[name] = threshold(probability, truth[:, index], clean)
    write_bundle(
        given.out, network, given.backbone, calibration=calibration, thresholds=thresholds, **common
    )
    print(json.dumps({"calibration": calibration, "thresholds": thresholds}, indent=2))


if __name__ == "__main__":
    main()
