"""What was deleted is built again as it was, byte for byte, and is delivered."""

import time
from pathlib import Path

import pydicom
import pytest

from ich_node.deliver.standin import StandInPacs
from ich_node.pipeline import again, purge
from ich_node.pipeline.delivery import Deliverer, make_attempt
from ich_node.records import Wanted
from ich_node.settings import Destination, Retention, Settings
from ich_node.states import DUE
from ich_node.store import deliveries, instances
from tests.support.mutations import BROKEN
from tests.support.series import Series
from tests.unit.pipeline.test_analysis import settings
from tests.unit.pipeline.test_study import STUDY, Desk, desk, series

__all__ = ["settings"]

KINDS = Wanted(("sc", "seg-labelmap", "pr"))
OUTPUTS = ("seg", "sr", *KINDS.kinds)
DAY_S = 86400.0


def deliver(it: Desk, key: str, pacs: StandInPacs) -> dict[str, bytes]:
    """Deliver a revision until nothing is due; return what the PACS holds, and let it lose all."""
    pacs_here = Destination(
        name="pacs", ae_title="PACS", host="127.0.0.1", port=pacs.port, outputs=OUTPUTS
    )
    deliverer = Deliverer(it.engine, it.jobs, "ICH_NODE", {"pacs": pacs_here})
    while (row := deliveries.find(it.engine, key, "pacs")) is not None and row.state in DUE:
        make_attempt(deliverer, key, "pacs", row.attempt)
    held = {path.name: path.read_bytes() for path in pacs.received()}
    for path in pacs.received():
        path.unlink()
    return held


def purge_all(it: Desk, settings: Settings) -> None:
    """Let everything outlive its time; then the images come once more."""
    images = {path: path.read_bytes() for path in it.spool.rglob("*.dcm")}
    uids = [str(pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID) for path in images]
    given = settings.model_copy(update={"retention": Retention(originals_days=1, results_days=1)})
    for days in (2, 3):
        planned = purge.plan(it.engine, given, time.time() + days * DAY_S)
        purge.carry_out(it.engine, given, planned)
    assert not list(it.spool.rglob("*.dcm"))
    assert not list(settings.results_dir.iterdir())
    for path, data in images.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    for uid in uids:
        known = instances.find(it.engine, uid)
        assert known is not None
        instances.restore(it.engine, known)


@pytest.mark.parametrize(
    ("images", "state", "objects"),
    [(series(1), "reported", 17), (series(1, BROKEN["two slices missing"][1]), "refused", 2)],
    ids=["analysed", "refused"],
)
def test_what_was_purged_comes_again_byte_for_byte(
    settings: Settings, tmp_path: Path, images: Series, state: str, objects: int
) -> None:
    pacs = StandInPacs.start(tmp_path / "pacs")
    try:
        with desk(settings, 0.2, KINDS) as it:
            (uid,) = it.receive(images)
            it.complete(uid)
            assert it.ended(uid)[uid]["state"] == state
            before = deliver(it, f"{uid}:1", pacs)
            purge_all(it, settings)
            said = again.reprocess(it.engine, it.jobs, STUDY)
            assert said == [f"series {uid}: analysed again as a new revision"]
            assert it.ended(uid)[uid]["revision"] == 2
            after = deliver(it, f"{uid}:2", pacs)
            assert it.story()[uid]["deliveries"] == {"pacs": "delivered"}
    finally:
        pacs.stop()
    assert len(before) == objects
    assert after == before
