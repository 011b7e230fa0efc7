"""What a checkpoint is, told by the names of its entries.

The layouts that are read are those of SMART-Net 1.0 (the paper's code) and 3.0 (the branch
``main``), and torchvision's ResNet-50, from which SMART-Net starts. Related checkpoints that people
may hold are known by name, so that a refusal says what the file is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from torch import nn

from ich_node.infer.network import SliceNet
from training.published.lite import EfficientNetLite0
from training.published.main_branch import MainSliceNet, MainVolumeClassifier, MainVolumeSegmenter
from training.published.networks import PublishedClassifier, PublishedSegmenter, imagenet_resnet50


@dataclass(frozen=True)
class Layout:
    """A layout that is read.

    Parameters
    ----------
    title
        What it is, for people.
    signature
        Beginnings of names; a file has this layout if each begins some of its names.
    head
        The entry whose first axis counts the outputs.
    build
        Makes the network, in the layout's names and shapes, of a number of outputs.
    """

    title: str
    signature: tuple[str, ...]
    head: str
    build: Callable[[int], nn.Module]


SLICES_1 = Layout(
    "SMART-Net 1.0, slice network",
    ("encoder.", "classification_head.", "seg_decoder.blocks.", "rec_decoder.blocks."),
    "classification_head.3.weight",
    lambda outputs: SliceNet("resnet50", outputs),
)
CLASSIFIER_1 = Layout(
    "SMART-Net 1.0, volume classifier",
    ("encoder.", "LSTM.", "fc.", "head."),
    "head.weight",
    lambda outputs: PublishedClassifier("resnet50", outputs),
)
SEGMENTER_1 = Layout(
    "SMART-Net 1.0, volume segmenter",
    ("encoder.", "seg_decoder.blocks.", "conv1.", "head."),
    "head.weight",
    lambda outputs: PublishedSegmenter("resnet50", outputs),
)
SLICES_3 = Layout(
    "SMART-Net 3.0, slice network",
    ("encoder.layer1.", "cls_head.", "seg_decoder_block1.", "rec_decoder_block1."),
    "cls_head.weight",
    lambda _: MainSliceNet(),
)
CLASSIFIER_3 = Layout(
    "SMART-Net 3.0, volume classifier (BiLSTM)",
    ("model_2d.", "encoder.layer1.", "LSTM.", "linear_lstm."),
    "head.1.weight",
    lambda _: MainVolumeClassifier(),
)
SEGMENTER_3 = Layout(
    "SMART-Net 3.0, volume segmenter (3D convolutions)",
    ("model_2d.", "encoder.layer1.", "seg_decoder1.", "conv1."),
    "head.weight",
    lambda _: MainVolumeSegmenter(),
)
IMAGENET = Layout(
    "torchvision's ResNet-50",
    ("conv1.", "layer1.", "layer2.", "layer3.", "layer4.", "fc."),
    "fc.weight",
    imagenet_resnet50,
)
LITE = Layout(
    "EfficientNet-Lite0",
    ("_conv_stem.", "_blocks.15.", "_fc."),
    "_fc.weight",
    EfficientNetLite0,
)
LAYOUTS = (
    SLICES_1,
    CLASSIFIER_1,
    SEGMENTER_1,
    SLICES_3,
    CLASSIFIER_3,
    SEGMENTER_3,
    IMAGENET,
    LITE,
)

# What is known and not read: first match. Those whose names hold another's come before it.
_FOREIGN: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("SMART-Net 3.0 with BERT over the slices", ("BERT.",)),
    ("SMART-Net 3.0 with a 3D vision transformer", ("vit.", "vit_decoder.")),
    ("SMART-Net 3.0 with an EfficientNet encoder", ("encoder._conv_stem.",)),
    ("SMART-Net 3.0 with a MaxViT encoder", ("encoder.stem.",)),
    ("a SMART-Net of two tasks or one (an ablation)", ("encoder.", "classification_head.")),
    ("a SMART-Net of two tasks or one (an ablation)", ("encoder.", "segmentation_head.")),
    ("a SMART-Net of two tasks or one (an ablation)", ("encoder.", "reconstruction_head.")),
    ("the network that ich-node deploys", ("encoder.", "slice_head.", "classifier.LSTM.")),
    ("a checkpoint of TransVW", ("down_tr64.", "clc_out.")),
    ("a checkpoint of TransVW", ("classficationNet.",)),
    ("a checkpoint of Models Genesis", ("down_tr64.",)),
    ("a checkpoint of SMIT", ("patch_embed.", "layers.3.downsample.")),
    ("a checkpoint of HGI-SAM's Swin classifier", ("swin.",)),
    ("a checkpoint of HGI-SAM's U-Net", ("encoder.contracting-1.",)),
    ("a ResNeXt-50 of subtypes (come880412)", ("model_ft.",)),
    ("an SE-ResNet-50 of subtypes (come880412)", ("model.layer1.0.se.",)),
)


def layout_of(names: Iterable[str]) -> Layout | None:
    """Return the layout whose signature the names bear; None if there is none."""
    given = tuple(names)
    return next((layout for layout in LAYOUTS if _bears(given, layout.signature)), None)


def foreign_title(names: Iterable[str]) -> str | None:
    """Return what a file is that is known and not read; None if its names tell nothing."""
    given = tuple(names)
    return next((title for title, signature in _FOREIGN if _bears(given, signature)), None)


def _bears(names: tuple[str, ...], signature: tuple[str, ...]) -> bool:
    return all(any(name.startswith(begin) for name in names) for begin in signature)
