from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.orthanc import Orthanc, running_orthanc
from training.tiny import write_tiny_bundle


@pytest.fixture
def orthanc(tmp_path: Path) -> Iterator[Orthanc]:
    with running_orthanc(tmp_path / "orthanc") as running:
        yield running


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that always reports an intraparenchymal bleed, at once."""
    return write_tiny_bundle(tmp_path_factory.mktemp("bundle"))
