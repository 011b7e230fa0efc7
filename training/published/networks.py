"""The downstream networks of SMART-Net 1.0 (the paper's code), each with an encoder of its own.

The upstream network is `ich_node.infer.network.SliceNet`. The deployed `SmartNet` runs one encoder
for every output; the published code has three networks, built here of the same modules, so that
names and shapes are those of its checkpoints.

References
----------
Cho J. et al., SMART-Net, Medical Image Analysis, 2022; branch ``smartnet-1.0`` of its code.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ich_node.infer.backbones import BACKBONES, build_encoder
from ich_node.infer.network import SegDecoder, VolumeClassifier, VolumeSegmenter


class PublishedClassifier(VolumeClassifier):
    """Volume classifier: ``encoder.*``, ``LSTM.*``, ``fc.*``, ``head.*``."""

    def __init__(self, backbone: str, n_classes: int) -> None:
        widths = BACKBONES[backbone]
        super().__init__(widths.encoder[4], widths.recurrent, n_classes)
        self.encoder = build_encoder(backbone)
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())

    def forward(self, volumes: Tensor, depths: Tensor) -> Tensor:
        """Return logits (B, n) for volumes (B, slices, 256, 256) of `depths` (B,) true slices."""
        slices = volumes.flatten(0, 1)[:, None]
        features: Tensor = self.pool(self.encoder(slices)[4])
        return super().forward(features.reshape(*volumes.shape[:2], -1), depths)


class PublishedSegmenter(VolumeSegmenter):
    """Volume segmenter: ``encoder.*``, ``seg_decoder.*``, ``conv1.* bn1.* conv2.* bn2.* head.*``.

    The published 3D convolutions have the slices on their *last* axis, those of `SmartNet` on their
    first: kernels of the one serve the other only with their axes exchanged, and no shape tells.
    """

    def __init__(self, backbone: str, n_classes: int) -> None:
        widths = BACKBONES[backbone]
        super().__init__(widths.maps, n_classes)
        self.encoder = build_encoder(backbone)
        self.seg_decoder = SegDecoder(widths.encoder, widths.decoder, widths.maps)

    def forward(self, volumes: Tensor) -> Tensor:
        """Return logits (B, n, slices, 256, 256) for volumes (B, slices, 256, 256)."""
        slices = volumes.flatten(0, 1)[:, None]
        maps: Tensor = self.seg_decoder(self.encoder(slices))
        stacked = maps.reshape(*volumes.shape[:2], *maps.shape[1:]).permute(0, 2, 3, 4, 1)
        return torch.movedim(super().forward(stacked), -1, 2)


def imagenet_resnet50(n_classes: int) -> nn.Module:
    """Return torchvision's ResNet-50 by its names and shapes: three channels in, a linear head.

    It is there to check files by; SMART-Net takes its encoder's start from such a file.
    """
    net = build_encoder("resnet50")
    net.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
    net.fc = nn.Linear(2048, n_classes)
    return net
