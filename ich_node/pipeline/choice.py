"""Which series of a study the daemon reads: decided when one is complete, from all that is there.

Every series decides on itself, in its own job. The order of the series is total, so whoever looks
comes to the same end; a series that waits for a better one waits for so long and no longer; and
when what was chosen cannot be read, the best of those passed over takes its place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ich_node.complete import choose
from ich_node.complete.facts import SeriesFacts
from ich_node.errors import Reason, SeriesRefused
from ich_node.pipeline import stages
from ich_node.records import Refusal
from ich_node.settings import Selection
from ich_node.states import SeriesState
from ich_node.store.members import Member

# Of a series that is still coming, so many of its first images tell what it will be.
_SAMPLE = 3


@dataclass(frozen=True)
class Sibling:
    """Another series of the study: what it is, and where it stands."""

    facts: SeriesFacts
    coming: bool = False
    due: bool = False
    read: bool = False


@dataclass(frozen=True)
class Choice:
    """What is to become of a complete series: read unless there is a refusal or a wait.

    ``wait_s`` is how long to wait before it is looked at again.
    """

    refusal: Refusal | None = None
    wait_s: float = 0.0


def decide(
    mine: SeriesFacts,
    siblings: Sequence[Sibling],
    rules: Selection,
    *,
    waited_s: float,
    was_read: bool,
) -> Choice:
    """Decide on one complete series.

    Parameters
    ----------
    mine
        Its facts.
    siblings
        The other series of its study.
    waited_s
        How long it is complete, s.
    was_read
        An earlier revision of it was analysed; this one supersedes it.
    """
    rest = max(0.0, rules.wait_seconds - waited_s)
    refusal = choose.refuse(mine, rules)
    rivals = [
        one.facts
        for one in siblings
        if (one.due or one.read) and choose.refuse(one.facts, rules) is None
    ]
    if refusal is not None:
        # That nothing of a study was read is said only when nothing better is to be expected.
        waits = choose.is_told(mine, refusal) and not rivals
        return Choice(wait_s=rest) if waits and rest else Choice(refusal)
    best = max([mine, *rivals], key=choose.order)
    if best is not mine and not was_read:
        return Choice(choose.passed_over(mine, best))
    coming = (one.facts for one in siblings if one.coming)
    if rest and any(choose.may_become_better(one, mine, rules) for one in coming):
        return Choice(wait_s=rest)
    return Choice()


def replaced(later: int) -> SeriesRefused:
    """Say that a revision is not read because a later one, of this number, takes its place."""
    text = f"revision {later} of this series takes its place: images came after this one"
    return SeriesRefused(Reason.NOT_CHOSEN, text)


def siblings_of(
    members: Sequence[Member], series_instance_uid: str, rules: Selection
) -> list[Sibling]:
    """Return the other series of a study that have a say in the choice."""
    return [
        Sibling(facts, coming=one.coming, due=one.is_due, read=one.is_read)
        for one in members
        if one.series_instance_uid != series_instance_uid
        and (one.coming or one.is_due or one.is_read)
        and (facts := facts_of_member(one, rules)) is not None
    ]


def heir(members: Sequence[Member], rules: Selection) -> Member | None:
    """Return the series to read after all: the best that was passed over, if nothing else is read.

    None while anything of the study is read or about to be.
    """
    if any(one.is_due or one.is_read for one in members):
        return None
    found = {
        one.series_instance_uid: facts
        for one in members
        if one.was_passed_over and (facts := facts_of_member(one, rules)) is not None
    }
    return _best(members, found)


def _best(members: Sequence[Member], found: Mapping[str, SeriesFacts]) -> Member | None:
    waiting = [one for one in members if one.series_instance_uid in found]
    return max(waiting, key=lambda one: choose.order(found[one.series_instance_uid]), default=None)


def spokesman(members: Sequence[Member], rules: Selection) -> tuple[Member, Refusal] | None:
    """Return the refused series that speaks for a study of which nothing was read.

    None while anything may still be read, where something was read or failed, where the study is
    told already, and where it held no head CT.
    """
    if any(_holds_up(one, rules) for one in members):
        return None
    named = {one.series_instance_uid: one for one in members}
    refused = [
        (facts, one.refusal)
        for one in members
        if one.refusal is not None and (facts := facts_of_member(one, rules)) is not None
    ]
    found = choose.speaker(refused)
    return (named[found[0].series_instance_uid], found[1]) if found else None


def _holds_up(member: Member, rules: Selection) -> bool:
    if member.is_due or member.is_read or member.has_results:
        return True
    if not member.coming:
        return member.was_passed_over or member.state is SeriesState.FAILED
    facts = facts_of_member(member, rules)
    return facts is None or choose.may_be_read(facts, rules)


def others(members: Sequence[Member], mine: SeriesFacts, rules: Selection) -> list[dict[str, str]]:
    """List the other complete series of the study, each with the reason why it is not read."""
    listed = []
    for one in members:
        facts = facts_of_member(one, rules)
        if one.series_instance_uid == mine.series_instance_uid or one.coming or facts is None:
            continue
        refusal = one.refusal or choose.refuse(facts, rules)
        if one.is_due:
            refusal = refusal or choose.passed_over(facts, mine)
        if refusal is not None:
            listed.append(stages.listed(one.series_instance_uid, refusal))
    return listed


def notes(members: Sequence[Member], mine: SeriesFacts, rules: Selection) -> list[str]:
    """What people should know of a series that is read."""
    said = choose.notes(mine, rules)
    for one in members:
        if one.series_instance_uid != mine.series_instance_uid and one.is_read:
            facts = facts_of_member(one, rules)
            why = f": {choose.difference(facts, mine)}" if facts else ""
            said.append(f"series {one.series_instance_uid} of this study was analysed too{why}")
    return said


def facts_of_member(member: Member, rules: Selection) -> SeriesFacts | None:
    """Return the facts of a series; while it is coming, those of its first images."""
    if member.coming:
        return stages.facts_of_files(member.paths[:_SAMPLE], rules)
    return facts_of_paths(member.paths, rules)


@lru_cache(maxsize=32)
def facts_of_paths(paths: tuple[Path, ...], rules: Selection) -> SeriesFacts | None:
    """Return the facts of stored instances, which never change."""
    return stages.facts_of_files(paths, rules)
