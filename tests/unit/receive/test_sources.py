"""What the site says of a source goes with each series that it sends."""

from dataclasses import replace

import pytest
import sqlalchemy as sa

from ich_node.receive.intake import Intake, take
from ich_node.settings import Source
from ich_node.store.tables import series
from tests.support.peers import SENDER, incoming, small_object

SOURCES = {
    "1.2.10": SENDER.model_copy(update={"name": "emergency", "priority": 1, "quiet_seconds": 3}),
    "1.2.20": SENDER.model_copy(update={"name": "archive", "priority": 9, "quiet_seconds": 40}),
}


def sent(intake: Intake, uid: str, number: int, source: Source) -> int:
    image = small_object(number, SeriesInstanceUID=uid, StudyInstanceUID=f"{uid}.1")
    return take(intake, replace(incoming(image), source=source)).status


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_series_has_the_priority_and_quiet_time_of_its_source(
    intake: Intake, order: tuple[int, int]
) -> None:
    """By which the queue orders them (`store/turns.py`), whoever came first."""
    uids = list(SOURCES)
    for number in order:
        assert sent(intake, uids[number], number, SOURCES[uids[number]]) == 0x0000
    with intake.engine.connect() as connection:
        found = {
            row["series_instance_uid"]: row
            for row in connection.execute(sa.select(series)).mappings()
        }
    told = {
        uid: (row["source"], row["priority"], row["quiet_seconds"]) for uid, row in found.items()
    }
    assert told == {"1.2.10": ("emergency", 1, 3), "1.2.20": ("archive", 9, 40)}
