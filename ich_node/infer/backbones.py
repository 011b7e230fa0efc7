"""Encoders of single slices, by name. Each gives five feature maps from full size to 1/16.

An encoder takes (batch, 1, 256, 256) and returns the maps at 256, 128, 64, 32 and 16 pixels. The
decoders and heads of SMART-Net are the same for all.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

Features = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class Widths:
    """Channels of a network.

    ``encoder`` from full size to 1/16; ``decoder`` from 1/8 back to full size; ``maps`` of the
    slice maps that the volume segmenter reads; ``recurrent`` hidden units of the BiLSTM in each
    direction. ``pool`` makes the slice's features from the deepest map: the average as published,
    or maximum and average. ``evidence``: the strongest few pixels of each mask stand beside the
    features, and the slices that say most of a class beside the BiLSTM, so that a small bleed is
    heard.
    """

    encoder: tuple[int, int, int, int, int]
    decoder: tuple[int, int, int, int]
    maps: int
    recurrent: int
    pool: type[nn.Module]
    evidence: bool = False

    @property
    def pooled(self) -> int:
        """How many features the deepest map gives."""
        return (2 if self.pool is MaximumAndAverage else 1) * self.encoder[4]

    def features(self, n_classes: int) -> int:
        """Return how many features a slice has."""
        return self.pooled + (n_classes if self.evidence else 0)


class MaximumAndAverage(nn.Module):
    """Maximum and average of a map, in a row, as the pools of torch are called."""

    def __init__(self, _: int) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, 2 channels, 1, 1)."""
        return torch.cat([x.amax((2, 3), keepdim=True), x.mean((2, 3), keepdim=True)], 1)


class Bottleneck(nn.Module):
    """Residual block of ResNet-50: 1x1, 3x3, 1x1 with four times the width out."""

    def __init__(self, inside: int, width: int, stride: int) -> None:
        super().__init__()
        outside = 4 * width
        self.conv1 = nn.Conv2d(inside, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outside, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outside)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or inside != outside:
            self.downsample = nn.Sequential(
                nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's map, at 1/stride of the size."""
        kept = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        out: Tensor = self.relu(self.bn3(self.conv3(x)) + kept)
        return out


class ResNet50(nn.Module):
    """ResNet-50 for one channel with a stem of stride 1, as SMART-Net uses it."""

    def __init__(self, stem_stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 64, 7, stem_stride, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = self._layer(64, 64, 3, 1)
        self.layer2 = self._layer(256, 128, 4, 2)
        self.layer3 = self._layer(512, 256, 6, 2)
        self.layer4 = self._layer(1024, 512, 3, 2)

    @staticmethod
    def _layer(inside: int, width: int, blocks: int, stride: int) -> nn.Sequential:
        rest = [Bottleneck(4 * width, width, 1) for _ in range(blocks - 1)]
        return nn.Sequential(Bottleneck(inside, width, stride), *rest)

    def forward(self, x: Tensor) -> Features:
        """Return the maps of the stem and of the four layers."""
        stem = self.relu(self.bn1(self.conv1(x)))
        one = self.layer1(self.maxpool(stem))
        two = self.layer2(one)
        three = self.layer3(two)
        return stem, one, two, three, self.layer4(three)


class BasicBlock(nn.Module):
    """Residual block of two 3x3 convolutions."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outside)
        self.conv2 = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outside)
        self.relu = nn.ReLU(inplace=True)
        # Pooling first: torch 2.13 crashes on the CPU in a 1x1 convolution of stride 2 with
        # channels-last weights.
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or inside != outside:
            self.downsample = nn.Sequential(
                nn.AvgPool2d(stride),
                nn.Conv2d(inside, outside, 1, bias=False),
                nn.BatchNorm2d(outside),
            )

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's map, at 1/stride of the size."""
        kept = self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        out: Tensor = self.relu(self.bn2(self.conv2(x)) + kept)
        return out


class PlainEncoder(nn.Module):
    """A residual encoder with one block for each size, as small as its widths."""

    def __init__(self, widths: tuple[int, int, int, int, int]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, widths[0], 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.relu = nn.ReLU(inplace=True)
        self.layer1, self.layer2, self.layer3, self.layer4 = (
            nn.Sequential(BasicBlock(inside, outside, 2)) for inside, outside in pairwise(widths)
        )

    def forward(self, x: Tensor) -> Features:
        """Return the maps of the stem and of the four layers."""
        stem = self.relu(self.bn1(self.conv1(x)))
        one = self.layer1(stem)
        two = self.layer2(one)
        three = self.layer3(two)
        return stem, one, two, three, self.layer4(three)


class Depthwise(nn.Conv2d):
    """One filter for each channel.

    It learns in fp32 on a CPU: there its gradient takes two to five times as long in bf16.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return the filtered map in the type of `x`."""
        learns = torch.is_grad_enabled() and (x.requires_grad or self.weight.requires_grad)
        if not x.is_cpu or not learns:
            return super().forward(x)
        with torch.autocast("cpu", enabled=False):
            return super().forward(x.float()).to(x.dtype)


class InvertedResidual(nn.Module):
    """Block of EfficientNet-Lite: 1x1 to more channels, each convolved alone, 1x1 to fewer."""

    def __init__(self, inside: int, outside: int, kernel: int, stride: int, expand: int) -> None:
        super().__init__()
        wide = inside * expand
        self.expand: nn.Module = nn.Identity()
        if expand != 1:
            self.expand = nn.Sequential(
                nn.Conv2d(inside, wide, 1, bias=False), nn.BatchNorm2d(wide), nn.ReLU6(inplace=True)
            )
        self.depthwise = nn.Sequential(
            Depthwise(wide, wide, kernel, stride, kernel // 2, groups=wide, bias=False),
            nn.BatchNorm2d(wide),
            nn.ReLU6(inplace=True),
        )
        self.project = nn.Sequential(
            nn.Conv2d(wide, outside, 1, bias=False), nn.BatchNorm2d(outside)
        )
        self.kept = stride == 1 and inside == outside

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's map, at 1/stride of the size."""
        out: Tensor = self.project(self.depthwise(self.expand(x)))
        return out + x if self.kept else out


def _unrounded(x: Tensor) -> AbstractContextManager[object]:
    """Keep what reads a slice first in fp32, but for learning.

    It costs a tenth of a study's time. In bf16 as well, masks are another 1 % from those of fp32.
    """
    if torch.is_grad_enabled():
        return nullcontext()
    return torch.autocast(x.device.type, enabled=False)


class LiteEncoder(nn.Module):
    """EfficientNet-Lite0 to its 1/16, and a map at full size that it does not have.

    Its own stem halves the slice at once, so a convolution beside it keeps what is small.
    """

    def __init__(self, widths: tuple[int, int, int, int, int]) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(1, widths[0], 3, 1, 1, bias=False)
        self.bn0 = nn.BatchNorm2d(widths[0])
        self.relu = nn.ReLU(inplace=True)
        self.conv1 = nn.Conv2d(1, 32, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(32)
        self.relu6 = nn.ReLU6(inplace=True)
        self.layer1 = self._layer(32, 16, 3, 1, 1, expand=1)
        self.layer2 = self._layer(16, 24, 3, 2, 2)
        self.layer3 = self._layer(24, 40, 5, 2, 2)
        self.layer4 = nn.Sequential(*self._layer(40, 80, 3, 3, 2), *self._layer(80, 112, 5, 3, 1))

    @staticmethod
    def _layer(
        inside: int, outside: int, kernel: int, blocks: int, stride: int, expand: int = 6
    ) -> nn.Sequential:
        rest = [InvertedResidual(outside, outside, kernel, 1, expand) for _ in range(blocks - 1)]
        return nn.Sequential(InvertedResidual(inside, outside, kernel, stride, expand), *rest)

    def forward(self, x: Tensor) -> Features:
        """Return the maps of the stem and of the four layers."""
        with _unrounded(x):
            stem = self.relu(self.bn0(self.conv0(x)))
            taught = 2 * x - 1  # the window as -1..1
            one = self.layer1(self.relu6(self.bn1(self.conv1(taught))))
        two = self.layer2(one)
        three = self.layer3(two)
        return stem, one, two, three, self.layer4(three)


BACKBONES: dict[str, Widths] = {
    "resnet50": Widths(
        (64, 256, 512, 1024, 2048), (256, 128, 64, 32), 16, 512, nn.AdaptiveAvgPool2d
    ),
    "lite": Widths(
        encoder=(8, 16, 24, 40, 112),
        decoder=(64, 32, 24, 12),
        maps=8,
        recurrent=64,
        pool=MaximumAndAverage,
        evidence=True,
    ),
    "tiny": Widths((2, 4, 8, 8, 8), (8, 8, 4, 4), 4, 8, MaximumAndAverage, evidence=True),
}


def build_encoder(name: str) -> nn.Module:
    """Return an encoder by its name in `BACKBONES`.

    Raises
    ------
    KeyError
        There is no such backbone.
    """
    widths = BACKBONES[name]
    if name == "resnet50":
        return ResNet50()
    if name == "lite":
        return LiteEncoder(widths.encoder)
    return PlainEncoder(widths.encoder)


def build_pool(name: str) -> nn.Sequential:
    """Return what makes (batch, channels) of the deepest map; it has no parameters."""
    return nn.Sequential(BACKBONES[name].pool(1), nn.Flatten())
