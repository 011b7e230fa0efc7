"""A study of several series in a worker: one is read, one SR at most says that none was."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from dbos import DBOS

from deploy.demo.running import wait_for
from ich_node import node
from ich_node.pipeline import analysis
from ich_node.pipeline import engine as durable
from ich_node.pipeline.worker import Worker
from ich_node.records import CtVolume, Prediction, Wanted
from ich_node.settings import Selection, Settings
from ich_node.states import IllegalTransition, SeriesEvent
from ich_node.store import jobs as job_port
from ich_node.store import overview, revisions
from ich_node.store.engine import Engine, writing
from ich_node.store.jobs import Jobs
from tests.support.jobs import status_of
from tests.support.mutations import BROKEN
from tests.support.series import Series, head_series, set_each, write
from tests.unit.pipeline.test_analysis import StandIn, add, settings

__all__ = ["settings"]

_DEADLINE_S = 60.0
_ENDED = ("reported", "refused", "failed")
STUDY = "1.2.3.4"


def series(seed: int, mutate: Callable[[Series], Series] = lambda one: one, **values) -> Series:
    """One series of the study."""
    return set_each(StudyInstanceUID=STUDY, **values)(mutate(head_series(seed)))


@dataclass
class Desk:
    """A worker's database, to which series come."""

    engine: Engine
    jobs: Jobs
    spool: Path

    def receive(self, *every: Series) -> list[str]:
        """Store series that are still coming; return their UIDs."""
        for one in every:
            for path in write(one, self.spool / str(one[0].SeriesInstanceUID)):
                add(self.engine, path)
        return [str(one[0].SeriesInstanceUID) for one in every]

    def complete(self, *uids: str) -> None:
        for found in revisions.receiving(self.engine):
            if found.series_instance_uid in uids:
                revisions.open_revision(self.engine, self.jobs, found, "test")

    def story(self) -> dict[str, dict]:
        listed = overview.show(self.engine, STUDY)["series"]
        return {one["series_instance_uid"]: one for one in listed}

    def ended(self, *uids: str) -> dict[str, dict]:
        def look() -> dict[str, dict] | None:
            story = self.story()
            return story if all(story[uid]["state"] in _ENDED for uid in uids) else None

        return wait_for(look, _DEADLINE_S, "end of every series")

    def told(self) -> list[str]:
        """UIDs of the series with an SR."""
        return [
            uid
            for uid, one in self.story().items()
            for revision in one["revisions"]
            if any(built["kind"] == "sr" for built in revision["results"])
        ]


@contextmanager
def desk(
    settings: Settings,
    wait_seconds: float,
    wanted: Wanted | None = None,
    predictor: StandIn | None = None,
) -> Iterator[Desk]:
    engine = node.prepare(settings)
    jobs = job_port.open_jobs(settings.database_url)
    durable.configure(settings.database_url, executor_id="test")
    rules = Selection(wait_seconds=wait_seconds)
    analysis.register(
        Worker(
            "test:1:0",
            engine,
            jobs,
            predictor or StandIn(),
            settings.results_dir,
            ("pacs",),
            rules=rules,
            wanted=wanted or Wanted(),
        )
    )
    durable.launch({job_port.ANALYSE_QUEUE: 1})
    try:
        yield Desk(engine, jobs, settings.spool_dir)
    finally:
        DBOS.destroy()
        jobs.destroy()
        engine.dispose()


def test_the_best_series_is_read_and_the_others_say_why_not(settings: Settings) -> None:
    with desk(settings, wait_seconds=30) as it:
        best, thin, bone = it.receive(
            series(1), series(2, SliceThickness="2.5"), series(3, ConvolutionKernel="YA")
        )
        it.complete(best, thin, bone)
        story = it.ended(best, thin, bone)
        told = it.told()
    assert [story[uid]["reason"] for uid in (best, thin, bone)] == [
        None,
        "not_chosen",
        "bone_kernel",
    ]
    assert told == [best]
    listed = story[best]["revisions"][0]["other_series"]
    assert {one["series_instance_uid"] for one in listed} == {thin, bone}


def test_a_better_series_that_comes_later_is_read_too(settings: Settings) -> None:
    with desk(settings, wait_seconds=0.2) as it:
        (thin,) = it.receive(series(2, SliceThickness="2.5"))
        it.complete(thin)
        it.ended(thin)
        (best,) = it.receive(series(1))
        it.complete(best)
        story = it.ended(best)
        told = it.told()
    assert sorted(told) == sorted([thin, best])
    said = story[best]["revisions"][0]["notes"]
    assert any(thin in note and "was analysed too" in note for note in said)


def test_a_series_waits_for_a_better_one_that_is_coming(settings: Settings) -> None:
    with desk(settings, wait_seconds=60) as it:
        thin, best = it.receive(series(2, SliceThickness="2.5"), series(1)[:4])
        it.complete(thin)

        def waits() -> bool:
            events = overview.show(it.engine, STUDY)["events"]
            return any(event["kind"] == "waits" for event in events)

        wait_for(waits, _DEADLINE_S, "series that waits")
        it.receive(series(1)[4:])
        it.complete(best)
        story = it.ended(best)
    assert (story[best]["state"], story[thin]["state"]) == ("reported", "complete")


def test_a_second_job_of_a_series_that_has_ended_does_nothing(settings: Settings) -> None:
    """One is left over where a process dies between enqueuing another and its own end."""
    with desk(settings, wait_seconds=30) as it:
        (best,) = it.receive(series(1))
        it.complete(best)
        before = it.ended(best)[best]
        with writing(it.engine) as connection:
            job_port.enqueue_analysis(it.jobs, connection, f"{best}:1", attempt=7, turn=5)
        job = job_port.analysis_id(f"{best}:1", 7)
        wait_for(lambda: status_of(it.jobs, job) == "SUCCESS", _DEADLINE_S, "end of the job")
        assert it.story()[best] == before


def test_where_the_best_cannot_be_read_the_next_best_is(settings: Settings) -> None:
    with desk(settings, wait_seconds=30) as it:
        best, thin = it.receive(
            series(1, BROKEN["two slices missing"][1]), series(2, SliceThickness="2.5")
        )
        it.complete(best, thin)
        story = it.ended(best, thin)
        told = it.told()
    assert (story[best]["reason"], story[thin]["state"]) == ("missing_slices", "reported")
    assert told == [thin]


def test_a_study_of_which_nothing_is_read_gives_one_report(settings: Settings) -> None:
    with desk(settings, wait_seconds=0.2) as it:
        uids = it.receive(
            series(1, BROKEN["two slices missing"][1]),
            series(2, ConvolutionKernel="YA"),
            series(3, ContrastBolusAgent="OMNIPAQUE"),
            series(4, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]),
        )
        it.complete(*uids)
        story = it.ended(*uids)
        wait_for(it.told, _DEADLINE_S, "report")
        assert it.told() == uids[:1]
        story = it.story()
    assert [story[uid]["reason"] for uid in uids] == [
        "missing_slices",
        "bone_kernel",
        "contrast",
        "localizer",
    ]
    assert len(story[uids[0]]["revisions"][0]["deliveries"]) == 1


def states(story: dict) -> list[tuple[str, str | None]]:
    """State and reason of each revision of a series."""
    return [(one["state"], one["reason"]) for one in story["revisions"]]


REPLACED = ("refused", "not_chosen")


def test_a_revision_that_waits_ends_unread_when_a_later_one_takes_its_place(
    settings: Settings,
) -> None:
    """The later one keeps its own job, waits by itself, and is the only one that is told."""
    with desk(settings, wait_seconds=2.0) as it:
        whole = series(2, SliceThickness="2.5")
        thin, _ = it.receive(whole[:-1], series(1)[:4])
        it.complete(thin)
        it.receive(whole[-1:])
        it.complete(thin)

        def look() -> dict[str, dict] | None:
            story = it.story()
            ended = all(state in _ENDED for state, _ in states(story[thin]))
            return story if ended else None

        story = wait_for(look, _DEADLINE_S, "end of both revisions")
        attempts = {one.key: one.attempt for one in revisions.unfinished(it.engine)}
    assert states(story[thin]) == [REPLACED, ("reported", None)]
    assert "revision 2" in story[thin]["revisions"][0]["reason_text"]
    assert it.told() == [thin]
    assert attempts == {}


def test_what_rules_refuse_is_not_read_by_the_job_of_an_earlier_revision(
    settings: Settings,
) -> None:
    """Its later revision has ended by the time that the earlier one gets its job back."""
    with desk(settings, wait_seconds=60) as it:
        whole = series(3, ConvolutionKernel="YA")
        (bone,) = it.receive(whole[:-1])
        it.complete(bone)
        it.receive(whole[-1:])
        it.complete(bone)
        with writing(it.engine) as connection:
            revisions.apply(
                connection, f"{bone}:2", SeriesEvent.REFUSED, "why", reason="bone_kernel"
            )

        for one in revisions.unfinished(it.engine):
            with suppress(IllegalTransition), writing(it.engine) as connection:
                revisions.requeue(connection, it.jobs, one, "lost")
        wait_for(lambda: not revisions.unfinished(it.engine), _DEADLINE_S, "end of the earlier")
        story = it.story()
    assert states(story[bone]) == [REPLACED, ("refused", "bone_kernel")]
    assert story[bone]["revisions"][0]["results"] == []


def test_no_report_of_a_part_follows_that_of_the_whole(settings: Settings) -> None:
    """Another worker reads the later revision while this one is at the earlier."""
    whole = series(1)

    class Overtaken(StandIn):
        def predict(self, volume: CtVolume) -> Prediction:
            if not self.calls:
                it.receive(whole[-1:])
                it.complete(best)
                with writing(it.engine) as connection:
                    revisions.apply(connection, f"{best}:2", SeriesEvent.ASSEMBLED, "elsewhere")
            return super().predict(volume)

    with desk(settings, wait_seconds=30, predictor=Overtaken()) as it:
        best = str(whole[0].SeriesInstanceUID)
        it.receive(whole[:-1])
        it.complete(best)

        def look() -> dict[str, dict] | None:
            story = it.story()
            ended = all(one["state"] in _ENDED for one in story[best]["revisions"])
            return story if ended else None

        story = wait_for(look, _DEADLINE_S, "end of both revisions")
        told = it.told()
    assert states(story[best]) == [REPLACED, ("reported", None)]
    assert told == [best]
