"""SMART-Net 3.0, the rewrite of 2024 (branch ``main`` of the published code), with ResNet-50.

What differs from 1.0: a stem of stride 2, so five decoder blocks; scSE before and after the
convolutions of each; a reconstruction decoder with skips and normalisation; a deeper class head;
consistency by generalised mean pooling. The downstream networks hold the whole slice network, and
so their checkpoints hold the encoder twice. Published with one output (any haemorrhage).
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from ich_node.infer.backbones import BACKBONES, Features, ResNet50
from ich_node.infer.network import Attention, ConvBn, Shuffle, VolumeSegmenter

_ENCODER = BACKBONES["resnet50"].encoder
_DEEPEST = _ENCODER[4]
_DECODER = (256, 128, 64, 32, 16)
_MAPS = _DECODER[4]


class Block(nn.Module):
    """Twice the size, the encoder's map beside it where there is one, scSE around the convolutions.

    The last block has no map beside it, and no scSE before its convolutions.
    """

    def __init__(self, up: nn.Module, inside: int, skip: int, outside: int) -> None:
        super().__init__()
        self.upsample = up
        self.attention1 = Attention(inside + skip) if skip else nn.Identity()
        self.conv1 = ConvBn(inside + skip, outside)
        self.conv2 = ConvBn(outside, outside)
        self.attention2 = Attention(outside)

    def forward(self, x: Tensor, skip: Tensor | None) -> Tensor:
        """Return the map at twice the size of `x`, the size of `skip`."""
        x = self.upsample(x)
        if skip is not None:
            x = torch.cat([x, skip], 1)
        out: Tensor = self.attention2(self.conv2(self.conv1(self.attention1(x))))
        return out


def _decoder(shuffled: bool) -> list[Block]:
    """Return the five blocks: by nearest neighbour (masks) or pixel shuffle (reconstruction)."""
    skips = (*_ENCODER[3::-1], 0)
    sizes = zip(pairwise((_DEEPEST, *_DECODER)), skips, strict=True)
    return [
        Block(Shuffle(inside) if shuffled else nn.Upsample(scale_factor=2), inside, skip, outside)
        for (inside, outside), skip in sizes
    ]


def _decode(blocks: list[nn.Module], features: Features) -> Tensor:
    """Return (B, 16, H, W) from the encoder's five maps, the largest of H/2 x W/2."""
    x = features[4]
    for block, skip in zip(blocks, (*features[3::-1], None), strict=True):
        x = block(x, skip)
    return x


class GeneralizedMean(nn.Module):
    """Mean of the p-th powers over the slice, to the power of 1/p; p is learned."""

    def __init__(self) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.full((1,), 3.0))

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, n) from (B, n, H, W); what is below 1e-6 counts as 1e-6."""
        mean: Tensor = x.clamp(min=1e-6).pow(self.p).mean((2, 3)).pow(1 / self.p)
        return mean


class MainOutputs(NamedTuple):
    """Raw outputs: (B, 1), (B, 1, H, W), (B, 1, H, W), and the pooled mask logits (B, 1)."""

    classes: Tensor
    masks: Tensor
    reconstruction: Tensor
    pooled: Tensor


class MainSliceNet(nn.Module):
    """The slice network: 63,356,244 parameters in 567 entries.

    Slices are (B, 1, H, W), H and W multiples of 32. The published consistency pools raw logits.
    """

    def __init__(self) -> None:
        super().__init__()
        self.encoder = ResNet50(stem_stride=2)
        # One group over channels of a single pixel: the layer normalisation of the published code.
        self.cls_decoder_block1 = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.GroupNorm(1, _DEEPEST))
        self.cls_decoder_block3 = nn.Linear(_DEEPEST, _DEEPEST // 2)
        self.cls_decoder_block5 = nn.Dropout(0.3)
        for index, block in enumerate(_decoder(shuffled=False), 1):
            self.add_module(f"seg_decoder_block{index}", block)
        for index, block in enumerate(_decoder(shuffled=True), 1):
            self.add_module(f"rec_decoder_block{index}", block)
        self.cls_head = nn.Linear(_DEEPEST // 2, 1)
        self.seg_head = nn.Conv2d(_MAPS, 1, 3, 1, 1)
        self.rec_head = nn.Conv2d(_MAPS, 1, 3, 1, 1)
        self.pool_for_consist = GeneralizedMean()

    def forward(self, slices: Tensor) -> MainOutputs:
        """Return the four outputs for (B, 1, H, W)."""
        features = self.encoder(slices)
        deepest = self.cls_decoder_block1(features[4]).flatten(1)
        classes = self.cls_decoder_block5(torch.tanh(self.cls_decoder_block3(deepest)))
        masks = self.seg_head(_decode(_blocks(self, "seg_decoder_block"), features))
        reconstruction = self.rec_head(_decode(_blocks(self, "rec_decoder_block"), features))
        return MainOutputs(
            self.cls_head(classes), masks, reconstruction, self.pool_for_consist(masks)
        )


def _blocks(net: nn.Module, prefix: str) -> list[nn.Module]:
    return [net.get_submodule(f"{prefix}{index}") for index in range(1, len(_DECODER) + 1)]


class SequenceReader(nn.Module):
    """Three-layer BiLSTM as wide as its input, then two linear layers."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.LSTM = nn.LSTM(features, features, 3, batch_first=True, bidirectional=True)
        self.linear_lstm = nn.Linear(2 * features, features)
        self.head = nn.Sequential(nn.Dropout(0.3), nn.Linear(features, 1))

    def forward(self, sequences: Tensor, depths: Tensor) -> Tensor:
        """Return (B, 1) from (B, slices, features); `depths` counts the true slices of each."""
        packed = pack_padded_sequence(
            sequences, depths.cpu(), batch_first=True, enforce_sorted=False
        )
        _, (state, _) = self.LSTM(packed)
        both = torch.cat([state[-2], state[-1]], 1)  # forward, then backward: not as in 1.0
        out: Tensor = self.head(torch.relu(self.linear_lstm(both)))
        return out


class MainVolumeClassifier(SequenceReader):
    """Volume classifier by BiLSTM, with the slice network inside; 913 entries."""

    def __init__(self) -> None:
        super().__init__(_DEEPEST)
        self.model_2d = MainSliceNet()
        self.encoder = self.model_2d.encoder

    def forward(self, volumes: Tensor, depths: Tensor) -> Tensor:
        """Return logits (B, 1) for volumes (B, slices, H, W) of `depths` (B,) true slices."""
        features = self.encoder(volumes.flatten(0, 1)[:, None])[4].mean((2, 3))
        return super().forward(features.reshape(*volumes.shape[:2], -1), depths)


class MainVolumeSegmenter(VolumeSegmenter):
    """Volume segmenter by 3D convolutions, with the slice network inside; 1,015 entries."""

    def __init__(self) -> None:
        super().__init__(_MAPS, 1)
        self.model_2d = MainSliceNet()
        self.encoder = self.model_2d.encoder
        for index, block in enumerate(_decoder(shuffled=False), 1):
            self.add_module(f"seg_decoder{index}", block)

    def forward(self, volumes: Tensor) -> Tensor:
        """Return logits (B, 1, slices, H, W) for volumes (B, slices, H, W)."""
        features = self.encoder(volumes.flatten(0, 1)[:, None])
        maps = _decode(_blocks(self, "seg_decoder"), features)
        stacked = maps.reshape(*volumes.shape[:2], *maps.shape[1:])
        return super().forward(stacked.transpose(1, 2))
