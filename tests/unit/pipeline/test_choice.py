"""Which series of a study the daemon reads, by what stands in the tables and what headers say."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ich_node.complete.choose import order, refuse
from ich_node.complete.words import Kernel
from ich_node.errors import Reason
from ich_node.pipeline import choice
from ich_node.pipeline.choice import Sibling, decide, heir, spokesman
from ich_node.records import Refusal
from ich_node.settings import Selection
from ich_node.states import SeriesState
from ich_node.store.members import Member
from ich_node.store.revisions import Unfinished
from tests.unit.complete.test_choose import GOOD

RULES = Selection(wait_seconds=10)
BEST = replace(GOOD, series_instance_uid="1.2.1")
THIN = replace(GOOD, series_instance_uid="1.2.2", thickness_mm=1.0, slices=160)
BONE = replace(GOOD, series_instance_uid="1.2.3", kernel=Kernel.BONE)
SCOUT = replace(GOOD, series_instance_uid="1.2.4", localizers=1, ct=1, slices=0)


def made(mine, *siblings: Sibling, waited_s: float = 0.0, was_read: bool = False) -> choice.Choice:
    return decide(mine, siblings, RULES, waited_s=waited_s, was_read=was_read)


READ = choice.Choice()


def reason_of(found: choice.Choice) -> Reason | None:
    return found.refusal.reason if found.refusal else None


def test_the_only_candidate_is_read_at_once() -> None:
    """Whatever else is coming, as long as it cannot be better."""
    assert made(BEST) == READ
    assert made(BEST, Sibling(THIN, coming=True)) == READ
    assert made(THIN, Sibling(BONE, coming=True), Sibling(SCOUT, coming=True)) == READ
    assert made(THIN, Sibling(BONE, due=True), Sibling(SCOUT, due=True)) == READ


def test_a_series_waits_for_a_better_one_and_no_longer_than_it_may() -> None:
    coming = Sibling(replace(BEST, slices=1), coming=True)
    assert made(THIN, coming).wait_s == 10
    assert made(THIN, coming, waited_s=4).wait_s == 6
    assert made(THIN, coming, waited_s=10) == READ


@pytest.mark.parametrize("stand", ["due", "read"])
def test_a_series_is_passed_over_for_a_better_one(stand: str) -> None:
    better = Sibling(BEST, **{stand: True})
    assert reason_of(made(THIN, better)) is Reason.NOT_CHOSEN
    assert made(BEST, Sibling(THIN, **{stand: True})) == READ


def test_a_newer_revision_of_what_was_read_is_read() -> None:
    """It supersedes: a report of fewer images must not stand."""
    assert made(THIN, Sibling(BEST, read=True), was_read=True) == READ


def test_what_headers_refuse_waits_for_something_to_read() -> None:
    """That nothing was read is not said while better is to be expected."""
    assert made(BONE).wait_s == 10
    assert reason_of(made(BONE, waited_s=10)) is Reason.BONE_KERNEL
    assert reason_of(made(BONE, Sibling(BEST, due=True))) is Reason.BONE_KERNEL
    assert reason_of(made(BONE, Sibling(BEST, read=True))) is Reason.BONE_KERNEL
    assert reason_of(made(SCOUT)) is Reason.LOCALIZER


series = st.builds(
    replace,
    st.just(GOOD),
    series_instance_uid=st.from_regex(r"1\\.[1-9]{1,3}", fullmatch=True),
    kernel=st.sampled_from(Kernel),
    slices=st.integers(6, 60),
    thickness_mm=st.sampled_from([1.0, 2.5, 5.0, 12.0]),
    localizers=st.sampled_from([0, 0, 32]),
)


@given(
    st.lists(series, min_size=1, max_size=6, unique_by=lambda one: one.series_instance_uid),
    st.randoms(),
)
def test_of_series_that_are_all_there_one_is_read_whoever_looks_first(study, random) -> None:
    """Each decides on itself, in any order; nothing is left, and no two are read."""
    left, read, refused = list(study), [], []
    random.shuffle(left)
    while left:
        mine = left.pop()
        siblings = [Sibling(one, due=True) for one in left]
        siblings += [Sibling(one, read=True) for one in read]
        found = made(mine, *siblings, waited_s=10)
        assert not found.wait_s
        (refused if found.refusal else read).append(mine)
    readable = [one for one in study if refuse(one, RULES) is None]
    assert read == ([max(readable, key=order)] if readable else [])


class Study:
    """Members of one study, whose facts are given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.facts = {}
        self.members: list[Member] = []
        monkeypatch.setattr(
            choice, "facts_of_member", lambda one, _rules: self.facts[one.series_instance_uid]
        )

    def add(self, facts, state: SeriesState | None, reason: Reason | None = None, **values):
        uid = facts.series_instance_uid
        self.facts[uid] = facts
        member = Member(
            series_instance_uid=uid,
            coming=state is None,
            item=Unfinished(f"{uid}:1", 1) if state else None,
            state=state,
            refusal=Refusal(reason, "why") if reason else None,
            completed_at=0.0,
            was_read=False,
            has_results=False,
            paths=(Path("1.dcm"),),
        )
        self.members.append(replace(member, **values))
        return self

    @property
    def heir(self) -> str | None:
        found = heir(self.members, RULES)
        return found.series_instance_uid if found else None

    @property
    def told(self) -> tuple[str, Reason] | None:
        found = spokesman(self.members, RULES)
        return (found[0].series_instance_uid, found[1].reason) if found else None


@pytest.fixture
def study(monkeypatch: pytest.MonkeyPatch) -> Study:
    return Study(monkeypatch)


REFUSED = SeriesState.REFUSED
PASSED = Reason.NOT_CHOSEN
MIDDLE = replace(GOOD, series_instance_uid="1.2.5", thickness_mm=2.5, slices=64)


def test_the_best_passed_over_has_its_turn_when_nothing_is_read(study: Study) -> None:
    study.add(BEST, REFUSED, Reason.MISSING_SLICES)
    study.add(THIN, REFUSED, PASSED).add(MIDDLE, REFUSED, PASSED)
    assert study.heir == MIDDLE.series_instance_uid
    assert study.told is None


@pytest.mark.parametrize("state", [SeriesState.COMPLETE, SeriesState.INFERRED])
def test_nobody_has_a_turn_while_something_is_read(study: Study, state: SeriesState) -> None:
    study.add(BEST, state).add(THIN, REFUSED, PASSED)
    assert study.heir is None
    assert study.told is None


def test_a_study_of_refused_series_is_told_once_by_the_nearest(study: Study) -> None:
    study.add(SCOUT, REFUSED, Reason.LOCALIZER)
    study.add(BONE, REFUSED, Reason.BONE_KERNEL).add(BEST, REFUSED, Reason.NOT_HU)
    assert study.told == (BEST.series_instance_uid, Reason.NOT_HU)
    study.members[1] = replace(study.members[1], has_results=True)
    assert study.told is None


@pytest.mark.parametrize("state", [SeriesState.FAILED, SeriesState.DELIVERED, SeriesState.COMPLETE])
def test_a_study_with_anything_read_failed_or_due_is_not_told(study: Study, state) -> None:
    study.add(BEST, state).add(BONE, REFUSED, Reason.BONE_KERNEL)
    assert study.told is None


def test_only_what_may_be_read_holds_up_the_telling(study: Study) -> None:
    study.add(BONE, REFUSED, Reason.BONE_KERNEL).add(SCOUT, None)
    assert study.told == (BONE.series_instance_uid, Reason.BONE_KERNEL)
    study.add(BEST, None)
    assert study.told is None


def test_a_study_without_a_head_ct_is_not_told(study: Study) -> None:
    study.add(SCOUT, REFUSED, Reason.LOCALIZER)
    study.add(replace(BEST, head=None), REFUSED, Reason.NOT_A_HEAD)
    assert study.told is None
