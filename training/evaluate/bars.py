"""What a model is expected to reach, and whether it did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Bar:
    """One expectation; ``met`` is None where it says nothing, and ``why``."""

    what: str
    expected: str
    found: str
    met: bool | None
    why: str = "not measured"

    @property
    def verdict(self) -> str:
        """A word or two for tables."""
        return {True: "met", False: "short", None: self.why}[self.met]


def at_least(what: str, value: float, wanted: float, shown: str) -> Bar:
    """Expect a value to reach what is wanted; a value that is NaN was not measured."""
    met = None if value != value else bool(value >= wanted)
    return Bar(what, f">= {wanted:.2f}", shown, met)


def status(bars: Sequence[Bar]) -> int:
    """Return the exit status: 1 where a bar is short, or none at all could be measured."""
    measured = [bar.met for bar in bars if bar.met is not None]
    return 0 if measured and all(measured) else 1


def show(bars: Sequence[Bar]) -> None:
    """Print the bars as a table."""
    table = Table("bar", "expected", "found", "", title="Bars")
    colour = {True: "green", False: "bold red", None: "yellow"}
    for bar in bars:
        table.add_row(bar.what, bar.expected, bar.found, f"[{colour[bar.met]}]{bar.verdict}[/]")
    Console(width=130).print(table)
