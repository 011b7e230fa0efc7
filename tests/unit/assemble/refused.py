"""Why files are refused."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from ich_node.assemble.assemble import assemble
from ich_node.errors import SeriesRefused


def refusal(paths: Sequence[Path]) -> SeriesRefused:
    with pytest.raises(SeriesRefused) as raised:
        assemble(paths)
    return raised.value
