"""Train SMART-Net in the paper's two stages on simulated heads.

    python -m training.data --count 800 --out out/heads
    python -m training.train --heads out/heads --out out/run --slice-minutes 25 --volume-minutes 15

Each stage ends by its minutes, keeps a checkpoint every few, and takes up where it stood when
started again.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from ich_node.codes import CLASSES
from ich_node.infer.network import SliceNet, SmartNet
from training.augment import augment
from training.data import Example, load, slice_classes
from training.losses import mask_loss, targets_of, upstream_loss

_BATCH = 12
_CHUNK = 12
_LEARNING_RATE = 2e-3
# The part of a slice that heads fill: a third of the time is saved by leaving out the air.
_FRAME = (slice(16, 240), slice(32, 224))
# Steps from one reconstruction to the next; its loss counts as often more, so that it weighs the
# same. It takes a third of a step's time.
_REC_EVERY = 3
_CHECKPOINT_S = 120.0


@dataclass(frozen=True)
class Recipe:
    """What a run is: the backbone, the data, and the minutes of each stage."""

    backbone: str
    heads: Path
    out: Path
    slice_minutes: float
    volume_minutes: float
    classifier_minutes: float = 4.0
    seed: int = 42


def head_files(folder: Path) -> list[Path]:
    """Return the heads that lie in a folder."""
    return sorted(path for path in folder.glob("*.npz") if ".part" not in path.name)


def examples(folder: Path, rng: np.random.Generator) -> Iterator[Example]:
    """Give heads of a folder for ever, at random; those that come in meanwhile too."""
    kept: dict[Path, Example] = {}
    while True:
        paths = head_files(folder)
        for index in rng.permutation(len(paths)):
            path = paths[index]
            if path not in kept:
                kept[path] = load(path)
            yield kept[path]


def slice_batches(
    heads: Iterator[Example], rng: np.random.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Give batches of slices: half of them with a bleed where the heads have any.

    Yields
    ------
    tuple
        images float32 (B, 1, 224, 192) in 0..1 and labels int64 (B, 224, 192).
    """
    while True:
        images: list[npt.NDArray[np.float32]] = []
        labels: list[npt.NDArray[np.uint8]] = []
        while len(images) < _BATCH:
            head = next(heads)
            bleeding = np.flatnonzero(head.labels.reshape(len(head.labels), -1).any(1))
            wanted = list(rng.choice(len(head.labels), 1))
            if len(bleeding):
                wanted += list(rng.choice(bleeding, 2))
            for index in wanted:
                image, label = augment(rng, head.image[index], head.labels[index])
                images.append(image[_FRAME])
                labels.append(label[_FRAME])
        batch = torch.from_numpy(np.stack(images[:_BATCH]))[:, None]
        yield batch, torch.from_numpy(np.stack(labels[:_BATCH]).astype(np.int64))


def train_slices(recipe: Recipe) -> SliceNet:
    """Train the upstream network; return it."""
    torch.manual_seed(recipe.seed)
    rng = np.random.default_rng(recipe.seed)
    net = SliceNet(recipe.backbone, len(CLASSES))
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(net.parameters(), _LEARNING_RATE, weight_decay=5e-4)
    clock = Clock(recipe.slice_minutes, recipe.out / "slices.pt")
    clock.resume(net, optimiser)
    batches = slice_batches(examples(recipe.heads, rng), rng)
    net.train()
    while not clock.over():
        image, labels = next(batches)
        reconstruct = clock.steps % _REC_EVERY == 0
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = net(image, reconstruct)
        loss = upstream_loss(out, image, targets_of(labels), rec_weight=float(_REC_EVERY))
        _step(optimiser, loss, net, clock)
        clock.tick(net, optimiser, float(loss.detach()))
    clock.save(net, optimiser)
    return net


def _step(optimiser: torch.optim.Optimizer, loss: Tensor, net: nn.Module, clock: Clock) -> None:
    for group in optimiser.param_groups:
        group["lr"] = group["initial_lr"] * clock.rate()
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(net.parameters(), 5.0)
    optimiser.step()


def transfer(upstream: SliceNet, backbone: str) -> SmartNet:
    """Return the deployed network with what the slice network learned.

    The 3D convolutions start as what they do to a slice alone: identity, then the slice network's
    own mask head. The paper starts them at random.
    """
    net = SmartNet(backbone, len(CLASSES))
    net.encoder.load_state_dict(upstream.encoder.state_dict())
    net.seg_decoder.load_state_dict(upstream.seg_decoder.state_dict())
    head = upstream.classification_head[3]
    assert isinstance(head, nn.Linear)
    net.slice_head.load_state_dict(head.state_dict())
    with torch.no_grad():
        for conv in (net.segmenter.conv1, net.segmenter.conv2):
            conv.weight.mul_(0.1)
            conv.weight[:, :, 1, 1, 1] += torch.eye(conv.out_channels)
            assert conv.bias is not None
            conv.bias.zero_()
        slice_head = upstream.segmentation_head[0]
        assert isinstance(slice_head, nn.Conv2d)
        assert slice_head.bias is not None
        assert net.segmenter.head.bias is not None
        net.segmenter.head.weight.zero_()
        net.segmenter.head.weight[:, :, 1] = slice_head.weight
        net.segmenter.head.bias.copy_(slice_head.bias)
    for part in (net.encoder, net.seg_decoder):
        part.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return net


def train_volumes(recipe: Recipe, net: SmartNet) -> SmartNet:
    """Train classifier and segmenter over whole heads; encoder and decoder stay as they are."""
    rng = np.random.default_rng(recipe.seed + 1)
    parts = nn.ModuleList([net.classifier, net.segmenter])  # together: one encoder run serves both
    optimiser = torch.optim.AdamW(parts.parameters(), _LEARNING_RATE, weight_decay=5e-4)
    clock = Clock(recipe.volume_minutes, recipe.out / "volumes.pt")
    clock.resume(parts, optimiser)
    net.eval()
    parts.train()
    seen: list[tuple[Tensor, Tensor]] = []
    for head in examples(recipe.heads, rng):
        if clock.over():
            break
        features, maps, labels = _encode(net, head, rng)
        seen.append((features, torch.from_numpy(slice_classes(head.labels).max(0))))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            masks = net.segmenter(maps)
        loss = mask_loss(masks.float(), targets_of(labels)) + _sequence_loss(net, seen, rng)
        _step(optimiser, loss, parts, clock)
        clock.tick(parts, optimiser, float(loss.detach()))
    clock.save(parts, optimiser)
    return net


def _encode(
    net: SmartNet, head: Example, rng: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Run the frozen part: features of all slices, maps and labels of a chunk of them."""
    image = torch.from_numpy(head.image.astype(np.float32) / 255)[:, None]
    gain, shift = rng.uniform(0.9, 1.1), rng.uniform(-0.05, 0.05)
    image = (image * gain + shift).clamp(0, 1)
    depth = min(_CHUNK, len(image))
    first = int(rng.integers(len(image) - depth + 1))
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        features = torch.cat([net.pool(net.encoder(part)[4]) for part in torch.split(image, 8)])
        _, maps = net.slices(image[first : first + depth])
    labels = torch.from_numpy(head.labels[first : first + depth].astype(np.int64))
    return features.float(), maps.transpose(0, 1)[None], labels[None]


def _sequence_loss(
    net: SmartNet, seen: list[tuple[Tensor, Tensor]], rng: np.random.Generator
) -> Tensor:
    """Loss of the BiLSTM on a batch of the heads seen so far; their features cost nothing more."""
    chosen = [seen[index] for index in rng.integers(len(seen), size=32)]
    depths = torch.tensor([len(features) for features, _ in chosen])
    stretched = [features * float(rng.uniform(0.9, 1.1)) for features, _ in chosen]
    padded = nn.utils.rnn.pad_sequence(stretched, batch_first=True)
    targets = torch.stack([target for _, target in chosen])
    return binary_cross_entropy_with_logits(net.classifier(padded, depths), targets)


def train_classifier(recipe: Recipe, net: SmartNet) -> SmartNet:
    """Train the classifier alone, longer: once the features are there its steps cost next to none.

    Every head is encoded once; each step sees some of them stretched a little.
    """
    rng = np.random.default_rng(recipe.seed + 2)
    optimiser = torch.optim.AdamW(net.classifier.parameters(), _LEARNING_RATE, weight_decay=5e-4)
    clock = Clock(recipe.classifier_minutes, recipe.out / "classifier.pt")
    clock.resume(net.classifier, optimiser)
    net.eval()
    seen = [] if clock.over() else [_features(net, load(path)) for path in head_files(recipe.heads)]
    clock.start()
    net.classifier.train()
    while not clock.over():
        loss = _sequence_loss(net, seen, rng)
        _step(optimiser, loss, net.classifier, clock)
        clock.tick(net.classifier, optimiser, float(loss.detach()))
    clock.save(net.classifier, optimiser)
    return net


def _features(net: SmartNet, head: Example) -> tuple[Tensor, Tensor]:
    """Return the pooled features of every slice and the classes of the head."""
    image = torch.from_numpy(head.image.astype(np.float32) / 255)[:, None]
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        features = torch.cat([net.pool(net.encoder(part)[4]) for part in torch.split(image, 8)])
    return features.float(), torch.from_numpy(slice_classes(head.labels).max(0))


class Clock:
    """The minutes of a stage: learning rate, log line, checkpoint."""

    def __init__(self, minutes: float, path: Path) -> None:
        self._seconds = 60 * minutes
        self._path = path
        self._spent = 0.0
        self._last = self._kept = time.monotonic()
        self.steps = 0
        self._mean = 0.0

    def start(self) -> None:
        """Leave out what was done since the clock was made."""
        self._last = self._kept = time.monotonic()

    def resume(self, net: nn.Module, optimiser: torch.optim.Optimizer) -> None:
        """Take up a checkpoint, if there is one."""
        for group in optimiser.param_groups:
            group.setdefault("initial_lr", group["lr"])
        if self._path.exists():
            kept = torch.load(self._path, weights_only=True)
            net.load_state_dict(kept["model"])
            optimiser.load_state_dict(kept["optimiser"])
            self._spent, self.steps, self._mean = (
                kept["spent"],
                kept["steps"],
                kept.get("loss", 0.0),
            )

    def over(self) -> bool:
        """Tell whether the minutes are used up."""
        return self._spent >= self._seconds

    def rate(self) -> float:
        """Share of the learning rate: a short warm-up, then a cosine to nearly nothing."""
        share = min(self._spent / self._seconds, 1.0)
        return float(min(1.0, (self.steps + 1) / 50) * (0.01 + 0.99 * np.cos(share * np.pi / 2)))

    def tick(self, net: nn.Module, optimiser: torch.optim.Optimizer, loss: float) -> None:
        """Count one step."""
        now = time.monotonic()
        self._spent += now - self._last
        self._last = now
        self.steps += 1
        self._mean += (loss - self._mean) / min(self.steps, 50)
        if self.steps % 25 == 0:
            print(
                f"{self._path.stem} {self._spent / 60:6.1f} min, step {self.steps}, "
                f"loss {self._mean:.4f}",
                flush=True,
            )
        if now - self._kept > _CHECKPOINT_S:
            self.save(net, optimiser)
            self._kept = now

    def save(self, net: nn.Module, optimiser: torch.optim.Optimizer) -> None:
        """Keep everything that a restart needs."""
        part = self._path.with_suffix(".part")
        torch.save(
            {
                "model": net.state_dict(),
                "optimiser": optimiser.state_dict(),
                "spent": self._spent,
                "steps": self.steps,
                "loss": self._mean,
            },
            part,
        )
        part.rename(self._path)


def main() -> None:
    """Train both stages and keep the deployed network's weights as network.pt."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--backbone", default="small")
    parser.add_argument("--heads", type=Path, default=Path("out/heads"))
    parser.add_argument("--out", type=Path, default=Path("out/run"))
    parser.add_argument("--slice-minutes", type=float, default=25)
    parser.add_argument("--volume-minutes", type=float, default=15)
    parser.add_argument("--classifier-minutes", type=float, default=4)
    parser.add_argument("--threads", type=int, default=1)
    given = vars(parser.parse_args())
    torch.set_num_threads(given.pop("threads"))
    recipe = Recipe(**given)
    recipe.out.mkdir(parents=True, exist_ok=True)
    net = transfer(train_slices(recipe), recipe.backbone)
    net = train_classifier(recipe, train_volumes(recipe, net))
    torch.save(net.state_dict(), recipe.out / "network.pt")


if __name__ == "__main__":
    main()
