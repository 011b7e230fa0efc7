"""Start a network of ours from a published checkpoint."""

from __future__ import annotations

from torch import Tensor, nn

from ich_node.infer.backbones import LiteEncoder, ResNet50
from ich_node.infer.network import SliceNet, SmartNet
from training.published.checkpoints import Checkpoint, CheckpointError
from training.published.layouts import IMAGENET, LITE, SLICES_1
from training.published.lite import lite_encoder_state

_ENCODER = "encoder."


def network_of(checkpoint: Checkpoint) -> nn.Module:
    """Return the network of the checkpoint's layout, with its weights."""
    net = checkpoint.layout.build(checkpoint.outputs)
    net.load_state_dict(checkpoint.state)
    return net


def encoder_of(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """Return the encoder's state as `build_encoder` names it; every layout has one.

    It is a ResNet-50 in every layout but EfficientNet-Lite0's, which lacks what the encoder "lite"
    has of its own, at full size.

    Torchvision's first convolution is summed over RGB, as the paper's code does: what it gives for
    a slice is what it gave for the slice three times. An encoder of 3.0 or torchvision learned with
    a stem of stride 2 and is run here with stride 1, as the paper does with torchvision's.
    """
    if checkpoint.layout is LITE:
        return lite_encoder_state(checkpoint.state)
    if checkpoint.layout is IMAGENET:
        state = {n: t for n, t in checkpoint.state.items() if not n.startswith("fc.")}
        return state | {"conv1.weight": state["conv1.weight"].sum(1, keepdim=True)}
    return {
        name.removeprefix(_ENCODER): tensor
        for name, tensor in checkpoint.state.items()
        if name.startswith(_ENCODER)
    }


def start_encoder(net: SliceNet | SmartNet, checkpoint: Checkpoint) -> None:
    """Give a network's encoder the weights of the checkpoint's; the rest of it stays.

    Raises
    ------
    CheckpointError
        The network's backbone is not that of the checkpoint.
    """
    lite = checkpoint.layout is LITE
    if not isinstance(net.encoder, LiteEncoder if lite else ResNet50):
        holds, backbone = ("an EfficientNet-Lite0", "lite") if lite else ("a ResNet-50", "resnet50")
        raise CheckpointError(
            f"{checkpoint.path} holds {holds}; start a network of backbone {backbone!r} from it, "
            f"not one with {type(net.encoder).__name__}"
        )
    net.encoder.load_state_dict(net.encoder.state_dict() | encoder_of(checkpoint))


def slice_net_of(checkpoint: Checkpoint, n_classes: int) -> SliceNet:
    """Return the whole slice network of a 1.0 checkpoint, to go on with the volume stage.

    Raises
    ------
    CheckpointError
        It is of another layout, or has not as many outputs as classes are wanted.
    """
    if checkpoint.layout is not SLICES_1 or checkpoint.outputs != n_classes:
        raise CheckpointError(
            f"{checkpoint.path} is {checkpoint.layout.title} with {checkpoint.outputs} output(s); "
            f"a slice network of {n_classes} needs {SLICES_1.title} with as many. "
            "Its encoder alone can be taken: start_encoder"
        )
    net = network_of(checkpoint)
    assert isinstance(net, SliceNet)
    return net
