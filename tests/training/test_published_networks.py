"""The networks are those of the published code: sizes, names, axes and orders."""

import pytest
import torch
from monai.networks.nets import ResNetFeatures
from torch import nn

from ich_node.infer.backbones import ResNet50
from ich_node.infer.network import SliceNet, VolumeClassifier, VolumeSegmenter
from training.published.main_branch import (
    GeneralizedMean,
    MainSliceNet,
    MainVolumeClassifier,
    MainVolumeSegmenter,
    SequenceReader,
)
from training.published.networks import PublishedClassifier, PublishedSegmenter, imagenet_resnet50


@pytest.mark.parametrize(
    ("build", "parameters", "entries"),
    [
        (lambda: SliceNet("resnet50", 1), 55_545_773, 444),
        (lambda: SliceNet("resnet50", 6), 55_556_743, 444),
        (lambda: PublishedClassifier("resnet50", 1), 40_820_673, 338),
        (lambda: PublishedClassifier("resnet50", 6), 40_823_238, 338),
        (lambda: PublishedSegmenter("resnet50", 1), 32_529_302, 406),
        (lambda: PublishedSegmenter("resnet50", 6), 32_531_467, 406),
        (MainSliceNet, 63_356_244, 567),
        (MainVolumeClassifier, 340_282_709, 913),
        (MainVolumeSegmenter, 73_678_301, 1_015),
        (lambda: imagenet_resnet50(1000), 25_557_032, 320),
    ],
    ids=[
        "slices",
        "slices-6",
        "classifier",
        "classifier-6",
        "segmenter",
        "segmenter-6",
        "3.0",
        "3.0-classifier",
        "3.0-segmenter",
        "r",
    ],
)
def test_networks_have_published_sizes(build, parameters, entries):
    """Parameters and state entries as counted on the published code."""
    with torch.device("meta"):
        net = build()
    assert sum(p.numel() for p in net.parameters()) == parameters
    assert len(net.state_dict()) == entries


@pytest.mark.parametrize("build", [MainVolumeClassifier, MainVolumeSegmenter])
def test_volume_networks_of_3_hold_the_encoder_twice(build):
    """By two names, one and the same tensor: a training step moves both."""
    with torch.device("meta"):
        state = build().state_dict(keep_vars=True)
    twins = [name for name in state if name.startswith("encoder.")]
    assert len(twins) == 318
    assert all(state[name] is state[f"model_2d.{name}"] for name in twins)


@pytest.mark.parametrize(
    ("build", "names"),
    [
        (
            lambda: PublishedClassifier("resnet50", 1),
            {"encoder.layer4.2.bn3.num_batches_tracked", "LSTM.weight_ih_l1_reverse", "fc.bias"},
        ),
        (
            lambda: PublishedSegmenter("resnet50", 1),
            {"seg_decoder.last_block.attention1.attention.sSE.0.bias", "bn2.running_var"},
        ),
        (
            MainSliceNet,
            {
                "cls_decoder_block1.1.weight",
                "cls_decoder_block3.bias",
                "seg_decoder_block1.attention1.attention.cSE.3.weight",
                "rec_decoder_block5.upsample.upsample.0.weight",
                "rec_decoder_block2.conv2.1.running_mean",
                "pool_for_consist.p",
            },
        ),
        (MainVolumeClassifier, {"LSTM.bias_hh_l2_reverse", "linear_lstm.weight", "head.1.bias"}),
        (MainVolumeSegmenter, {"seg_decoder5.conv1.0.weight", "model_2d.rec_head.bias"}),
    ],
)
def test_names_are_the_published_ones(build, names):
    """A name of each part, as the published modules call it."""
    with torch.device("meta"):
        assert names <= build().state_dict().keys()


def test_volume_networks_give_their_outputs():
    """Classes of each volume; masks on the volume's own grid, slices before rows and columns."""
    volumes = torch.rand(2, 3, 32, 48)
    with torch.no_grad():
        classes = PublishedClassifier("tiny", 6)(volumes, torch.tensor([3, 2]))
        masks = PublishedSegmenter("tiny", 6)(volumes)
    assert classes.shape == (2, 6)
    assert masks.shape == (2, 6, 3, 32, 48)


def test_slices_of_a_volume_stay_apart_in_a_batch():
    """What a volume gives does not hang on the volume beside it."""
    torch.manual_seed(0)
    volumes, depths = torch.rand(2, 3, 32, 32), torch.tensor([3, 3])
    classifier = PublishedClassifier("tiny", 2).eval()
    segmenter = PublishedSegmenter("tiny", 2).eval()
    with torch.no_grad():
        torch.testing.assert_close(
            classifier(volumes, depths)[1], classifier(volumes[1:], depths[1:])[0]
        )
        torch.testing.assert_close(segmenter(volumes)[1], segmenter(volumes[1:])[0])


def test_published_kernels_have_the_slices_last():
    """1.0 stacks slices on the last axis: its kernels move to the deployed order, slices first."""
    torch.manual_seed(0)
    published = PublishedSegmenter("tiny", 2).eval()
    ours = VolumeSegmenter(published.conv1.in_channels, 2).eval()
    own = ours.state_dict().keys()
    ours.load_state_dict(
        {
            name: tensor.movedim(-1, 2) if tensor.ndim == 5 else tensor
            for name, tensor in published.state_dict().items()
            if name in own
        }
    )
    volumes = torch.rand(1, 5, 32, 32)
    with torch.no_grad():
        maps = published.seg_decoder(published.encoder(volumes[0][:, None]))
        torch.testing.assert_close(published(volumes), ours(maps.transpose(0, 1)[None]))


def test_main_networks_have_published_shapes():
    """A stem of stride 2 and five blocks: masks and reconstruction at the slice's own size."""
    with torch.device("meta"):
        net = MainSliceNet()
        assert [tuple(m.shape[1:]) for m in net.encoder(torch.empty(1, 1, 256, 256))] == [
            (64, 128, 128),
            (256, 64, 64),
            (512, 32, 32),
            (1024, 16, 16),
            (2048, 8, 8),
        ]
        out = net(torch.empty(2, 1, 64, 96))
        masks = MainVolumeSegmenter()(torch.empty(2, 3, 64, 96))
        classes = MainVolumeClassifier()(
            torch.empty(2, 3, 64, 64), torch.tensor([3, 1], device="cpu")
        )
    assert [tuple(part.shape) for part in out] == [(2, 1), (2, 1, 64, 96), (2, 1, 64, 96), (2, 1)]
    assert masks.shape == (2, 1, 3, 64, 96)
    assert classes.shape == (2, 1)


def test_1_reads_backward_before_forward():
    """The other way round than 3.0, and no shape tells: here only the first half counts."""
    torch.manual_seed(0)
    net = VolumeClassifier(4, 3, 1).eval()
    sequences, depths = torch.randn(1, 6, 4), torch.tensor([6])
    with torch.no_grad():
        net.fc.weight[:, :3] = torch.eye(3)  # the backward state as it is
        net.fc.weight[:, 3:] = 0  # nothing of the forward state
        net.fc.bias.fill_(2)  # above where the next layer cuts
        net.head.weight.fill_(1)
        before = net(sequences, depths)
        net.LSTM.weight_hh_l1.mul_(-3)
        assert torch.equal(net(sequences, depths), before)
        net.LSTM.weight_hh_l1_reverse.mul_(-3)
        assert not torch.equal(net(sequences, depths), before)


def test_main_reads_forward_before_backward():
    """3.0 puts the forward state first, 1.0 the backward one: here only the first half counts."""
    torch.manual_seed(0)
    net = SequenceReader(4).eval()
    with torch.no_grad():
        net.linear_lstm.weight[:, 4:] = 0  # nothing of the backward state
        for name, weight in net.LSTM.named_parameters():
            if name.endswith("l2_reverse"):
                weight.fill_(7)
        sequences, depths = torch.randn(1, 6, 4), torch.tensor([6])
        before = net(sequences, depths)
        for name, weight in net.LSTM.named_parameters():
            if name.endswith("l2_reverse"):
                weight.fill_(-7)
        assert torch.equal(net(sequences, depths), before)
        net.LSTM.weight_hh_l2.mul_(-3)
        assert not torch.equal(net(sequences, depths), before)


def test_generalised_mean_lies_between_mean_and_maximum():
    """p = 1 is the mean; a large p comes to the maximum; what is negative counts as nothing."""
    x = torch.tensor([[[[1.0, 2.0], [3.0, -5.0]]]])
    pool = GeneralizedMean()
    assert pool(x).item() == pytest.approx(((1 + 8 + 27) / 4) ** (1 / 3), rel=1e-5)
    nn.init.constant_(pool.p, 1)
    assert pool(x).item() == pytest.approx(6 / 4, rel=1e-5)
    nn.init.constant_(pool.p, 60)
    assert pool(x).item() == pytest.approx(3, rel=0.05)


def test_encoder_of_3_is_monais():
    """The published code takes MONAI's ResNet-50: the same names, and the same maps of a slice."""
    torch.manual_seed(0)
    theirs = ResNetFeatures("resnet50", pretrained=False, spatial_dims=2, in_channels=1).eval()
    ours = ResNet50(stem_stride=2).eval()
    ours.load_state_dict(theirs.state_dict())
    slices = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        for map_, expected in zip(ours(slices), theirs(slices), strict=True):
            torch.testing.assert_close(map_, expected)


def test_class_head_of_3_normalises_over_channels():
    """The published layer normalisation over channels, mean 0 and variance 1 for each slice."""
    with torch.device("meta"):
        block = MainSliceNet().cls_decoder_block1
    block = block.to_empty(device="cpu")
    nn.init.ones_(block[1].weight)
    nn.init.zeros_(block[1].bias)
    maps = 5 + 3 * torch.randn(2, 2048, 2, 2)
    torch.testing.assert_close(
        block(maps).flatten(1), nn.functional.layer_norm(maps.mean((2, 3)), (2048,))
    )
