"""A built object is kept: the same work finds it, a crash leaves nothing half-built."""

from dataclasses import replace
from datetime import datetime
from hashlib import sha256
from pathlib import Path

import pytest
from pydicom.uid import Comprehensive3DSRStorage

from ich_node.errors import Reason
from ich_node.pipeline.kept import (
    build_missing,
    build_once,
    clear_damaged,
    edition,
    objects_of,
    result_key,
)
from ich_node.records import Edition, ModelIdentity, Refusal, Superseded, Wanted
from ich_node.selftest.series import save
from ich_node.states import SeriesEvent
from ich_node.store import instances, results, revisions, works
from ich_node.store.engine import Engine, writing
from ich_node.store.jobs import Jobs
from ich_node.store.results import KeptResult
from tests.support.peers import small_object
from tests.unit.pipeline.conftest import KEY
from tests.unit.store.conftest import FIRST

MODEL = ModelIdentity("m", "1", "a" * 64, "cpu", "bf16")


def write(content: str):
    return lambda part: (part / "sr.dcm").write_text(content)


def test_the_second_build_finds_the_first(tmp_path: Path) -> None:
    folder = tmp_path / "key"
    assert build_once(folder, write("one"))
    assert not build_once(folder, write("two"))
    assert (folder / "sr.dcm").read_text() == "one"


def test_a_build_that_fails_leaves_no_folder(tmp_path: Path) -> None:
    """What a crash or a failed check left behind is not taken for a result."""
    folder = tmp_path / "key"

    def crash(part: Path) -> None:
        (part / "seg.dcm").write_text("half")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        build_once(folder, crash)
    assert not folder.exists()
    assert build_once(folder, write("whole"))
    assert [path.name for path in folder.iterdir()] == ["sr.dcm"]


def test_a_folder_without_its_report_is_no_result(tmp_path: Path) -> None:
    """It is built anew, whole: what stands there alone must not leave."""
    folder = tmp_path / "key"
    (folder / "sc").mkdir(parents=True)
    (folder / "sc" / "a.dcm").write_text("alone")
    assert build_once(folder, write("whole"))
    assert [path.name for path in folder.iterdir()] == ["sr.dcm"]


@pytest.mark.parametrize("damage", ["gone", "altered", "none"])
def test_results_that_lost_an_object_are_built_again(
    engine: Engine, jobs: Jobs, tmp_path: Path, damage: str
) -> None:
    """Never a report without the SEG that it refers to, and never other bytes than were built."""
    folder = tmp_path / "results" / "key"
    build_once(folder, both)
    with writing(engine) as connection:
        known = [
            KeptResult(name, f"2.25.{name}", folder / f"{name}.dcm", digest(name))
            for name in ("seg", "sr")
        ]
        results.keep(connection, KEY, known)
    if damage == "gone":
        (folder / "seg.dcm").unlink()
    elif damage == "altered":
        (folder / "seg.dcm").write_text("other")
    clear_damaged(engine, "1.2.3", folder)
    assert build_once(folder, both) == (damage != "none")
    assert (folder / "seg.dcm").read_text() == "seg"


def digest(content: str) -> str:
    return sha256(content.encode()).hexdigest()


def both(part: Path) -> None:
    for name in ("seg", "sr"):
        (part / f"{name}.dcm").write_text(name)


def test_an_edition_is_fixed_once(engine: Engine, jobs: Jobs, tmp_path: Path) -> None:
    """When it was made, and whose place it takes: whatever comes or goes later."""
    revision = revisions.load(engine, KEY)
    first = edition(engine, revision, tmp_path / "2.25.7")
    assert first.supersedes is None
    assert edition(engine, revision, tmp_path / "2.25.7") == first
    assert works.find(engine, "2.25.7") == first
    assert works.find(engine, "2.25.8") is None
    takes_place = Edition(datetime(2026, 1, 2, 3, 4, 5, 6), Superseded(1, "1.2", "1.3", "1.4"))
    assert works.begin(engine, "2.25.8", takes_place) == takes_place
    assert works.begin(engine, "2.25.8", first) == takes_place, "of two processes one fixes it"
    assert works.find(engine, "2.25.8") == takes_place


@pytest.mark.parametrize("late", [False, True], ids=["same images", "a late image"])
def test_an_edition_knows_whether_the_report_before_was_of_the_same_images(
    engine: Engine, jobs: Jobs, tmp_path: Path, late: bool
) -> None:
    """Read again by another model it was not made before all images had come."""
    report = tmp_path / "2.25.7" / "sr.dcm"
    report.parent.mkdir()
    save(small_object(101, sop_class=Comprehensive3DSRStorage), report)
    with writing(engine) as connection:
        results.keep(connection, KEY, [KeptResult("sr", "1.2.3.101", report, "0" * 64)])
        for event in (SeriesEvent.ASSEMBLED, SeriesEvent.INFERRED, SeriesEvent.REPORTED):
            revisions.apply(connection, KEY, event, "done")
        if not late:
            second = revisions.reopen(connection, jobs, "1.2.3", "asked for")
    if late:
        image = replace(FIRST, sop_instance_uid="1.2.3.2", path=tmp_path / "2.dcm")
        instances.add(engine, image, priority=5, quiet_seconds=1.0)
        [found] = revisions.receiving(engine)
        second = revisions.open_revision(engine, jobs, found, "late")
    before = edition(engine, revisions.load(engine, second), tmp_path / "2.25.8").supersedes
    assert before is not None
    assert (before.revision, before.same_images) == (1, not late)
    assert works.find(engine, "2.25.8").supersedes == before


def test_the_key_names_the_work_and_nothing_else() -> None:
    """Order of arrival does not count; sources, weights, device and precision do."""
    key = result_key(["1", "2"], MODEL)
    assert result_key(["2", "1"], MODEL) == key
    others = [
        result_key(["1", "3"], MODEL),
        result_key(["1", "2"], ModelIdentity("m", "1", "b" * 64, "cpu", "bf16")),
        result_key(["1", "2"], ModelIdentity("m", "1", "a" * 64, "cuda", "bf16")),
        result_key(["1", "2"], ModelIdentity("m", "1", "a" * 64, "cpu", "fp32")),
        result_key(["1", "2"], Refusal(Reason.GANTRY_TILT, "tilted")),
        result_key(["1", "2"], MODEL, Wanted(enhanced_sr=True)),
    ]
    assert len({key, *others}) == 7
    assert result_key(["1", "2"], MODEL, Wanted(("sc",))) == key


def add(part: Path, kinds: list[str]) -> None:
    for kind in kinds:
        (part / kind).mkdir()
        for name in ("b.dcm", "a.dcm"):
            (part / kind / name).write_text(kind)


def test_a_kind_that_is_asked_for_later_is_added_and_nothing_else_changes(tmp_path: Path) -> None:
    folder = tmp_path / "key"
    build_once(folder, write("one"))
    build_missing(folder, ["sc", "sr"], add)
    assert (folder / "sr.dcm").read_text() == "one"
    assert [path.name for path in objects_of(folder, "sc")] == ["a.dcm", "b.dcm"]
    build_missing(folder, ["sc"], lambda *_: pytest.fail("it is there"))
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_what_a_crash_left_of_a_kind_is_not_taken_for_it(tmp_path: Path) -> None:
    folder = tmp_path / "key"
    build_once(folder, write("one"))

    def crash(part: Path, kinds: list[str]) -> None:
        add(part, kinds)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        build_missing(folder, ["sc"], crash)
    assert objects_of(folder, "sc") == []
    build_missing(folder, ["sc"], add)
    assert len(objects_of(folder, "sc")) == 2
