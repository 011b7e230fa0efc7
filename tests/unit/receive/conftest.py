from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import Dataset

from ich_node.receive.intake import Intake
from ich_node.settings import Settings
from ich_node.store.engine import Engine, migrate, open_engine
from tests.support.peers import node_settings
from tests.support.series import head_series


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return node_settings(tmp_path)


@pytest.fixture
def engine(settings: Settings) -> Iterator[Engine]:
    opened = open_engine(settings.database_url)
    migrate(opened)
    yield opened
    opened.dispose()


@pytest.fixture
def intake(engine: Engine, settings: Settings) -> Intake:
    return Intake(engine, settings)


@pytest.fixture
def image() -> Dataset:
    """A CT image with pixels."""
    return head_series(slices=1)[0]
