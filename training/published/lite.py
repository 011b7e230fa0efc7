"""EfficientNet-Lite0 in the names of the package that ships its weights, to check them by."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ich_node.infer.backbones import build_encoder

# Of each stage: channels in and out, kernel, blocks, expansion.
_STAGES = (
    (32, 16, 3, 1, 1),
    (16, 24, 3, 2, 6),
    (24, 40, 5, 2, 6),
    (40, 80, 3, 3, 6),
    (80, 112, 5, 3, 6),
    (112, 192, 5, 4, 6),
    (192, 320, 3, 1, 6),
)
# Stages that the encoder of slices has: to 1/16 of the size.
_KEPT_BLOCKS = sum(blocks for *_, blocks, _ in _STAGES[:5])


class _Block(nn.Module):
    def __init__(self, inside: int, outside: int, kernel: int, expand: int) -> None:
        super().__init__()
        wide = inside * expand
        if expand != 1:
            self._expand_conv = nn.Conv2d(inside, wide, 1, bias=False)
            self._bn0 = nn.BatchNorm2d(wide)
        self._depthwise_conv = nn.Conv2d(wide, wide, kernel, groups=wide, bias=False)
        self._bn1 = nn.BatchNorm2d(wide)
        self._project_conv = nn.Conv2d(wide, outside, 1, bias=False)
        self._bn2 = nn.BatchNorm2d(outside)


class EfficientNetLite0(nn.Module):
    """What the weights are: names and shapes, nothing that runs."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self._conv_stem = nn.Conv2d(3, 32, 3, bias=False)
        self._bn0 = nn.BatchNorm2d(32)
        self._blocks = nn.ModuleList(
            _Block(inside if first else outside, outside, kernel, expand)
            for inside, outside, kernel, blocks, expand in _STAGES
            for first in (True, *[False] * (blocks - 1))
        )
        self._conv_head = nn.Conv2d(320, 1280, 1, bias=False)
        self._bn1 = nn.BatchNorm2d(1280)
        self._fc = nn.Linear(1280, classes)


def lite_encoder_state(given: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of EfficientNet-Lite0 by the names of the encoder "lite".

    The first convolution is summed over RGB: what it gives for a slice is what it gave for a grey
    picture. What the encoder has of its own, at full size, is not among them.
    """
    with torch.device("meta"):
        own = build_encoder("lite").state_dict()
    taught = [name for name in own if name.split(".")[0] not in ("conv0", "bn0")]
    kept = [name for name in given if _is_kept(name)]
    state = {name: given[from_] for name, from_ in zip(taught, kept, strict=True)}
    return state | {"conv1.weight": torch.sum(given["_conv_stem.weight"], 1, keepdim=True)}


def _is_kept(name: str) -> bool:
    first, second, *_ = name.split(".")
    return first in ("_conv_stem", "_bn0") or (first == "_blocks" and int(second) < _KEPT_BLOCKS)
