"""Lists of instances say what a series should hold, and what answer is owed for them."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from pydicom.uid import SegmentationStorage

from ich_node.records import Announcement, Expected, Received, Referenced
from ich_node.selftest.series import save
from ich_node.states import AnnouncementState
from ich_node.store import announcements, commitments, instances, results, revisions
from ich_node.store.commitments import Owed
from ich_node.store.engine import Engine, writing
from ich_node.store.jobs import Jobs
from ich_node.store.results import KeptResult
from ich_node.store.tables import announcement, instance, result
from tests.support.peers import small_object
from tests.unit.store.conftest import FIRST

Make = Callable[[int], Received]
CT = FIRST.sop_class_uid
COMPLETED, ASKED = AnnouncementState.COMPLETED, AnnouncementState.ASKED
COMMITMENT, NOTICE = "storage commitment", "instance availability"


def listing(
    numbers: range, kind: str = NOTICE, state: AnnouncementState = COMPLETED, uid: str = "9.1"
) -> Announcement:
    series = None if kind == COMMITMENT else "1.2.3"
    members = tuple(Referenced(CT, f"1.2.3.{number}", series) for number in numbers)
    return Announcement(uid, kind, state, "SENDER", members)


def stored(engine: Engine, received: Make, numbers: range, series: str = "1.2.3") -> None:
    for number in numbers:
        one = replace(received(number), series_instance_uid=series)
        instances.add(engine, one, priority=5, quiet_seconds=30.0)


def test_no_list_expects_nothing(engine: Engine, received: Make) -> None:
    stored(engine, received, range(1, 4))
    assert announcements.expected(engine, "1.2.3") is None


@pytest.mark.parametrize(
    ("listed", "found"),
    [
        (range(1, 11), Expected((NOTICE,), 10, 0, 0)),
        (range(1, 13), Expected((NOTICE,), 12, 2, 0)),
        (range(1, 9), Expected((NOTICE,), 8, 0, 2)),
    ],
)
def test_a_notice_says_what_a_series_holds(
    engine: Engine, received: Make, listed: range, found: Expected
) -> None:
    stored(engine, received, range(1, 11))
    assert announcements.keep(engine, listing(listed))
    assert announcements.expected(engine, "1.2.3") == found


def test_a_commitment_says_it_without_naming_the_series(engine: Engine, received: Make) -> None:
    """Instances of another series are not missed here; an unknown one may be of this series."""
    stored(engine, received, range(1, 6))
    stored(engine, received, range(6, 9), series="1.2.4")
    announcements.keep(engine, listing(range(1, 9), COMMITMENT, ASKED))
    assert announcements.expected(engine, "1.2.3") == Expected((COMMITMENT,), 5, 0, 0)
    announcements.keep(engine, listing(range(1, 10), COMMITMENT, ASKED, uid="9.2"))
    assert announcements.expected(engine, "1.2.3") == Expected((COMMITMENT,), 6, 1, 0)


def test_several_lists_add_up(engine: Engine, received: Make) -> None:
    stored(engine, received, range(1, 11))
    announcements.keep(engine, listing(range(1, 6)))
    announcements.keep(engine, listing(range(6, 11), uid="9.2"))
    assert announcements.expected(engine, "1.2.3") == Expected((NOTICE,), 10, 0, 0)


@pytest.mark.parametrize(
    ("ended", "found"),
    [(COMPLETED, Expected(("MPPS",), 4, 1, 0)), (AnnouncementState.DISCONTINUED, None)],
)
def test_a_procedure_step_speaks_when_it_is_completed(
    engine: Engine, received: Make, ended: AnnouncementState, found: Expected | None
) -> None:
    stored(engine, received, range(1, 4))
    begun = listing(range(1, 2), "MPPS", AnnouncementState.IN_PROGRESS)
    assert announcements.keep(engine, begun)
    assert announcements.expected(engine, "1.2.3") is None
    before = announcements.version(engine)
    whole = listing(range(1, 5), "MPPS", ended)
    assert announcements.amend(engine, whole) == AnnouncementState.IN_PROGRESS
    assert announcements.version(engine) > before
    assert announcements.expected(engine, "1.2.3") == found
    assert announcements.amend(engine, begun) == ended
    assert announcements.expected(engine, "1.2.3") == found


def test_a_list_that_is_known_stays_as_it_was(engine: Engine, received: Make) -> None:
    stored(engine, received, range(1, 4))
    assert announcements.keep(engine, listing(range(1, 4)))
    assert not announcements.keep(engine, listing(range(1, 9)))
    assert announcements.expected(engine, "1.2.3") == Expected((NOTICE,), 3, 0, 0)
    assert announcements.amend(engine, listing(range(1, 4), uid="8.8")) is None


def test_a_commitment_is_answered_truly(engine: Engine, received: Make) -> None:
    stored(engine, received, range(1, 3))
    members = (Referenced(CT, "1.2.3.1"), Referenced("1.1", "1.2.3.2"), Referenced(CT, "1.2.3.3"))
    announcements.keep(engine, Announcement("9.1", COMMITMENT, ASKED, "SENDER", members))
    truth = commitments.commitment(engine, "9.1")
    assert truth.calling_ae == "SENDER"
    assert truth.stored == members[:1]
    assert truth.conflicting == members[1:2]
    assert truth.missing == members[2:]


@pytest.mark.parametrize("gone", [{"deleted_at": 1.0}, {"missing": True}])
def test_what_was_deleted_or_lost_is_no_longer_stored(
    engine: Engine, received: Make, gone: dict[str, object]
) -> None:
    """Who asks may delete its own copy after the answer."""
    stored(engine, received, range(1, 3))
    announcements.keep(engine, listing(range(1, 3), COMMITMENT, ASKED))
    with writing(engine) as connection:
        first = instance.c.sop_instance_uid == "1.2.3.1"
        connection.execute(sa.update(instance).where(first).values(gone))
    truth = commitments.commitment(engine, "9.1")
    assert (truth.missing, truth.stored) == (
        (Referenced(CT, "1.2.3.1"),),
        (Referenced(CT, "1.2.3.2"),),
    )
    assert truth.event_type == 2


def test_our_own_results_are_stored_here_while_their_files_are_kept(
    engine: Engine, jobs: Jobs, received: Make, tmp_path: Path
) -> None:
    """What comes back is answered 0000H and dropped: who asks must not send it for ever."""
    stored(engine, received, range(1, 2))
    [found] = revisions.receiving(engine)
    key = revisions.open_revision(engine, jobs, found, "quiet")
    assert key is not None
    ours = [
        KeptResult("seg", f"2.25.{number}", tmp_path / f"{number}", "0") for number in (1, 2, 3)
    ]
    for kept in ours[:2]:
        save(small_object(1, SegmentationStorage, SOPInstanceUID=kept.sop_instance_uid), kept.path)
    with writing(engine) as connection:
        results.keep(connection, key, ours)
    asked = (
        Referenced(SegmentationStorage, "2.25.1"),
        Referenced(CT, "2.25.2"),
        Referenced(SegmentationStorage, "2.25.3"),
    )
    announcements.keep(engine, Announcement("9.1", COMMITMENT, ASKED, "SENDER", asked))
    truth = commitments.commitment(engine, "9.1")
    assert (truth.stored, truth.conflicting, truth.missing) == (asked[:1], asked[1:2], asked[2:])
    with writing(engine) as connection:
        connection.execute(sa.update(result).values(deleted_at=1.0))
    assert commitments.commitment(engine, "9.1").missing == asked


def test_an_answer_is_owed_until_it_was_given_or_a_day_has_passed(engine: Engine) -> None:
    announcements.keep(engine, listing(range(1, 3), COMMITMENT, ASKED))
    assert commitments.owed(engine) == []  # its association is there
    commitments.settle(engine, ["9.1"], AnnouncementState.OWED)
    assert commitments.owed(engine) == [Owed("9.1", "SENDER", 0, None)]
    commitments.settle(engine, ["9.1"], AnnouncementState.REPORTED)
    commitments.settle(engine, ["9.1"], AnnouncementState.OWED)
    assert commitments.owed(engine) == []


@pytest.mark.parametrize(("age_s", "waits"), [(100, False), (200, True), (90_000, False)])
def test_an_association_that_died_with_us_leaves_its_answer_owed(
    engine: Engine, age_s: float, waits: bool
) -> None:
    announcements.keep(engine, listing(range(1, 3), COMMITMENT, ASKED))
    with writing(engine) as connection:
        connection.execute(sa.update(announcement).values(received_at=time.time() - age_s))
    assert bool(commitments.owed(engine)) is waits
