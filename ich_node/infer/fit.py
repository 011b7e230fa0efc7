"""Whether weights are those of a network: every entry, under its name, in its shape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

_SHOWN = 3


def misfits(net: nn.Module, weights: Mapping[str, Tensor]) -> list[str]:
    """Return a line for each entry that is missing, unknown or misshapen, in this order.

    Parameters
    ----------
    net
        The network; on the meta device it costs no memory.
    weights
        What was found, by name.
    """
    expected = {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    return [
        *(f"{name} is missing" for name in sorted(expected.keys() - found.keys())),
        *(f"{name} is unknown" for name in sorted(found.keys() - expected.keys())),
        *(
            f"{name} has shape {found[name]}, expected {expected[name]}"
            for name in sorted(expected.keys() & found.keys())
            if found[name] != expected[name]
        ),
    ]


def in_brief(faults: Sequence[str]) -> str:
    """Return the first three faults, and how many more there are, for one line of error."""
    more = f" and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
    return "; ".join(faults[:_SHOWN]) + more
