"""Completeness of a series: the evidence that decides, strongest first.

DICOM has no signal for the end of a series. What speaks for it is collected here, and what speaks
against it: then only the quiet time decides.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from ich_node.complete.quiet import quiet
from ich_node.complete.snapshot import Decision, SeriesSnapshot
from ich_node.complete.stack import Stack
from ich_node.geometry import WHOLE_HEAD_MM

# What a sender that goes on sending may take between two images, s, and as many times the longest
# pause that it has made in this series.
GRACE_S = 1.0
GRACE_PAUSES = 1.25
# So far apart, s, two equal answers of a PACS show that it is not receiving the series itself.
AGREE_S = 0.4
# A PACS that sends on image by image what it is still being sent has as many at any time: only its
# pace tells, so many times the longest pause.
SENT_ON_PAUSES = 2.0
# The pixels of its ends are looked at after this part of that time: the answer is there in time.
LOOK_PART = 0.5
# A peer that keeps its association open may be done with a series all the same.
STILL_S = 5.0


@dataclass(frozen=True)
class Opinion:
    """What one kind of evidence says: the series is ``complete``, or it cannot be yet; and why."""

    kind: str
    complete: bool
    text: str


Evidence = Callable[[SeriesSnapshot, float], Opinion | None]


def decide(snapshot: SeriesSnapshot, now: float, quiet_seconds: float) -> Decision | None:
    """Return what makes a series complete, or None while it may still grow.

    Parameters
    ----------
    snapshot
        The series.
    now
        Seconds since the epoch.
    quiet_seconds
        How long nothing must have come if nothing else decides; for this source or for all.
    """
    if snapshot.instances == 0:
        return None
    for kinds in EVIDENCE:
        opinions = [opinion for kind in kinds if (opinion := kind(snapshot, now)) is not None]
        if any(not opinion.complete for opinion in opinions):
            break
        if opinions:
            return Decision("; ".join(opinion.text for opinion in opinions))
    return quiet(snapshot, now, quiet_seconds)


def against(snapshot: SeriesSnapshot, now: float) -> list[Opinion]:
    """Return what speaks against a series being complete, for the log."""
    opinions = [kind(snapshot, now) for kinds in EVIDENCE for kind in kinds]
    return [found for found in opinions if found is not None and not found.complete]


def is_settled(snapshot: SeriesSnapshot, now: float, part: float = 1.0) -> bool:
    """Tell whether the sender has stopped, as far as its own pace tells, or a part of this time."""
    grace = max(GRACE_S, GRACE_PAUSES * snapshot.longest_pause_s)
    return snapshot.open_associations == 0 and now - snapshot.last_received >= part * grace


def may_ask(snapshot: SeriesSnapshot, now: float) -> bool:
    """Tell whether a PACS may be asked: the sender seems to be done."""
    return snapshot.open_associations == 0 or now - snapshot.last_received >= STILL_S


def listed(snapshot: SeriesSnapshot, now: float) -> Opinion | None:
    """Every instance that a list of the sender names is here, and no other.

    A list that names only a part of what is here may be one of several, and says nothing. Nor need
    one that names all of it name the whole series: a storage commitment may be asked for each part.
    """
    expected, stack = snapshot.expected, snapshot.stack
    if expected is None or expected.unlisted or not stack.worth_reading:
        return None
    said = f"{' and '.join(expected.kinds)} lists {expected.listed} instances"
    if expected.missing:
        return Opinion("list", False, f"{said}, {expected.missing} of them have not come")
    if stack.gap:
        return Opinion("list", False, f"{said} and all came, but there is {stack.gap}")
    if stack.in_acquisition is not None and stack.in_acquisition > stack.slices:
        return None  # the scanner speaks against it below
    # Who asks for a commitment keeps its association open until it is answered.
    released = replace(snapshot, open_associations=0)
    return Opinion("list", True, f"{said}, all came") if is_settled(released, now) else None


def query(snapshot: SeriesSnapshot, now: float) -> Opinion | None:
    """The PACS has as many instances, twice in a row, and those here have no gap.

    A PACS may itself still be receiving: fed in parallel, or sending on what it gets. One that has
    none has not heard of the series, and cannot tell.
    """
    counts, stack = snapshot.counts, snapshot.stack
    if not counts or counts[-1].instances == 0 or not stack.worth_reading:
        return None
    latest = counts[-1]
    said = f"C-FIND counts {latest.instances} instances in the PACS"
    if latest.instances != snapshot.instances:
        return Opinion("C-FIND", False, f"{said}, {snapshot.instances} came")
    if stack.gap:
        return Opinion("C-FIND", False, f"{said} and as many came, but there is {stack.gap}")
    since = latest.asked_at
    for count in reversed(counts):
        if count.instances != latest.instances:
            break
        since = count.asked_at
    if latest.asked_at - since < AGREE_S:
        return None
    if now - snapshot.last_received < SENT_ON_PAUSES * snapshot.longest_pause_s:
        return None
    return Opinion("C-FIND", True, f"{said}, all came")


def acquisition(snapshot: SeriesSnapshot, now: float) -> Opinion | None:
    """As many images came as the scanner says that it acquired (0020,1002), and show a whole head.

    Only acquisitions of which something came are known: of a head scanned in groups, others may
    be to come.
    """
    stack = snapshot.stack
    if stack.in_acquisition is None or not stack.worth_reading or not is_settled(snapshot, now):
        return None
    said = f"Images in Acquisition says {stack.in_acquisition} images"
    if stack.in_acquisition > stack.slices:
        return Opinion("images in acquisition", False, f"{said}, {stack.slices} came")
    if stack.gap:
        return Opinion(
            "images in acquisition", False, f"{said} and as many came, but there is {stack.gap}"
        )
    if stack.height_mm < WHOLE_HEAD_MM:
        return None
    return Opinion("images in acquisition", True, f"{said}, all came")


def is_worth_a_look(snapshot: SeriesSnapshot, now: float) -> bool:
    """Tell whether to look at the pixels of the ends: in good time, if the headers show a head."""
    return _may_be_whole(snapshot.stack) and is_settled(snapshot, now, LOOK_PART)


def _may_be_whole(stack: Stack) -> bool:
    return (
        stack.worth_reading
        and stack.placed
        and stack.numbered
        and not stack.gap
        and stack.height_mm >= WHOLE_HEAD_MM
    )


def geometry(snapshot: SeriesSnapshot, now: float) -> Opinion | None:
    """The slices are a gap-free stack that ends outside the brain at both ends.

    A series that is still growing is gap-free too: it must reach from the skull base to the air
    above the vertex, and the sender must have stopped.
    """
    if not (_may_be_whole(snapshot.stack) and snapshot.ends_outside):
        return None
    if not is_settled(snapshot, now):
        return None
    return Opinion(
        "geometry",
        True,
        f"geometry: {snapshot.instances} instances numbered 1 to {snapshot.instances}, "
        f"{snapshot.stack.height_mm:.0f} mm without a gap from the skull base to above the vertex, "
        f"association released",
    )


# Kinds of one row must not contradict one another; a row decides before those below it.
EVIDENCE: tuple[tuple[Evidence, ...], ...] = ((listed, query), (acquisition, geometry))
