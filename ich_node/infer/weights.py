"""The weight files of a bundle: ``models/*.safetensors``, each entry in one of them."""

from __future__ import annotations

import hashlib
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ich_node.errors import BundleError

FOLDER = Path("models")
SUFFIX = ".safetensors"


def files_of(bundle: Path) -> list[Path]:
    """Return the weight files of a bundle's folder in the order of their names.

    Raises
    ------
    BundleError
        There is none.
    """
    found = sorted((bundle / FOLDER).glob(f"*{SUFFIX}"))
    if not found:
        raise BundleError(f"{bundle / FOLDER}: no *{SUFFIX}: a bundle holds its weights there")
    return found


def sha256_of(bundle: Path) -> str:
    """Return the SHA-256 of a bundle's weight files, joined in the order of their names.

    Raises
    ------
    BundleError
        There is none, or one cannot be read.
    """
    found = hashlib.sha256()
    for path in files_of(bundle):
        try:
            found.update(path.read_bytes())
        except OSError as error:
            raise BundleError(f"{path}: {error.strerror}") from error
    return found.hexdigest()


def load_weights(bundle: Path) -> dict[str, Tensor]:
    """Return every entry of every weight file.

    Raises
    ------
    BundleError
        A file is none, or two hold the same entry.
    """
    weights: dict[str, Tensor] = {}
    for path in files_of(bundle):
        try:
            entries = load_file(path)
        except SafetensorError as error:
            raise BundleError(f"{path}: no safetensors file: {error}") from error
        twice = sorted(weights.keys() & entries.keys())
        if twice:
            raise BundleError(f"{path}: {twice[0]} stands in another weight file too")
        weights.update(entries)
    return weights
