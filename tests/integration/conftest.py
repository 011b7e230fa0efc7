from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.orthanc import Orthanc, running_orthanc


@pytest.fixture
def orthanc(tmp_path: Path) -> Iterator[Orthanc]:
    with running_orthanc(tmp_path / "orthanc") as running:
        yield running
