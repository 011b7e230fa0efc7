"""Read checkpoints in the published layouts: safely, and whole or not at all.

    python -m training.published.checkpoints FILE

tells what a file is, or every fault for which it is refused (exit status 1).
"""

from __future__ import annotations

import argparse
import math
import pickle
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch
from rich.console import Console
from rich.table import Table
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ich_node.errors import IchNodeError
from ich_node.infer.fit import in_brief, misfits
from training.published.layouts import IMAGENET, LAYOUTS, Layout, foreign_title, layout_of

# Where the published code keeps the weights among optimiser, epoch and arguments.
_WRAPPERS = ("model_state_dict", "state_dict")
_PARALLEL = "module."
_COUNTER = "num_batches_tracked"


class CheckpointError(IchNodeError):
    """A file that is no checkpoint of a layout read here, or not a whole one.

    Parameters
    ----------
    message
        The file, and what is wrong with it.
    faults
        Every single fault, a line each; the message shows the first.
    """

    def __init__(self, message: str, faults: tuple[str, ...] = ()) -> None:
        super().__init__(f"{message}: {in_brief(faults)}" if faults else message)
        self.headline = message
        self.faults = faults


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that fits its layout, every entry.

    Parameters
    ----------
    outputs
        Classes that its heads give; 1 as published.
    state
        Every entry of the layout's network by its name; floating entries are float32.
    """

    path: Path
    layout: Layout
    outputs: int
    state: dict[str, Tensor]


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint, tell its layout by its names and check every entry.

    Files of torch are read without running anything that they hold: tensors, plain values and
    `argparse.Namespace` (the arguments that 1.0 keeps beside the weights) and no more. Safetensors
    are read by their suffix.

    Raises
    ------
    CheckpointError
        The file cannot be read, is of no layout read here, or does not fit its layout: an entry
        is missing, unknown, misshapen, of another type, or not finite.
    """
    state = _state(path, _contents(path))
    layout = layout_of(state)
    if layout is None:
        title = foreign_title(state)
        told = (
            f"this is {title}" if title else f"this is of an unknown layout (it holds {min(state)})"
        )
        read = "; ".join(layout.title for layout in LAYOUTS)
        raise CheckpointError(f"{path}: {told}, which is not read here. Read are: {read}")
    if layout is IMAGENET:
        state = _with_counters(state)
    outputs = _outputs(layout, state)
    with torch.device("meta"):
        net = layout.build(outputs)
    faults = tuple(misfits(net, state)) or tuple(_false_values(net, state))
    if faults:
        raise CheckpointError(f"{path} does not fit {layout.title}", faults)
    types = {name: tensor.dtype for name, tensor in net.state_dict().items()}
    return Checkpoint(
        path, layout, outputs, {name: state[name].to(kind) for name, kind in types.items()}
    )


def _contents(path: Path) -> object:
    """Return what the file holds."""
    try:
        with path.open("rb") as file:
            return load_file(path) if path.suffix == ".safetensors" else _unpickled(path, file)
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror or error}") from error
    except SafetensorError as error:
        raise CheckpointError(f"{path}: no whole safetensors file: {error}") from error


def _unpickled(path: Path, file: IO[bytes]) -> object:
    """Return what a file of torch holds, without running anything of it."""
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(f"{path}: {_forbidden(str(error))}") from error
    except Exception as error:  # the parser of a foreign file raises whatever it comes upon
        raise CheckpointError(
            f"{path}: no whole file of torch ({type(error).__name__}); "
            "it may be cut short: compare its size and checksum with the source's"
        ) from error


def _forbidden(told: str) -> str:
    """Say what a pickle holds that is not read."""
    named = re.search(r"GLOBAL ([\w.]+)", told)
    if named is None:
        return "no file of torch, or none that can be read without running code from it"
    return (
        f"it holds {named[1]}; only tensors, plain values and argparse.Namespace are read, so that "
        "no file can run code: ask its author for the state_dict alone"
    )


def _state(path: Path, contents: object) -> dict[str, Tensor]:
    """Return the weights among what a file holds, without the names' mark of parallel training."""
    given: Any = contents
    if isinstance(contents, Mapping):
        given = next((contents[name] for name in _WRAPPERS if name in contents), contents)
    if not isinstance(given, Mapping) or not given:
        raise CheckpointError(f"{path}: holds no weights, but {_kind(given)}")
    others = tuple(
        f"{name!r} is {_kind(value)}"
        for name, value in given.items()
        if not (isinstance(name, str) and isinstance(value, Tensor))
    )
    if others:
        raise CheckpointError(f"{path}: expected names and tensors alone", others)
    parallel = all(name.startswith(_PARALLEL) for name in given)
    return {name.removeprefix(_PARALLEL) if parallel else name: given[name] for name in given}


def _kind(value: object) -> str:
    if isinstance(value, Mapping):
        return f"a mapping of {', '.join(map(str, list(value)[:5]))}" if value else "nothing"
    return f"of type {type(value).__name__}"


def _with_counters(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the state with batch counters: files older than torch 0.4.1 have none at all."""
    if any(name.endswith(_COUNTER) for name in state):
        return state
    ends = "running_var"
    norms = [name.removesuffix(ends) for name in state if name.endswith(ends)]
    return state | {norm + _COUNTER: torch.tensor(0) for norm in norms}


def _outputs(layout: Layout, state: Mapping[str, Tensor]) -> int:
    head = state.get(layout.head)
    return max(1, head.shape[0]) if head is not None and head.ndim else 1


def _false_values(net: nn.Module, state: Mapping[str, Tensor]) -> Iterator[str]:
    """Give a line for each entry whose values cannot be the network's."""
    first: dict[int, str] = {}
    for name, expected in net.state_dict(keep_vars=True).items():
        found = state[name]
        twin = first.setdefault(id(expected), name)
        if found.layout is not torch.strided or found.device.type != "cpu":
            yield f"{name} is no dense tensor ({found.layout}, {found.device.type})"
        elif found.is_floating_point() != expected.is_floating_point() or found.is_complex():
            yield f"{name} is {found.dtype}, expected {expected.dtype}"
        elif twin != name:
            if not torch.equal(found, state[twin]):
                yield f"{twin} and {name} differ: they are one and the same in the network"
        elif found.is_floating_point() and not _finite(found.float()):
            yield f"{name} holds NaN or infinite values"


def _finite(values: Tensor) -> bool:
    low, high = values.aminmax()  # both are NaN where any value is
    return math.isfinite(low) and math.isfinite(high)


def describe(checkpoint: Checkpoint) -> Table:
    """Return what a checkpoint is, as a table for people."""
    with torch.device("meta"):
        net = checkpoint.layout.build(checkpoint.outputs)
    table = Table(title=str(checkpoint.path), show_header=False, title_justify="left")
    for row in (
        ("layout", checkpoint.layout.title),
        ("outputs", str(checkpoint.outputs)),
        ("parameters", f"{sum(math.prod(p.shape) for p in net.parameters()):,}"),
        ("entries", str(len(checkpoint.state))),
    ):
        table.add_row(*row)
    return table


def main() -> None:
    """Tell what a checkpoint is; exit status 1 and every fault where it is refused."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("file", type=Path)
    try:
        checkpoint = read_checkpoint(parser.parse_args().file)
    except CheckpointError as error:
        print(error.headline, *error.faults, sep="\n", file=sys.stderr)
        sys.exit(1)
    Console().print(describe(checkpoint))


if __name__ == "__main__":
    main()
