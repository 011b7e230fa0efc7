"""A bundle is one for MONAI's own tools too."""

from pathlib import Path

import numpy as np
from monai.bundle import ConfigParser

from ich_node.codes import CLASSES
from ich_node.infer.bundle import METADATA
from training.tiny import write_tiny_bundle

# What MONAI's schema of bundle metadata requires.
REQUIRED = {
    "version",
    "changelog",
    "monai_version",
    "pytorch_version",
    "numpy_version",
    "task",
    "description",
    "authors",
    "copyright",
    "network_data_format",
}


def test_monai_reads_the_metadata(tmp_path: Path) -> None:
    """Every key that its schema requires is there, and the channels are ours."""
    folder = write_tiny_bundle(tmp_path)
    parser = ConfigParser()
    parser.read_meta(folder / METADATA)
    stated = parser.get_parsed_content("_meta_")
    assert set(stated) >= REQUIRED
    assert stated["numpy_version"] == np.__version__
    channels = stated["network_data_format"]["outputs"]["pred"]["channel_def"]
    assert tuple(channels.values()) == CLASSES
