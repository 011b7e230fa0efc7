"""The network is SMART-Net as published, and its parts do what the node relies on."""

import pytest
import torch
from torch import nn

from ich_node.codes import CLASSES
from ich_node.infer.backbones import BACKBONES, Depthwise, build_encoder
from ich_node.infer.network import (
    SegDecoder,
    SliceNet,
    SmartNet,
    VolumeClassifier,
    VolumeSegmenter,
    standing,
    strongest,
)


def _sizes(*parts: nn.Module) -> tuple[int, int]:
    parameters = sum(p.numel() for part in parts for p in part.parameters())
    return parameters, sum(len(part.state_dict()) for part in parts)


def test_slice_network_has_published_size():
    """Upstream, one output: 55,545,773 parameters, 444 entries (counted on the paper's code)."""
    with torch.device("meta"):
        assert _sizes(SliceNet("resnet50", 1)) == (55_545_773, 444)


def test_volume_classifier_has_published_size():
    """Downstream CLS: encoder, BiLSTM and two linear layers: 40,820,673 parameters, 338 entries."""
    with torch.device("meta"):
        parts = build_encoder("resnet50"), VolumeClassifier(2048, 512, 1)
        assert _sizes(*parts) == (40_820_673, 338)


def test_volume_segmenter_has_published_size():
    """Downstream SEG: encoder, decoder and 3D convolutions: 32,529,302 parameters, 406 entries."""
    widths = BACKBONES["resnet50"]
    with torch.device("meta"):
        parts = (
            build_encoder("resnet50"),
            SegDecoder(widths.encoder, widths.decoder, widths.maps),
            VolumeSegmenter(widths.maps, 1),
        )
        assert _sizes(*parts) == (32_529_302, 406)


@pytest.mark.parametrize(
    "name",
    [
        "encoder.layer4.2.conv3.weight",
        "encoder.layer1.0.downsample.1.running_var",
        "classification_head.3.weight",
        "seg_decoder.blocks.0.conv1.0.weight",
        "seg_decoder.last_block.attention2.attention.cSE.1.weight",
        "segmentation_head.0.bias",
        "rec_decoder.blocks.3.upsample.upsample.0.weight",
        "reconstruction_head.0.weight",
    ],
)
def test_slice_network_has_published_names(name):
    """The published checkpoints' entries are named as the paper's code names them."""
    with torch.device("meta"):
        assert name in SliceNet("resnet50", 1).state_dict()


@pytest.mark.parametrize("backbone", BACKBONES)
def test_encoder_gives_five_maps_from_full_size_to_a_sixteenth(backbone):
    """Every backbone serves the same decoders: channels as declared, sizes 1 to 1/16."""
    widths = BACKBONES[backbone]
    with torch.device("meta"):
        maps = build_encoder(backbone)(torch.empty(2, 1, 256, 256))
    assert [tuple(m.shape) for m in maps] == [
        (2, channels, 256 >> level, 256 >> level) for level, channels in enumerate(widths.encoder)
    ]


def test_slice_network_gives_three_outputs():
    """Class logits, mask logits at full size, and a reconstruction of the one input channel."""
    out = SliceNet("tiny", 6)(torch.rand(2, 1, 256, 256))
    assert out.classes.shape == (2, 6)
    assert out.masks.shape == (2, 6, 256, 256)
    assert out.reconstruction.shape == (2, 1, 256, 256)


@pytest.mark.parametrize("backbone", ["lite", "tiny"])
def test_gradient_reaches_every_parameter(backbone):
    """No part of the slice network is cut off from the losses."""
    torch.manual_seed(0)
    net = SliceNet(backbone, 6)
    sum(out.float().square().mean() for out in net(torch.rand(2, 1, 256, 256))).backward()
    assert [name for name, p in net.named_parameters() if p.grad is None] == []


def test_padding_does_not_change_the_volume_classes():
    """A short head beside a long one in a batch gets what it gets alone."""
    torch.manual_seed(0)
    net = VolumeClassifier(8, 4, 6).eval()
    short, long_ = torch.randn(5, 8), torch.randn(9, 8)
    padded = torch.nn.utils.rnn.pad_sequence([short, long_], batch_first=True)
    padded[0, 5:] = 1e3  # whatever lies beyond the true depth
    together = net(padded, torch.tensor([5, 9]))
    torch.testing.assert_close(together[0], net(short[None], torch.tensor([5]))[0])
    torch.testing.assert_close(together[1], net(long_[None], torch.tensor([9]))[0])


def test_volume_classes_depend_on_slices_at_both_ends():
    """The BiLSTM reads upwards and downwards: first and last slice both count."""
    torch.manual_seed(0)
    net = VolumeClassifier(8, 4, 6).eval()
    sequence, depth = torch.randn(1, 9, 8), torch.tensor([9])
    for slice_ in (0, -1):
        other = sequence.clone()
        other[0, slice_] += 3
        assert not torch.allclose(net(other, depth), net(sequence, depth))


def test_the_tenth_of_the_slices_that_say_most_stands_for_a_volume():
    """Each class has its own, a short volume at least one; behind its end nothing is heard."""
    slices = torch.zeros(2, 20, 2)
    slices[0, [3, 11], 0] = torch.tensor([4.0, 2.0])
    slices[0, 7:10, 1] = -1
    slices[1, 2] = torch.tensor([6.0, -3.0])
    slices[1, 4:] = 1e3
    expected = torch.tensor([[3.0, 0.0], [6.0, 0.0]])
    torch.testing.assert_close(standing(slices, torch.tensor([20, 4])), expected)


def test_a_volume_hears_its_slices_where_the_network_has_evidence():
    """The BiLSTM adds to what the slices say; as published it speaks alone."""
    torch.manual_seed(0)
    net = SmartNet("tiny", 6).eval()
    features, depths = torch.randn(2, 12, net.slice_head.in_features), torch.tensor([12, 5])
    alone = net.classifier(features, depths)
    heard = standing(net.slice_head(features), depths)
    torch.testing.assert_close(net.volumes(features, depths), alone + heard)
    net.mask_head = None
    torch.testing.assert_close(net.volumes(features, depths), alone)


def test_halo_is_what_the_3d_convolutions_reach():
    """A slice changes the masks of exactly HALO slices on each side."""
    torch.manual_seed(0)
    net = VolumeSegmenter(4, 6).eval()
    maps = torch.randn(1, 4, 15, 8, 8)
    other = maps.clone()
    other[:, :, 7] += 1
    changed = (net(other) != net(maps)).flatten(3).any(3).any(1)[0]
    assert changed.nonzero().flatten().tolist() == list(
        range(7 - VolumeSegmenter.HALO, 8 + VolumeSegmenter.HALO)
    )


def test_shipped_backbone_is_small_enough_to_ship():
    """The whole deployed network stays under 10 MB in fp32."""
    net = SmartNet("lite", len(CLASSES))
    assert sum(4 * t.numel() for t in net.state_dict().values()) < 10e6


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="bf16 needs oneDNN here")
def test_filter_of_each_channel_learns_in_full_precision_on_a_cpu():
    """And its gradient is that of the plain convolution; what reads the map is not told apart."""
    torch.manual_seed(5)
    ours = Depthwise(8, 8, 3, 1, 1, groups=8, bias=False)
    plain = nn.Conv2d(8, 8, 3, 1, 1, groups=8, bias=False)
    plain.load_state_dict(ours.state_dict())
    x = torch.rand(2, 8, 16, 16)
    plain(x).square().sum().backward()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours(x).square().sum().backward()
        half = ours(x.bfloat16())
    assert ours.weight.grad is not None
    torch.testing.assert_close(ours.weight.grad, plain.weight.grad)
    assert half.dtype is torch.bfloat16


def test_strongest_pixels_are_the_highest_of_the_mean_with_their_neighbours():
    """Beyond the edge there is nothing: zero, which counts."""
    generator = torch.Generator().manual_seed(3)
    masks = torch.randn(2, 3, 16, 20, generator=generator)
    near = nn.functional.avg_pool2d(masks, 3, 1, 1)
    highest = near.flatten(2).sort(2, descending=True).values[..., :12].mean(2)
    torch.testing.assert_close(strongest(masks), highest)
    alone = torch.zeros(1, 1, 16, 16)
    alone[0, 0, 5, 5] = 9.0  # a pixel of noise: nine neighbours hear a ninth of it
    torch.testing.assert_close(strongest(alone), torch.tensor([[9.0 / 12]]))
