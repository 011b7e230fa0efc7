"""A tiny, seeded, untrained bundle of the same interface, for tests of everything but the finding.

python -m training.tiny FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from ich_node.codes import CLASSES
from ich_node.infer.network import SmartNet
from training.export import write_bundle


def write_tiny_bundle(folder: Path, seed: int = 4) -> Path:
    """Write a bundle that runs in well under a second and always reports something.

    Only `intraparenchymal` is ever present (the other thresholds cannot be reached), and its mask
    is about half of the slice: SEG and SR of a full size come out of it.
    """
    torch.manual_seed(seed)
    network = SmartNet("tiny", len(CLASSES))
    thresholds = dict.fromkeys(CLASSES, 2.0) | {"any": 0.0, "intraparenchymal": 0.0}
    with torch.no_grad():
        network.eval()
        head = network.segmenter.head
        assert head.bias is not None
        head.bias.zero_()
        _, maps = network.slices(torch.rand(8, 1, 256, 256))
        head.bias[0] = -network.segmenter(maps.transpose(0, 1)[None])[0, 0].median()
    return write_bundle(
        folder,
        network,
        "tiny",
        name="tiny",
        version="0",
        authors="the developers of ich-node",
        copyright="the developers of ich-node; Apache-2.0",
        thresholds=thresholds,
        mask_threshold=0.5,
        about="Untrained: random weights. For tests of storage, transport and load only.",
    )


if __name__ == "__main__":
    write_tiny_bundle(Path(sys.argv[1]))
