"""`python -m ich_node.infer.probe BUNDLE DEVICE PRECISION`: load a model, run it once, say so.

`ich-node check` runs it in a process of its own.
"""

from __future__ import annotations

import logging
import sys
import time

import numpy as np

from ich_node import logs
from ich_node.errors import IchNodeError
from ich_node.infer.predictor import load_predictor


def main() -> int:
    """Print one line: model, device, precision and the seconds for a small volume."""
    bundle, device, precision = sys.argv[1:4]
    logs.configure("probe", logging.WARNING)
    try:
        predictor = load_predictor(bundle, device, precision)
    except IchNodeError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    began = time.monotonic()
    predictor.run(np.zeros((8, 512, 512), np.float32))
    identity = predictor.identity
    sys.stdout.write(
        f"{identity.name} {identity.version} ({identity.sha256[:12]}) on {predictor.device} in "
        f"{identity.precision}, 8 slices in {time.monotonic() - began:.2f} s\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
