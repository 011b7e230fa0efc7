"""One study whose SEG, SR and capture are due at a destination, and a clock that never waits."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from pydicom.uid import Comprehensive3DSRStorage, SecondaryCaptureImageStorage, SegmentationStorage

from ich_node.pipeline import proof
from ich_node.pipeline.delivery import Deliverer, make_attempt
from ich_node.selftest.series import save
from ich_node.settings import Destination
from ich_node.states import DeliveryState, SeriesEvent, SeriesState
from ich_node.store import deliveries, instances, overview, proofs, results, revisions
from ich_node.store import jobs as job_port
from ich_node.store.engine import Engine, migrate, open_engine, writing
from ich_node.store.jobs import Jobs
from ich_node.store.tables import delivery
from tests.support.peers import data_of, small_object
from tests.unit.store.conftest import FIRST

KEY, STUDY = "1.2.3:1", "1.2"
HOUR = 3600.0
CLASSES = {
    "seg": SegmentationStorage,
    "sr": Comprehensive3DSRStorage,
    "sc": SecondaryCaptureImageStorage,
}


@dataclass
class Clock:
    """What the node takes for the time."""

    now: float = 1_700_000_000.0

    def time(self) -> float:
        return self.now


@dataclass
class Site:
    """A deliverer with one study to deliver; `step` makes the attempt that is due, in no time."""

    engine: Engine
    jobs: Jobs
    files: dict[str, Path]
    clock: Clock
    destinations: dict[str, Destination] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)

    def uid(self, kind: str) -> str:
        return f"1.2.3.{101 + list(CLASSES).index(kind)}"

    def data(self, kind: str) -> bytes:
        """The bytes of an object's data set as they must arrive."""
        return data_of(self.files[kind])

    def due(self, port: int, name: str = "pacs", **values: Any) -> None:
        """Make the objects due at a destination of this node."""
        self.destinations[name] = Destination(
            name=name, ae_title="PACS", host="localhost", port=port, **values
        )
        with writing(self.engine) as connection:
            deliveries.open_deliveries(connection, self.jobs, KEY, [name])

    def row(self, name: str = "pacs") -> dict[str, Any]:
        query = sa.select(delivery).where(delivery.c.destination == name)
        with self.engine.connect() as connection:
            return dict(connection.execute(query).mappings().one())

    def step(self, name: str = "pacs") -> DeliveryState:
        """Go on to the time of the next attempt and make it."""
        row = self.row(name)
        self.clock.now = max(self.clock.now, row["next_at"] or 0.0)
        deliverer = Deliverer(self.engine, self.jobs, "ICH_NODE", self.destinations, **self.options)
        make_attempt(deliverer, KEY, name, row["attempt"])
        return DeliveryState(self.row(name)["state"])

    def until(self, state: DeliveryState, name: str = "pacs", attempts: int = 60) -> str:
        """Make attempts until the delivery is in a state; return its text."""
        seen = []
        while not seen or seen[-1] is not state:
            assert len(seen) < attempts, (seen, self.row(name)["text"])
            seen.append(self.step(name))
        return str(self.row(name)["text"])

    @property
    def series_state(self) -> SeriesState:
        return revisions.state_of(self.engine, KEY)

    def events(self) -> list[str]:
        return [event["kind"] for event in overview.show(self.engine, STUDY)["events"]]


@contextmanager
def site(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    kinds: tuple[str, ...] = ("seg", "sr", "sc"),
    **values: Any,
) -> Iterator[Site]:
    """A database in which one series is reported and its objects are kept, with these `values`."""
    clock = Clock()
    for module in (deliveries, proofs, proof):
        monkeypatch.setattr(module, "time", SimpleNamespace(time=clock.time))
    engine = open_engine(f"sqlite:///{folder / 'ich-node.sqlite'}")
    migrate(engine)
    job_port.prepare(str(engine.url))
    jobs = job_port.open_jobs(str(engine.url))
    files = {}
    for number, (kind, sop_class) in enumerate(CLASSES.items(), start=101):
        if kind in kinds:
            files[kind] = folder / f"{kind}.dcm"
            made = small_object(number, sop_class=sop_class, Modality=kind.upper(), **values)
            save(made, files[kind])
    _report(engine, jobs, files)
    try:
        yield Site(engine, jobs, files, clock)
    finally:
        jobs.destroy()
        engine.dispose()


def _report(engine: Engine, jobs: Jobs, files: dict[str, Path]) -> None:
    instances.add(engine, FIRST, priority=5, quiet_seconds=1.0)
    [found] = revisions.receiving(engine)
    assert revisions.open_revision(engine, jobs, found, "quiet") == KEY
    kept = [
        results.KeptResult(
            kind,
            f"1.2.3.{101 + list(CLASSES).index(kind)}",
            path,
            sha256(path.read_bytes()).hexdigest(),
        )
        for kind, path in files.items()
    ]
    with writing(engine) as connection:
        results.keep(connection, KEY, kept)
        for event in (SeriesEvent.ASSEMBLED, SeriesEvent.INFERRED, SeriesEvent.REPORTED):
            revisions.apply(connection, KEY, event, "done")
