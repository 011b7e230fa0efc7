"""A checkpoint is read whole, whatever wraps it, or refused with what it is and what it lacks."""

import argparse
import functools
import os
import pickle
import sys
from collections import OrderedDict

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from ich_node.infer.backbones import build_encoder
from ich_node.infer.network import SliceNet
from training.downstream import transfer
from training.published import checkpoints
from training.published.checkpoints import CheckpointError, read_checkpoint
from training.published.layouts import (
    CLASSIFIER_1,
    IMAGENET,
    LAYOUTS,
    LITE,
    SEGMENTER_1,
    SEGMENTER_3,
    SLICES_1,
    SLICES_3,
)
from training.published.start import encoder_of, network_of, slice_net_of, start_encoder
from training.upstream import EFFICIENTNET, checkpoint_path


@functools.cache
def _shapes(layout, outputs=1):
    with torch.device("meta"):
        net = layout.build(outputs)
    return {name: (tensor.shape, tensor.dtype) for name, tensor in net.state_dict().items()}


def _state(layout, outputs=1):
    """Every entry in its shape, but filled with one number of its own: a file of a few kB."""
    numbers = {}  # the encoder of 3.0 by both its names alike
    return {
        name: torch.tensor(numbers.setdefault(name.removeprefix("model_2d."), len(numbers)))
        .to(kind)
        .expand(shape)
        for name, (shape, kind) in _shapes(layout, outputs).items()
    }


def _write(path, contents):
    torch.save(contents, path)
    return path


def _published(state):
    """What 1.0 writes beside the weights, optimiser and arguments among it."""
    weight = nn.Parameter(torch.ones(2))
    optimiser = torch.optim.Adam([weight], 5e-4)
    weight.sum().backward()
    optimiser.step()
    return {
        "model_state_dict": OrderedDict(state),
        "optimizer": optimiser.state_dict(),
        "lr_scheduler": {"last_epoch": 3, "lr_lambdas": [None]},
        "epoch": 3,
        "args": argparse.Namespace(lr=5e-4, batch_size=10, data_set="x", resume="", gpus=[0, 1]),
    }


WRAPPED = {
    "as 1.0 writes it": _published,
    "as 3.0 writes it": lambda s: {"epoch": 1, "model_state_dict": s, "optimizer": {}},
    "state_dict": lambda s: {"state_dict": s, "epoch": 1},
    "bare": lambda s: s,
    "parallel": lambda s: _published({f"module.{name}": tensor for name, tensor in s.items()}),
}


@pytest.fixture(scope="module", params=LAYOUTS, ids=lambda layout: layout.title)
def read(request, tmp_path_factory):
    """A layout, and a file of it as it was read."""
    path = tmp_path_factory.mktemp("layout") / "c.pth"
    return request.param, read_checkpoint(_write(path, _published(_state(request.param))))


def test_each_layout_is_told_by_its_names(read):
    """Every layout is known, with every entry as the file holds it."""
    layout, checkpoint = read
    assert checkpoint.layout is layout
    firsts = {name: tensor.flatten()[0].item() for name, tensor in checkpoint.state.items()}
    assert firsts == {name: tensor.flatten()[0].item() for name, tensor in _state(layout).items()}


def test_every_layout_gives_an_encoder(read):
    """All 318 entries of ResNet-50 by the names of the slice network's encoder; or of Lite0."""
    layout, checkpoint = read
    backbone, own = ("lite", ("conv0.", "bn0.")) if layout is LITE else ("resnet50", ())
    with torch.device("meta"):
        expected = build_encoder(backbone).state_dict()
    expected = {n: t.shape for n, t in expected.items() if not n.startswith(own)}
    assert {n: t.shape for n, t in encoder_of(checkpoint).items()} == expected


@pytest.mark.parametrize("wrap", WRAPPED.values(), ids=WRAPPED)
def test_weights_are_found_in_whatever_wraps_them(wrap, tmp_path):
    """Among optimiser and arguments, bare, and with the names of parallel training."""
    state = _state(CLASSIFIER_1)
    checkpoint = read_checkpoint(_write(tmp_path / "c.pth", wrap(state)))
    assert checkpoint.state.keys() == state.keys()


@pytest.mark.parametrize("layout", [SLICES_1, CLASSIFIER_1, SEGMENTER_1, IMAGENET, LITE])
def test_outputs_are_counted_by_the_head(layout, tmp_path):
    """Six classes instead of the published one are the same layout."""
    assert read_checkpoint(_write(tmp_path / "c.pth", _state(layout, 6))).outputs == 6


def test_old_format_of_torch_is_read(tmp_path):
    """Files from before torch 1.6 are no zip archives."""
    torch.save(_state(CLASSIFIER_1), tmp_path / "c.pth", _use_new_zipfile_serialization=False)
    assert read_checkpoint(tmp_path / "c.pth").layout is CLASSIFIER_1


def test_safetensors_of_half_precision_are_read_as_floats(tmp_path):
    """What is loaded has the types of the network, counters too."""
    state = {
        name: (tensor.half() if tensor.is_floating_point() else tensor).contiguous()
        for name, tensor in _state(IMAGENET, 2).items()
    }
    save_file(state, tmp_path / "c.safetensors")
    checkpoint = read_checkpoint(tmp_path / "c.safetensors")
    assert {tensor.dtype for tensor in checkpoint.state.values()} == {torch.float32, torch.int64}
    assert checkpoint.outputs == 2


def test_torchvision_files_without_counters_are_whole(tmp_path):
    """Older ones count no batches anywhere; one that counts some is partial."""
    state = _state(IMAGENET)
    counters = [name for name in state if name.endswith("num_batches_tracked")]
    old = {name: tensor for name, tensor in state.items() if name not in counters}
    checkpoint = read_checkpoint(_write(tmp_path / "old.pth", old))
    assert checkpoint.state.keys() == state.keys()
    assert {checkpoint.state[name].item() for name in counters} == {0}
    with pytest.raises(CheckpointError, match="num_batches_tracked is missing"):
        read_checkpoint(_write(tmp_path / "c.pth", old | {counters[0]: torch.tensor(1)}))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_one_entry_amiss_is_refused(data, tmp_path_factory):
    """Whichever entry of whichever layout is dropped, renamed or reshaped: refused, and named."""
    layout = data.draw(st.sampled_from(LAYOUTS), "layout")
    state = _state(layout)
    name = data.draw(st.sampled_from(sorted(state)), "name")
    how = data.draw(st.sampled_from(["dropped", "renamed", "reshaped"]), "how")
    tensor = state.pop(name)
    if how == "renamed":
        state[f"{name}_"] = tensor
    elif how == "reshaped":
        state[name] = tensor[None]
    path = _write(tmp_path_factory.mktemp("amiss") / "c.pth", state)
    with pytest.raises(CheckpointError) as told:
        read_checkpoint(path)
    assert any(fault.startswith(name) for fault in told.value.faults)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf, 1e300])
def test_weights_that_are_not_finite_are_refused(value, tmp_path):
    """One NaN makes every output NaN; nor may a value be too large for float32."""
    state = _state(CLASSIFIER_1)
    weight = state["fc.bias"].double()
    weight[5] = value
    with pytest.raises(CheckpointError, match=r"fc\.bias holds NaN or infinite"):
        read_checkpoint(_write(tmp_path / "c.pth", state | {"fc.bias": weight}))


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("fc.bias", torch.zeros(512, dtype=torch.int64)),
        ("encoder.bn1.num_batches_tracked", torch.tensor(1.0)),
        ("fc.bias", torch.zeros(512, dtype=torch.complex64)),
        ("fc.bias", torch.zeros(512).to_sparse()),
    ],
)
def test_entries_of_another_type_are_refused(name, wrong, tmp_path):
    """Whole numbers for weights, floats for counters, sparse tensors: no file of this network."""
    state = _state(CLASSIFIER_1) | {name: wrong}
    with pytest.raises(CheckpointError, match=rf"{name} is ") as told:
        read_checkpoint(_write(tmp_path / "c.pth", state))
    assert len(told.value.faults) == 1


def test_two_encoders_in_one_file_must_be_equal(tmp_path):
    """3.0 holds its encoder twice; where the two differ, none can be told the right one."""
    name = "encoder.layer3.0.bn2.bias"
    state = _state(SEGMENTER_3) | {name: torch.full((256,), -1.0)}
    with pytest.raises(CheckpointError, match=f"model_2d.{name} and {name} differ"):
        read_checkpoint(_write(tmp_path / "c.pth", state))


@pytest.mark.parametrize(
    ("names", "title"),
    [
        (["module.down_tr64.ops.0.conv1.weight"], "Models Genesis"),
        (["module.classficationNet.down_tr64.ops.0.conv1.weight"], "TransVW"),
        (["down_tr64.ops.0.conv1.weight", "clc_out.fc1.weight"], "TransVW"),
        (["patch_embed.proj.weight", "layers.3.downsample.reduction.weight"], "SMIT"),
        (["swin.patch_embed.proj.weight", "head.weight"], "HGI-SAM's Swin"),
        (["encoder.contracting-1.block.0.weight", "head.weight"], "HGI-SAM's U-Net"),
        (["model_ft.conv1.weight"], "ResNeXt-50"),
        (["model.layer1.0.se.fc.0.weight"], "SE-ResNet-50"),
        (["encoder.layer1.0.conv1.weight", "BERT.pooler.dense.weight"], "with BERT"),
        (["encoder._conv_stem.weight", "cls_head.weight"], "EfficientNet"),
        (["encoder.conv1.weight", "classification_head.3.weight"], "ablation"),
        (["encoder.conv1.weight", "slice_head.weight", "classifier.LSTM.x"], "ich-node deploys"),
        (["some.weight"], r"unknown layout.*some\.weight"),
    ],
)
def test_a_refusal_says_what_the_file_is(names, title, tmp_path):
    """Related checkpoints are known by name, with what is read instead."""
    path = _write(tmp_path / "c.pt", {"state_dict": {name: torch.zeros(1) for name in names}})
    with pytest.raises(CheckpointError, match=rf"{title}.*not read here.*SMART-Net 1\.0"):
        read_checkpoint(path)


class Trap:
    """Leaves a folder behind when a pickle builds it."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return (os.mkdir, (str(self.mark),))


@pytest.mark.parametrize("save", ["torch", "torch before 1.6", "pickle"])
def test_a_pickle_that_calls_something_does_not_run(save, tmp_path):
    """Refused by what it holds, in every format, and without a trace."""
    mark, path = tmp_path / "ran", tmp_path / "c.pth"
    contents = {"model_state_dict": {"x": torch.zeros(1)}, "args": Trap(mark)}
    if save == "pickle":
        path.write_bytes(pickle.dumps({"args": Trap(mark)}, protocol=2))
    else:
        torch.save(contents, path, _use_new_zipfile_serialization=save == "torch")
    with pytest.raises(CheckpointError, match=r"it holds posix\.mkdir; only tensors"):
        read_checkpoint(path)
    assert not mark.exists()


def test_the_allowance_ends_with_the_file(tmp_path):
    """Reading a checkpoint leaves torch's own list of what may be read as it was."""
    before = set(torch.serialization.get_safe_globals())
    read_checkpoint(_write(tmp_path / "c.pth", _published(_state(CLASSIFIER_1))))
    assert set(torch.serialization.get_safe_globals()) == before


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_truncated_files_are_refused(suffix, share, tmp_path):
    """However much of it is there, half a file is none."""
    path = tmp_path / f"c{suffix}"
    if suffix == ".pth":
        torch.save(_state(CLASSIFIER_1), path)
    else:
        save_file({"a": torch.zeros(500)}, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(CheckpointError, match=r"no whole|no file of torch"):
        read_checkpoint(path)


def test_what_is_no_state_is_refused(tmp_path):
    """A whole model, other values among the tensors, nothing: each with what was found."""
    for contents, told in (
        ([torch.zeros(1)], "no weights, but of type list"),
        ({}, "no weights, but nothing"),
        ({"model_state_dict": {}}, "no weights"),
        ({"epoch": 3, "lr": 0.1}, "'epoch' is of type int"),
        ({1: torch.zeros(1)}, "1 is of type Tensor"),
    ):
        with pytest.raises(CheckpointError, match=told):
            read_checkpoint(_write(tmp_path / "c.pth", contents))


def test_a_path_that_cannot_be_read_is_named(tmp_path):
    """No file, and a folder: the path and why."""
    for path in (tmp_path / "none.pth", tmp_path):
        with pytest.raises(CheckpointError, match=str(path)):
            read_checkpoint(path)


def test_torchvisions_first_convolution_is_summed_over_colours(tmp_path):
    """A slice gives what three equal channels gave."""
    torch.manual_seed(0)
    weight, image = torch.randn(64, 3, 7, 7), torch.randn(1, 1, 16, 16)
    state = _state(IMAGENET) | {"conv1.weight": weight}
    encoder = encoder_of(read_checkpoint(_write(tmp_path / "c.pth", state)))
    torch.testing.assert_close(
        nn.functional.conv2d(image, encoder["conv1.weight"]),
        nn.functional.conv2d(image.expand(1, 3, 16, 16), weight),
        rtol=1e-4,
        atol=1e-4,
    )


def test_a_deployed_network_starts_from_a_published_slice_network(tmp_path):
    """Encoder, decoder and class head come over unaltered where the classes agree in number."""
    state = _state(SLICES_1, 6)
    checkpoint = read_checkpoint(_write(tmp_path / "c.pth", _published(state)))
    deployed = transfer(slice_net_of(checkpoint, 6), "resnet50").state_dict()
    for name in (
        "encoder.layer4.2.bn3.running_var",
        "seg_decoder.blocks.0.conv1.0.weight",
    ):
        assert torch.equal(deployed[name], state[name])
    assert torch.equal(deployed["slice_head.bias"], state["classification_head.3.bias"])


def test_a_slice_network_of_other_classes_is_not_taken_whole(tmp_path):
    """One output cannot stand for six; the error says what can be taken."""
    one = read_checkpoint(_write(tmp_path / "one.pth", _state(SLICES_1, 1)))
    other = read_checkpoint(_write(tmp_path / "other.pth", _state(SEGMENTER_1, 6)))
    for checkpoint in (one, other):
        with pytest.raises(CheckpointError, match=r"needs SMART-Net 1\.0, slice.*start_encoder"):
            slice_net_of(checkpoint, 6)


def test_an_encoder_is_given_to_resnet50_alone(tmp_path):
    """The weights go in; a small network says which backbone it would need."""
    checkpoint = read_checkpoint(_write(tmp_path / "c.pth", _state(SLICES_3)))
    net = SliceNet("resnet50", 6)
    start_encoder(net, checkpoint)
    name = "layer2.1.conv2.weight"
    assert torch.equal(net.encoder.state_dict()[name], checkpoint.state[f"encoder.{name}"])
    with pytest.raises(CheckpointError, match="backbone 'resnet50'"):
        start_encoder(SliceNet("tiny", 6), checkpoint)


def test_the_shipped_encoder_starts_from_the_photographs_of_its_package():
    """It gives for a slice what EfficientNet-Lite0 gives for it as a grey picture of -1..1."""
    checkpoint = read_checkpoint(checkpoint_path(EFFICIENTNET))
    assert (checkpoint.layout, checkpoint.outputs) == (LITE, 1000)
    net = SliceNet("lite", 6)
    start_encoder(net, checkpoint)
    image = torch.rand(1, 1, 64, 64)
    given = checkpoint.state
    stem = nn.functional.conv2d(
        (2 * image - 1).expand(1, 3, 64, 64), given["_conv_stem.weight"], stride=2, padding=1
    )
    with torch.no_grad():
        ours = net.encoder.conv1(2 * image - 1)
    torch.testing.assert_close(ours, stem, rtol=1e-4, atol=1e-4)
    last = net.encoder.state_dict()["layer4.5.project.1.running_var"]
    assert torch.equal(last, given["_blocks.10._bn2.running_var"])
    with pytest.raises(CheckpointError, match="backbone 'lite'"):
        start_encoder(SliceNet("tiny", 6), checkpoint)


def test_a_network_trained_here_comes_back_from_a_published_file(tmp_path):
    """Written as 1.0 writes and read again: the network gives the same, to the last bit."""
    torch.manual_seed(0)
    net = CLASSIFIER_1.build(1).eval()
    path = _write(tmp_path / "c.pth", _published(net.state_dict()))
    again = network_of(read_checkpoint(path)).eval()
    volumes, depths = torch.rand(1, 2, 64, 64), torch.tensor([2])
    with torch.no_grad():
        assert torch.equal(again(volumes, depths), net(volumes, depths))


def _tell(monkeypatch, path):
    monkeypatch.setattr(sys, "argv", ["checkpoints", str(path)])
    checkpoints.main()


def test_the_command_tells_what_a_file_is(monkeypatch, capsys, tmp_path):
    """Layout, outputs, parameters and entries."""
    _tell(monkeypatch, _write(tmp_path / "c.pth", _state(SLICES_1)))
    told = capsys.readouterr().out
    assert all(word in told for word in ("SMART-Net 1.0, slice network", "55,545,773", "444"))


def test_the_command_tells_every_fault(monkeypatch, capsys, tmp_path):
    """A line for each on stderr, and exit status 1."""
    state = _state(SLICES_1)
    dropped = [name for name in state if name.startswith("seg_decoder.last_block.")]
    path = _write(tmp_path / "c.pth", {n: t for n, t in state.items() if n not in dropped})
    with pytest.raises(SystemExit) as left:
        _tell(monkeypatch, path)
    assert left.value.code == 1
    told = capsys.readouterr().err
    assert "does not fit SMART-Net 1.0, slice network" in told
    assert all(f"{name} is missing" in told for name in dropped)
