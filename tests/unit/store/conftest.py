from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ich_node.records import Received
from ich_node.store import jobs as job_port
from ich_node.store.engine import Engine, migrate, open_engine
from ich_node.store.jobs import Jobs


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'ich-node.sqlite'}"


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    opened = open_engine(url)
    migrate(opened)
    yield opened
    opened.dispose()


@pytest.fixture
def jobs(engine: Engine, url: str) -> Iterator[Jobs]:
    job_port.prepare(url)
    opened = job_port.open_jobs(url)
    yield opened
    opened.destroy()


FIRST = Received(
    sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
    sop_instance_uid="1.2.3.1",
    study_instance_uid="1.2",
    series_instance_uid="1.2.3",
    modality="CT",
    transfer_syntax_uid="1.2.840.10008.1.2.1",
    number=1,
    path=Path("spool/1.dcm"),
    sha256="0" * 64,
    size=100,
    source="pacs",
    calling_ae="PACS",
    patient_id="P1",
    study_date="20260101",
    series_description="HEAD",
)


@pytest.fixture
def received() -> Callable[[int], Received]:
    """Return the n-th instance of one series."""

    def make(number: int) -> Received:
        return replace(
            FIRST,
            sop_instance_uid=f"1.2.3.{number}",
            number=number,
            path=Path(f"spool/{number}.dcm"),
        )

    return make
