"""Draw the head that the self-test ships with: `python -m training.simulate.selftest_head [FILE]`.

Without FILE it goes where the package keeps it. The seed is one to measure by: no training saw it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

import ich_node.selftest
from ich_node.selftest.head import NAME
from training.simulate.head import simulate_head

SEED = 900_108
SUBTYPE = "intraparenchymal"
_MATRIX = 256
_STEP_HU = 4  # what the grain hides need not be packed


def draw() -> dict[str, Any]:
    """Return the arrays of the file by name."""
    head = simulate_head(SEED, (SUBTYPE,), matrix=_MATRIX, noise=False)
    return {
        "hu": (np.rint(head.hu / _STEP_HU) * _STEP_HU).astype(np.int16),
        "bleed": head.labels > 0,
        "spacing_mm": np.array(head.spacing_mm),
        "subtype": np.array(SUBTYPE),
        "seed": np.array(SEED),
    }


def main() -> None:
    """Write the file; say how large it is."""
    shipped = Path(ich_node.selftest.__file__).parent / NAME
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else shipped
    np.savez_compressed(path, **draw())
    print(f"{path}: {path.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
