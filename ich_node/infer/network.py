"""SMART-Net: one encoder for each slice, and what is built on it.

Upstream, a slice network learns three tasks at once (class, mask, reconstruction). Downstream, its
encoder serves a BiLSTM over the slices (classes of the volume) and, with the decoder, 3D
convolutions (masks of the volume).

References
----------
Cho J. et al., Multi-task learning with a hybrid 2D-3D network for intracranial haemorrhage
(SMART-Net), Medical Image Analysis, 2022.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from ich_node.infer.backbones import BACKBONES, Features, build_encoder, build_pool

# Pixels of a mask whose mean says how sure it is: about what a bleed of 5 mm shows.
_STRONGEST = 12
# Share of a volume's slices whose classes stand for it: about 15 mm of a head.
_STANDING = 0.1
# Logit of a voxel of a bleed before anything is known: few are.
_RARE = -3.0


class ConvBn(nn.Sequential):
    """3x3 convolution without bias, batch normalisation, ReLU."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__(
            nn.Conv2d(inside, outside, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outside),
            nn.ReLU(inplace=True),
        )


class ConvRelu(nn.Sequential):
    """3x3 convolution with bias, ReLU: the reconstruction decoder has no normalisation."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__(nn.Conv2d(inside, outside, 3, 1, 1), nn.ReLU(inplace=True))


class ScSe(nn.Module):
    """Concurrent spatial and channel squeeze and excitation."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = max(1, channels // 16)
        self.cSE = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, squeezed, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(squeezed, channels, 1),
            nn.Sigmoid(),
        )
        self.sSE = nn.Sequential(nn.Conv2d(channels, 1, 1), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        """Return the map weighted by channel plus the map weighted by place."""
        weighted: Tensor = x * (self.cSE(x) + self.sSE(x))
        return weighted


class Attention(nn.Module):
    """Holds the scSE under the name of the published checkpoints."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.attention = ScSe(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return the attended map."""
        attended: Tensor = self.attention(x)
        return attended


class LastBlock(nn.Module):
    """scSE, two convolutions, scSE at full size."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.attention1 = Attention(inside)
        self.conv1 = ConvBn(inside, outside)
        self.conv2 = ConvBn(outside, outside)
        self.attention2 = Attention(outside)

    def forward(self, x: Tensor) -> Tensor:
        """Return the slice map at full size."""
        last: Tensor = self.attention2(self.conv2(self.conv1(self.attention1(x))))
        return last


class SegBlock(nn.Module):
    """Twice the size by nearest neighbour, the encoder's map beside it, two convolutions."""

    def __init__(self, inside: int, skip: int, outside: int) -> None:
        super().__init__()
        self.conv1 = ConvBn(inside + skip, outside)
        self.conv2 = ConvBn(outside, outside)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Return the map at the size of `skip`."""
        x = nn.functional.interpolate(x, scale_factor=2.0, mode="nearest")
        out: Tensor = self.conv2(self.conv1(torch.cat([x, skip], 1)))
        return out


class SegDecoder(nn.Module):
    """U-Net decoder from the encoder's five maps to the slice map."""

    def __init__(self, encoder: tuple[int, ...], decoder: tuple[int, ...], maps: int) -> None:
        super().__init__()
        inside = (encoder[4], *decoder[:3])
        skips = (encoder[3], encoder[2], encoder[1], encoder[0])
        self.blocks = nn.ModuleList(
            SegBlock(i, s, o) for i, s, o in zip(inside, skips, decoder, strict=True)
        )
        self.last_block = LastBlock(decoder[3], maps)

    def forward(self, features: Features) -> Tensor:
        """Return (batch, maps, 256, 256)."""
        x = features[4]
        for block, skip in zip(self.blocks, reversed(features[:4]), strict=True):
            x = block(x, skip)
        last: Tensor = self.last_block(x)
        return last


class Shuffle(nn.Module):
    """1x1 convolution to four times the channels, then twice the size."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.upsample = nn.Sequential(nn.Conv2d(channels, 4 * channels, 1), nn.PixelShuffle(2))

    def forward(self, x: Tensor) -> Tensor:
        """Return the map at twice the size."""
        up: Tensor = self.upsample(x)
        return up


class RecBlock(nn.Module):
    """Twice the size by pixel shuffle, two convolutions without normalisation."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.upsample = Shuffle(inside)
        self.conv1 = ConvRelu(inside, outside)
        self.conv2 = ConvRelu(outside, outside)

    def forward(self, x: Tensor) -> Tensor:
        """Return the map at twice the size."""
        out: Tensor = self.conv2(self.conv1(self.upsample(x)))
        return out


class RecDecoder(nn.Module):
    """Decoder of the reconstruction, without the encoder's maps beside it."""

    def __init__(self, deepest: int, decoder: tuple[int, ...], maps: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            RecBlock(i, o) for i, o in zip((deepest, *decoder[:3]), decoder, strict=True)
        )
        self.last_block = LastBlock(decoder[3], maps)

    def forward(self, deepest: Tensor) -> Tensor:
        """Return (batch, maps, 256, 256)."""
        for block in self.blocks:
            deepest = block(deepest)
        last: Tensor = self.last_block(deepest)
        return last


class Upstream(NamedTuple):
    """Raw outputs of the slice network: (B, n), (B, n, 256, 256), (B, 1, 256, 256).

    Masks and reconstruction are None where they were not asked for.
    """

    classes: Tensor
    masks: Tensor | None
    reconstruction: Tensor | None


class SliceNet(nn.Module):
    """The upstream network of single slices."""

    def __init__(self, backbone: str, n_classes: int) -> None:
        super().__init__()
        widths = BACKBONES[backbone]
        self.encoder = build_encoder(backbone)
        self.classification_head = nn.Sequential(
            *build_pool(backbone),
            nn.Dropout(0.5),
            nn.Linear(widths.features(n_classes), n_classes),
        )
        self.evidence = widths.evidence
        self.seg_decoder = SegDecoder(widths.encoder, widths.decoder, widths.maps)
        self.segmentation_head = nn.Sequential(nn.Conv2d(widths.maps, n_classes, 3, 1, 1))
        self.rec_decoder = RecDecoder(widths.encoder[4], widths.decoder, widths.maps)
        self.reconstruction_head = nn.Sequential(nn.Conv2d(widths.maps, 1, 3, 1, 1))
        if self.evidence:
            self._listen_to_masks(n_classes)

    def _listen_to_masks(self, n_classes: int) -> None:
        """Start with every class believing its own mask, and with masks that see next to nothing.

        The paper's heads start at random; a network as small as ours needs long to get over it.
        """
        *_, weight = (
            value for name, value in self.classification_head.named_parameters() if "weight" in name
        )
        *_, bias = self.segmentation_head.parameters()
        with torch.no_grad():
            weight[:, -n_classes:] = 0.5 * torch.eye(n_classes)
            bias.fill_(_RARE)

    def forward(self, x: Tensor, reconstruct: bool = True, segment: bool = True) -> Upstream:
        """Return the outputs for (B, 1, 256, 256); without masks the classes hear of none."""
        features = self.encoder(x)
        masks = self.segmentation_head(self.seg_decoder(features)) if segment else None
        pooled = self.classification_head[:3](features[4])
        if self.evidence:
            n_classes = self.segmentation_head[0].out_channels
            heard = pooled.new_zeros(len(x), n_classes)
            if masks is not None:
                # Read only: pushed by the classes, masks would light up anywhere.
                heard = strongest(masks.detach())
            pooled = torch.cat([pooled, heard], 1)
        return Upstream(
            self.classification_head[3](pooled),
            masks,
            self.reconstruction_head(self.rec_decoder(features[4])) if reconstruct else None,
        )


def strongest(masks: Tensor) -> Tensor:
    """Return (B, n): the mean logit of the strongest few pixels of each mask (B, n, row, column).

    Neighbours are averaged first, so that a single pixel of noise says nothing.
    """
    wide = nn.functional.pad(masks.float(), (1, 1, 1, 1))
    # Row and column one after the other: on a CPU a quarter of the time of `avg_pool2d`.
    rows = wide[..., :-2, :] + wide[..., 1:-1, :] + wide[..., 2:, :]
    smooth = (rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]) / 9
    return smooth.flatten(2).topk(_STRONGEST, 2).values.mean(2)


def standing(slices: Tensor, depths: Tensor) -> Tensor:
    """Return (B, n): of each class the mean logit of the slices that say most of it, a tenth.

    Parameters
    ----------
    slices
        Logits (B, slices, n).
    depths
        How many slices of each volume are true; those behind are not looked at.
    """
    found = []
    for logits, depth in zip(slices, depths.tolist(), strict=True):
        few = max(1, round(_STANDING * depth))
        found.append(logits[:depth].topk(few, 0).values.mean(0))
    return torch.stack(found)


class VolumeClassifier(nn.Module):
    """Two-layer BiLSTM over the slices' pooled features, then two linear layers."""

    def __init__(self, features: int, hidden: int, n_classes: int) -> None:
        super().__init__()
        self.LSTM = nn.LSTM(features, hidden, 2, batch_first=True, bidirectional=True)
        self.fc = nn.Linear(2 * hidden, hidden)
        self.relu = nn.ReLU(inplace=True)
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(hidden, n_classes)

    def forward(self, sequences: Tensor, depths: Tensor) -> Tensor:
        """Return (B, n) from (B, slices, features); `depths` counts the true slices of each."""
        packed = pack_padded_sequence(
            sequences, depths.cpu(), batch_first=True, enforce_sorted=False
        )
        _, (state, _) = self.LSTM(packed)
        both = torch.cat([state[-1], state[-2]], 1)  # backward, then forward, as published
        out: Tensor = self.head(self.dropout(self.relu(self.fc(both))))
        return out


class VolumeSegmenter(nn.Module):
    """Three 3D convolutions over the stacked slice maps."""

    # Slices on each side that change a slice's mask.
    HALO = 3

    def __init__(self, maps: int, n_classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(maps, maps, 3, 1, 1)
        self.bn1 = nn.BatchNorm3d(maps)
        self.conv2 = nn.Conv3d(maps, maps, 3, 1, 1)
        self.bn2 = nn.BatchNorm3d(maps)
        self.head = nn.Conv3d(maps, n_classes, 3, 1, 1)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, n, slices, 256, 256) from (B, maps, slices, 256, 256)."""
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        out: Tensor = self.head(x)
        return out


class SmartNet(nn.Module):
    """The deployed network: one encoder run for each slice serves every output."""

    def __init__(self, backbone: str, n_classes: int) -> None:
        super().__init__()
        widths = BACKBONES[backbone]
        self.encoder = build_encoder(backbone)
        self.pool = build_pool(backbone)
        self.slice_head = nn.Linear(widths.features(n_classes), n_classes)
        self.seg_decoder = SegDecoder(widths.encoder, widths.decoder, widths.maps)
        self.classifier = VolumeClassifier(widths.features(n_classes), widths.recurrent, n_classes)
        self.segmenter = VolumeSegmenter(widths.maps, n_classes)
        self.mask_head = nn.Conv2d(widths.maps, n_classes, 3, 1, 1) if widths.evidence else None

    def slices(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return features (B, features) and slice maps (B, maps, 256, 256)."""
        features = self.encoder(x)
        maps = self.seg_decoder(features)
        pooled = self.pool(features[4])
        if self.mask_head is not None:
            pooled = torch.cat([pooled, strongest(self.mask_head(maps))], 1)
        return pooled, maps

    def volumes(self, features: Tensor, depths: Tensor) -> Tensor:
        """Return (B, n) from (B, slices, features); `depths` counts the true slices of each.

        As published the BiLSTM alone; where a network has evidence, it adds to what those slices
        say that say most, so that it need not learn how to find them.
        """
        logits: Tensor = self.classifier(features, depths)
        if self.mask_head is None:
            return logits
        with torch.no_grad():
            heard = standing(self.slice_head(features), depths)
        return logits + heard
