"""What both stages of training share: budget, rate, running mean, checkpoints, log."""

from __future__ import annotations

import copy
import math
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter

from training.recipe import Stage

_STOP = (signal.SIGTERM, signal.SIGINT)
_KEEP_S = 120.0
_SAY_S = 30.0
# As published the rate stays for a tenth of the run.
_FALLS = 0.1


def rate(stage: Stage, share: float) -> float:
    """Return the part of the learning rate at a share 0..1 of the run."""
    warm = min(1.0, (share + 1e-4) / stage.warm_up)
    if stage.schedule == "published":
        return max(warm * (1 - max(0.0, share - _FALLS) / (1 - _FALLS)), stage.floor)
    fall = 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))
    return warm * (stage.floor + (1 - stage.floor) * fall)


def optimiser_of(net: nn.Module, stage: Stage) -> torch.optim.Optimizer:
    """Return the stage's optimiser of what learns."""
    kind = torch.optim.AdamW if stage.optimiser == "adamw" else torch.optim.Adam
    return kind(net.parameters(), stage.learning_rate, weight_decay=stage.weight_decay)


def _random_states() -> list[Tensor]:
    """Return where chance stands: of the CPU, then of each GPU."""
    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return [torch.get_rng_state(), *devices]


class Average:
    """The running mean of a network's weights: steadier than the last, and what is kept."""

    def __init__(self, net: nn.Module, weight: float) -> None:
        self.net = copy.deepcopy(net).eval().requires_grad_(False)
        self._weight = weight

    def follow(self, net: nn.Module, step: int) -> None:
        """Take in the weights of a step, the first ones with more weight."""
        past = min(self._weight, step / (step + 20))
        with torch.no_grad():
            pairs = zip(self.net.state_dict().values(), net.state_dict().values(), strict=True)
            for mean, new in pairs:
                if mean.dtype.is_floating_point:
                    mean.lerp_(new.to(mean.dtype), 1 - past)
                else:
                    mean.copy_(new)


@dataclass
class State:
    """Where a stage stands: steps done, seconds spent in it, the best validation so far."""

    step: int = 0
    spent_s: float = 0.0
    best: float = -math.inf


def best_of(folder: Path, name: str) -> float:
    """Return the best validation that the checkpoint of a stage knows of; -inf without one."""
    path = folder / f"{name}.pt"
    if not path.exists():
        return -math.inf
    return float(torch.load(path, map_location="cpu", weights_only=True, mmap=True)["best"])


class Run:
    """One stage of a run in its folder: it ends by its budget or by SIGTERM, and can be taken up.

    Attributes
    ----------
    net, average
        What learns, and the running mean of its weights.
    state
        Steps and seconds so far.
    memory
        What a stage keeps of earlier steps: features of a head (slice, features) and its classes.
    """

    def __init__(self, net: nn.Module, stage: Stage, folder: Path, name: str) -> None:
        self.net, self.stage, self.state = net, stage, State()
        self.optimiser = optimiser_of(net, stage)
        self.average = Average(net, stage.average)
        self._path = folder / f"{name}.pt"
        self._name = name
        self._told_to_stop = False
        self.memory: list[tuple[Tensor, Tensor]] = []
        self._resume()
        written = str(folder / "tensorboard" / name)
        self.board = SummaryWriter(written, purge_step=self.state.step + 1)
        self._last = self._kept = self._said = time.monotonic()
        self._validated_s = self.state.spent_s
        self._loss = 0.0
        self._parts: dict[str, Tensor] = {}

    @property
    def share(self) -> float:
        """How much of the budget is used up, 0..1."""
        by_time = self.state.spent_s / (60 * self.stage.minutes)
        return min(1.0, max(by_time, self.state.step / self.stage.steps))

    def goes_on(self) -> bool:
        """Tell whether there is budget left and nobody told the process to stop."""
        return self.share < 1.0 and not self._told_to_stop

    @property
    def finished(self) -> bool:
        """Whether the budget is used up."""
        return self.share >= 1.0

    def learn(self, parts: Mapping[str, Tensor]) -> None:
        """Take one step down the sum of the parts of a loss.

        Raises
        ------
        FloatingPointError
            The loss is not finite; the weights are as before.
        """
        loss = torch.stack(list(parts.values())).sum()
        value = float(loss.detach())
        if not math.isfinite(value):
            found = ", ".join(f"{name} {float(part.detach()):g}" for name, part in parts.items())
            raise FloatingPointError(
                f"{self._name} step {self.state.step}: the loss is not finite ({found}); try a "
                "lower learning_rate, in a new folder"
            )
        for group in self.optimiser.param_groups:
            group["lr"] = self.stage.learning_rate * rate(self.stage, self.share)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.net.parameters(), self.stage.clip)
        self.optimiser.step()
        self.state.step += 1
        self.average.follow(self.net, self.state.step)
        self._count(value, parts)

    def leave_out(self) -> None:
        """Do not count the time since the last step: it was spent otherwise."""
        self._last = time.monotonic()

    def validation_is_due(self) -> bool:
        """Tell, once every few minutes of the budget and at its end."""
        due = self.state.spent_s - self._validated_s >= 60 * self.stage.validate_minutes
        if due or self.finished:
            self._validated_s = self.state.spent_s
            return True
        return False

    def note(self, values: Mapping[str, float]) -> None:
        """Say figures of a validation and keep them on the board."""
        for name, value in values.items():
            self.board.add_scalar(f"validation/{name}", value, self.state.step)
        figures = ", ".join(f"{name} {value:.3f}" for name, value in values.items())
        print(f"{self._name} step {self.state.step}: {figures}", flush=True)

    def is_best(self, worth: float) -> bool:
        """Tell whether a validation is worth more than every one before."""
        better = worth > self.state.best
        self.state.best = max(worth, self.state.best)
        return better

    def save(self) -> None:
        """Keep everything that a restart needs; a file under its own name is always whole."""
        part = self._path.with_suffix(".part")
        torch.save(
            {
                "net": self.net.state_dict(),
                "average": self.average.net.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "step": self.state.step,
                "spent_s": self.state.spent_s,
                "best": self.state.best,
                "memory": self.memory,
                "random": _random_states(),
            },
            part,
        )
        part.rename(self._path)
        self._kept = time.monotonic()

    def _resume(self) -> None:
        if not self._path.exists():
            return
        kept = torch.load(self._path, map_location="cpu", weights_only=True)
        self.net.load_state_dict(kept["net"])
        self.average.net.load_state_dict(kept["average"])
        self.optimiser.load_state_dict(kept["optimiser"])
        self.state = State(kept["step"], kept["spent_s"], kept["best"])
        self.memory = kept["memory"]
        own, *devices = kept["random"]
        torch.set_rng_state(own)
        if len(devices) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(devices)

    def _count(self, loss: float, parts: Mapping[str, Tensor]) -> None:
        now = time.monotonic()
        self.state.spent_s += now - self._last
        self._last = now
        self._loss += (loss - self._loss) / min(self.state.step, 50)
        self._parts |= {name: value.detach() for name, value in parts.items()}
        if self.state.step % 20 == 0:  # a part that is not of every step: as it last was
            for name, value in self._parts.items():
                self.board.add_scalar(f"loss/{name}", float(value), self.state.step)
            self.board.add_scalar("rate", self.optimiser.param_groups[0]["lr"], self.state.step)
        if now - self._kept > _KEEP_S:
            self.save()

    @contextmanager
    def shown(self) -> Iterator[Progress | None]:
        """Save at the end and when told to stop; show a bar on a terminal, else lines.

        SIGTERM and SIGINT (Ctrl-C) stop it after the step at hand, a second SIGINT at once.
        """
        before = {number: signal.signal(number, self._stop) for number in _STOP}
        try:
            if sys.stdout.isatty():
                columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
                with Progress(*columns) as bar:
                    bar.add_task(self._name, total=1.0)
                    yield bar
            else:
                yield None
        finally:
            self.save()
            self.board.close()
            for number, handler in before.items():
                signal.signal(number, handler)

    def show(self, bar: Progress | None) -> None:
        """Say where the stage stands."""
        now = time.monotonic()
        spent = self.state.spent_s
        text = (
            f"{self._name} {spent / 60:.1f} min, step {self.state.step} "
            f"({self.state.step / max(spent, 1e-3):.2f}/s), loss {self._loss:.4f}"
        )
        if bar is not None:
            bar.update(bar.task_ids[0], completed=self.share, description=text)
        elif now - self._said > _SAY_S:
            print(text, flush=True)
            self._said = now

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self._told_to_stop = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
