"""Train what reads whole volumes: the BiLSTM's classes and the 3D convolutions' masks.

    python -m training.downstream --recipe config/training/ours.toml --heads out/heads \
        --validation out/validation --out out/run

It goes on from the `slices.safetensors` of the run's folder and keeps `network.safetensors` there;
beside it `network-best.safetensors`, the weights that did best in validation.
"""

from __future__ import annotations

import copy
import sys
from pathlib import Path

import numpy as np
import torch
from rich.progress import track
from safetensors.torch import load_file
from torch import Tensor, nn

from ich_node.codes import CLASSES
from ich_node.infer.network import SliceNet, SmartNet
from training.augment import look, pose_and_scan
from training.data import (
    Example,
    head_classes,
    head_files,
    known_classes,
    load,
    require_apart,
)
from training.loop import Run, best_of
from training.losses import class_loss, mask_loss
from training.recipe import Downstream, Recipe, keep_recipe, read_recipe
from training.seeds import TRAINING
from training.upstream import UNUSABLE, common_arguments, device_of, keep_weights, say_end
from training.upstream import WEIGHTS as SLICES
from training.validation import require_volumes, validate_volumes, worth

WEIGHTS = "network.safetensors"
BEST = "network-best.safetensors"
_PART = 8
_MEMORY = 400


def transfer(upstream: SliceNet, backbone: str, start: str = "ours") -> SmartNet:
    """Return the deployed network with what the slice network learned.

    Ours lets the 3D convolutions start as what they do to a slice alone: identity, then the slice
    network's own mask head. The paper starts them at random, and the mask decoder too.
    """
    net = SmartNet(backbone, len(CLASSES))
    net.encoder.load_state_dict(upstream.encoder.state_dict())
    head = upstream.classification_head[3]
    mask_head = upstream.segmentation_head[0]
    assert isinstance(head, nn.Linear)
    assert isinstance(mask_head, nn.Conv2d)
    net.slice_head.load_state_dict(head.state_dict())
    if net.mask_head is not None or start == "ours":
        net.seg_decoder.load_state_dict(upstream.seg_decoder.state_dict())
    if net.mask_head is not None:
        net.mask_head.load_state_dict(mask_head.state_dict())
    if start == "ours":
        _start_as_slices(net, mask_head)
    for part in (net.encoder, net.seg_decoder):
        part.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return net


def _start_as_slices(net: SmartNet, mask_head: nn.Conv2d) -> None:
    with torch.no_grad():
        for conv in (net.segmenter.conv1, net.segmenter.conv2):
            conv.weight.mul_(0.1)
            conv.weight[:, :, 1, 1, 1] += torch.eye(conv.out_channels)
            assert conv.bias is not None
            conv.bias.zero_()
        assert mask_head.bias is not None
        assert net.segmenter.head.bias is not None
        net.segmenter.head.weight.zero_()
        net.segmenter.head.weight[:, :, 1] = mask_head.weight
        net.segmenter.head.bias.copy_(mask_head.bias)


def learning_parts(net: SmartNet, stage: Downstream, share: float) -> list[nn.Module]:
    """Return the parts of the encoder that learn at a share of the run, the deepest first."""
    order = [getattr(net.encoder, f"layer{number}") for number in (4, 3, 2, 1)]
    opened = sum(share >= begin for begin in stage.unfreeze)
    return [net.encoder] if opened > len(order) else order[:opened]


def unfreeze(net: SmartNet, stage: Downstream, share: float) -> bool:
    """Let parts of the encoder learn, with the decoder; tell whether any does."""
    parts = learning_parts(net, stage, share)
    net.encoder.requires_grad_(False)
    net.encoder.train(stage.norm == "published")
    for part in parts:
        part.requires_grad_(True)
        part.train()
    decodes = bool(parts) or stage.start == "published"
    net.seg_decoder.requires_grad_(decodes).train(decodes)
    return decodes


def train_volumes(
    recipe: Recipe,
    upstream: SliceNet,
    heads: Path,
    out: Path,
    device: torch.device,
    validation: Path | None = None,
) -> SmartNet | None:
    """Train classifier and segmenter over whole heads; return the running mean.

    None where it was told to stop: called again it goes on.

    Raises
    ------
    FileNotFoundError
        The folder holds no heads.
    SeedError
        One of them is not to be learned from.
    """
    torch.manual_seed(recipe.seed + 1)
    stage = recipe.downstream
    net = transfer(upstream, recipe.backbone, stage.start).to(device)
    run = Run(net, stage, out, "volumes")
    paths = head_files(heads, TRAINING)
    kept = run.average.net
    assert isinstance(kept, SmartNet)
    net.train()
    with run.shown() as bar:
        run.leave_out()
        while run.goes_on():
            step = run.state.step
            head = load(head_of(paths, recipe.seed, step))
            rng = np.random.default_rng((recipe.seed, 2, step))
            learns = unfreeze(net, stage, run.share)
            run.learn(_volume_losses(net, recipe, head, rng, run.memory, learns))
            run.show(bar)
            _validate(run, kept, recipe, validation, out)
    return kept if run.finished else None


def _validate(run: Run, kept: SmartNet, recipe: Recipe, validation: Path | None, out: Path) -> None:
    """Where it is due, say how the kept weights do on heads not learned from; keep the best."""
    if validation is None or not run.validation_is_due():
        return
    values = validate_volumes(kept, recipe, validation, kept.slice_head.weight.device)
    run.note(values)
    if run.is_best(worth(values)):
        keep_weights(kept, out / BEST)
    run.leave_out()


def head_of(paths: list[Path], seed: int, step: int) -> Path:
    """Return the head of a step: all in turn, each time in another order."""
    turn, place = divmod(step, len(paths))
    order = np.random.default_rng((seed, 1, turn)).permutation(len(paths))
    return paths[int(order[place])]


def whole(rng: np.random.Generator, recipe: Recipe, head: Example) -> tuple[Tensor, Tensor | None]:
    """Return a head as the network reads it and its labels: (slice, 1, row, column), (slice, ...).

    Slices are changed all alike, as one scan.
    """
    blank = np.zeros(head.hu.shape, np.uint8)
    labels = blank if head.labels is None else head.labels
    hu = head.hu.astype(np.float32)
    bare = head.spacing_mm if recipe.data.scanner and not head.scanned else None
    hu, labels = pose_and_scan(rng, recipe.data, hu, labels, recipe.reads.size, bare)
    image = torch.from_numpy(look(rng, recipe.data, hu, recipe.reads))[:, None]
    truth = None if head.labels is None else torch.from_numpy(labels.astype(np.int64))
    return image, truth


def _volume_losses(
    net: SmartNet,
    recipe: Recipe,
    head: Example,
    rng: np.random.Generator,
    memory: list[tuple[Tensor, Tensor]],
    learns: bool,
) -> dict[str, Tensor]:
    """Return the parts of the loss of one head."""
    device = net.slice_head.weight.device
    image, labels = whole(rng, recipe, head)
    image = image.to(device)
    depth = min(recipe.downstream.slices, len(image))
    first = int(rng.integers(len(image) - depth + 1))
    chunk = slice(first, first + depth)
    with torch.autocast(device.type, dtype=torch.bfloat16):
        with torch.no_grad():
            features = torch.cat(
                [net.slices(part)[0].float() for part in torch.split(image, _PART)]
            )
        with torch.set_grad_enabled(learns):
            own, maps = net.slices(image[chunk])
        masks = net.segmenter(maps.transpose(0, 1)[None])
    known = _slice_classes_of(head, labels)
    classes = _classes_of(head, known).to(device)
    memory.append((features.cpu(), classes.cpu()))
    del memory[:-_MEMORY]
    if learns:  # the encoder learns from the classes of this head too
        features = torch.cat([features[:first], own.float(), features[first + depth :]])
    losses = {"classes": sequence_loss(net, recipe, memory, rng, (features, classes))}
    if learns:  # or the slices' own classes would be left behind by what they are read from
        losses["slices"] = class_loss(net.slice_head(own.float()), known[chunk].to(device))
    if labels is not None:
        losses["masks"] = mask_loss(masks.float(), labels[None, chunk].to(device), recipe.losses)
    return losses


def _slice_classes_of(head: Example, labels: Tensor | None) -> Tensor:
    moved = None if labels is None else labels.numpy().astype(np.uint8)
    return torch.from_numpy(known_classes(moved, head.slice_classes))


def _classes_of(head: Example, slices: Tensor) -> Tensor:
    return torch.from_numpy(head_classes(slices.numpy(), head.classes))


def sequence_loss(
    net: SmartNet,
    recipe: Recipe,
    memory: list[tuple[Tensor, Tensor]],
    rng: np.random.Generator,
    own: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Return the BiLSTM's loss on heads of the memory; their features cost nothing more."""
    chosen = [memory[i] for i in rng.integers(len(memory), size=recipe.downstream.heads)]
    device = net.slice_head.weight.device
    pairs = [(features.to(device), classes.to(device)) for features, classes in chosen]
    pairs = pairs if own is None else [own, *pairs[1:]]
    depths = torch.tensor([len(features) for features, _ in pairs])
    turned = [features.flip(0) if rng.random() < 0.5 else features for features, _ in pairs]
    padded = nn.utils.rnn.pad_sequence(turned, batch_first=True)
    logits = net.volumes(padded, depths)
    return class_loss(logits, torch.stack([classes for _, classes in pairs]))


def train_classifier(
    recipe: Recipe, net: SmartNet, heads: Path, out: Path, validation: Path | None = None
) -> SmartNet | None:
    """Train the classifier alone, longer: once the features are there its steps cost little.

    None where it was told to stop: called again it goes on.
    """
    stage = recipe.downstream
    if not stage.classifier_steps or not stage.classifier_minutes:
        return net.eval()
    budget = stage.model_copy(
        update={"steps": stage.classifier_steps, "minutes": stage.classifier_minutes}
    )
    net.eval().requires_grad_(False)
    net.classifier.requires_grad_(True).train()
    run = Run(net.classifier, budget, out, "classifier")
    kept = copy.deepcopy(net).eval()
    kept.classifier = run.average.net  # type: ignore[assignment]
    if validation is not None:  # what did best in the stage before may stay the best
        run.state.best = max(run.state.best, best_of(out, "volumes"))
    memory = [] if run.finished else _features(net, recipe, head_files(heads, TRAINING))
    with run.shown() as bar:
        run.leave_out()
        while run.goes_on():
            rng = np.random.default_rng((recipe.seed, 4, run.state.step))
            run.learn({"classes": sequence_loss(net, recipe, memory, rng)})
            run.show(bar)
            _validate(run, kept, recipe, validation, out)
    return kept if run.finished else None


def _features(net: SmartNet, recipe: Recipe, paths: list[Path]) -> list[tuple[Tensor, Tensor]]:
    """Return features (slice, features) and classes (6,) of each head."""
    device, found = net.slice_head.weight.device, []
    for number, path in enumerate(track(paths, "features", disable=not sys.stdout.isatty())):
        head = load(path)
        image, labels = whole(np.random.default_rng((recipe.seed, 3, number)), recipe, head)
        with torch.no_grad(), torch.autocast(device.type, dtype=torch.bfloat16):
            parts = [net.slices(part.to(device))[0].float() for part in torch.split(image, _PART)]
        found.append((torch.cat(parts).cpu(), _classes_of(head, _slice_classes_of(head, labels))))
    return found


def train_network(
    recipe: Recipe, heads: Path, out: Path, device: torch.device, validation: Path | None = None
) -> SmartNet | None:
    """Train what reads volumes from the slice network that the folder holds, and keep it there.

    None where it was told to stop: called again it goes on.

    Raises
    ------
    FileNotFoundError
        The folder holds no slice network, that of the heads none, or that of the validation
        nothing to validate by.
    SeedError
        A head is not for what its folder is, or in both.
    """
    if not (out / SLICES).exists():
        raise FileNotFoundError(
            f"{out / SLICES} is not there; `python -m training.upstream --out {out}` leaves it at "
            "the end of its budget"
        )
    if validation is not None:
        require_apart(heads, validation)
        require_volumes(recipe, validation)
    upstream = SliceNet(recipe.backbone, len(CLASSES))
    upstream.load_state_dict(load_file(out / SLICES))
    net = train_volumes(recipe, upstream, heads, out, device, validation)
    whole_net = None if net is None else train_classifier(recipe, net, heads, out, validation)
    if whole_net is not None:
        keep_weights(whole_net, out / WEIGHTS)
    return whole_net


def main() -> None:
    """Train the volume stage by a recipe, from the slice network of the same run."""
    given = common_arguments(main.__doc__).parse_args()
    torch.set_num_threads(given.threads)
    device = device_of(given.device)
    try:
        recipe = read_recipe(given.recipe)
        keep_recipe(recipe, given.out)
        net = train_network(recipe, given.heads, given.out, device, given.validation)
    except UNUSABLE as error:
        raise SystemExit(f"error: {error}") from error
    say_end(recipe, net, given.out / WEIGHTS)


if __name__ == "__main__":
    main()
