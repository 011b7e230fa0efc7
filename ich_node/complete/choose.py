"""Which series is to be read: refusing on header facts alone, and choosing among several.

What needs positions or pixels (tilt, spacing, HU, is it a head, does it hold contrast medium) is
decided when the series is assembled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ich_node.complete.facts import SeriesFacts
from ich_node.complete.words import Kernel
from ich_node.errors import Reason
from ich_node.geometry import MIN_SLICES, WHOLE_HEAD_MM
from ich_node.records import Refusal
from ich_node.settings import Selection

# The model has learned from 5 mm slices.
PREFERRED_THICKNESS_MM = 5.0
_MANY = 1_000_000

# A series that nobody would expect to be read needs no object in the PACS to say so.
_SILENT = frozenset(
    {Reason.NOT_CT, Reason.LOCALIZER, Reason.DOSE_REPORT, Reason.NOT_ORIGINAL}
    | {Reason.NOT_HEAD, Reason.NOT_CHOSEN}
)
# What of a study speaks for it where nothing could be read: a head CT that fails at its geometry or
# pixels before one that was never meant to be read; of these, the later the nearer.
_FARTHEST = (
    *(Reason.PERFUSION, Reason.TOO_FEW_SLICES, Reason.NOT_AXIAL, Reason.BONE_KERNEL),
    *(Reason.CONTRAST, Reason.THICKNESS, Reason.NOT_A_HEAD, Reason.CHILD),
)


def refuse(facts: SeriesFacts, rules: Selection) -> Refusal | None:
    """Return why a series is not one to read, or None where its headers give no reason."""
    found = (check(facts, rules) for check in _CHECKS)
    return next(filter(None, found), None)


def choose_series(
    candidates: Sequence[SeriesFacts], rules: Selection
) -> tuple[list[SeriesFacts], list[tuple[SeriesFacts, Refusal]]]:
    """Put the series of one folder or study that can be read in order, the best one first.

    Axial comes before other directions, then a whole head before a part, a soft kernel before an
    unknown one, the thickness nearest to 5 mm, the most slices, and last the UID, so that the
    choice is always the same.

    Returns
    -------
    readable, refused
        ``refused`` holds every other series, in the order given, with the reason.
    """
    judged = [(facts, refuse(facts, rules)) for facts in candidates]
    readable = [facts for facts, refusal in judged if refusal is None]
    refused = [(facts, refusal) for facts, refusal in judged if refusal is not None]
    return sorted(readable, key=order, reverse=True), refused


def is_better(facts: SeriesFacts, other: SeriesFacts) -> bool:
    """Tell whether a series is to be read rather than another one that could be read too."""
    return order(facts) > order(other)


def may_become_better(coming: SeriesFacts, facts: SeriesFacts, rules: Selection) -> bool:
    """Tell whether a series that is still coming may turn out better than a complete one.

    Parameters
    ----------
    coming
        Facts of what has come so far.
    """
    return may_be_read(coming, rules) and is_better(replace(coming, slices=_MANY), facts)


def may_be_read(coming: SeriesFacts, rules: Selection) -> bool:
    """Tell whether a series that is still coming may turn out to be one to read."""
    return refuse(replace(coming, slices=_MANY), rules) is None


def passed_over(facts: SeriesFacts, chosen: SeriesFacts) -> Refusal:
    """Say why a series that could be read was not chosen."""
    return Refusal(
        Reason.NOT_CHOSEN,
        f"series {chosen.series_instance_uid} was chosen: this one {difference(facts, chosen)}",
    )


def difference(facts: SeriesFacts, better: SeriesFacts) -> str:
    """Say what makes a series less suited than a better one, as what "this one" does."""
    pairs = zip(order(facts), order(better), _CRITERIA, strict=True)
    return next((word for mine, best, word in pairs if mine != best), _CRITERIA[-1])


def is_told(facts: SeriesFacts, refusal: Refusal) -> bool:
    """Tell whether the PACS is to know that this series was not read: it held a head CT.

    What shows no brain is a head CT only where its headers say so.
    """
    if refusal.reason in _SILENT:
        return False
    return facts.head is not None or refusal.reason is not Reason.NOT_A_HEAD


def speaker(refused: Sequence[tuple[SeriesFacts, Refusal]]) -> tuple[SeriesFacts, Refusal] | None:
    """Return the refusal that speaks for a study of which nothing was read; None where none does.

    It is that of the series nearest to being read.
    """
    told = [(facts, refusal) for facts, refusal in refused if is_told(facts, refusal)]
    return max(told, key=lambda one: (_nearness(one[1].reason), order(one[0])), default=None)


def notes(facts: SeriesFacts, rules: Selection) -> list[str]:
    """What an administrator should know of a series that is read: what its headers left open."""
    said = []
    if rules.min_age and facts.age_years is None:
        said.append("the patient's age is unknown; taken for an adult's head")
    if facts.kernel is Kernel.UNKNOWN:
        said.append("the reconstruction kernel has no known name; taken for a soft one")
    if facts.thickness_mm is None:
        said.append("Slice Thickness (0018,0050) is absent")
    return said


def _nearness(reason: Reason) -> int:
    return _FARTHEST.index(reason) if reason in _FARTHEST else len(_FARTHEST)


# What decides between two series that could both be read, in this order, and how to say so.
_CRITERIA = (
    "is not axial",
    "shows only part of a head",
    "has a less suitable kernel",
    f"has a thickness farther from {PREFERRED_THICKNESS_MM:g} mm",
    "has fewer slices",
    "is equally good, and was not the first by UID",
)


def order(facts: SeriesFacts) -> tuple[Any, ...]:
    """Return what series that could be read are compared by: larger is better, none are equal."""
    thickness = facts.thickness_mm
    return (
        facts.axial is not False,
        thickness is None or facts.slices * thickness >= WHOLE_HEAD_MM,
        facts.kernel,
        -abs((thickness or PREFERRED_THICKNESS_MM) - PREFERRED_THICKNESS_MM),
        facts.slices,
        [-ord(letter) for letter in facts.series_instance_uid],
    )


Check = Callable[[SeriesFacts, Selection], Refusal | None]


def _not_ct(facts: SeriesFacts, _rules: Selection) -> Refusal | None:
    if facts.ct:
        return None
    return Refusal(
        Reason.NOT_CT,
        f"all {facts.instances} instances are {facts.sop_class}, none is a CT image",
    )


def _localizer(facts: SeriesFacts, _rules: Selection) -> Refusal | None:
    if facts.localizers != facts.ct:
        return None
    return Refusal(
        Reason.LOCALIZER, f"all {facts.ct} CT images are localizers (Image Type value 3)"
    )


def _computed(facts: SeriesFacts, _rules: Selection) -> Refusal | None:
    if 2 * facts.computed <= facts.slices:
        return None
    return Refusal(
        Reason.NOT_ORIGINAL,
        f"{facts.computed} of {facts.slices} CT images are computed from a volume, as "
        "reformats or renderings (Image Type); only original axial images are read",
    )


# Facts that hold the rule's word, the reason they give, and what it makes of the series.
_BY_WORD: Mapping[str, tuple[Reason, str, str]] = {
    "localizer": (Reason.LOCALIZER, "localizer_words", "a localizer"),
    "dose_report": (Reason.DOSE_REPORT, "dose_report_words", "a report, not images to read"),
    "reformat": (Reason.NOT_ORIGINAL, "reformat_words", "a reformat; original images are read"),
    "other_body": (Reason.NOT_HEAD, "other_body_words", "of another part of the body"),
    "perfusion": (Reason.PERFUSION, "perfusion_words", "a perfusion series"),
}


def _by_word(facts: SeriesFacts, _rules: Selection) -> Refusal | None:
    for name, (reason, key, what) in _BY_WORD.items():
        word = getattr(facts, name)
        if word is not None:
            return Refusal(
                reason, f"its headers have the word {word!r} (selection.{key}): it is {what}"
            )
    return None


def _contrast(facts: SeriesFacts, _rules: Selection) -> Refusal | None:
    if facts.contrast is None:
        return None
    return Refusal(
        Reason.CONTRAST,
        f"contrast medium: {facts.contrast}; only head CT without contrast medium is read",
    )


def _child(facts: SeriesFacts, rules: Selection) -> Refusal | None:
    if facts.age_years is None or facts.age_years >= rules.min_age:
        return None
    return Refusal(
        Reason.CHILD,
        f"the patient is younger than {rules.min_age:g} years (selection.min_age); "
        "the model knows adult heads only",
    )


def _bone(facts: SeriesFacts, _rules: Selection) -> Refusal | None:
    if facts.kernel is Kernel.BONE:
        said = f"Convolution Kernel (0018,1210) is {facts.kernel_name}, made for bone"
    elif facts.kernel is Kernel.UNKNOWN and facts.bone is not None:
        said = f"its description has the word {facts.bone!r} (selection.bone_words)"
    else:
        return None
    return Refusal(Reason.BONE_KERNEL, f"{said}; send a soft tissue reconstruction")


def _thickness(facts: SeriesFacts, rules: Selection) -> Refusal | None:
    thickness = facts.thickness_mm
    if thickness is None or rules.min_thickness_mm <= thickness <= rules.max_thickness_mm:
        return None
    return Refusal(
        Reason.THICKNESS,
        f"slices are {thickness:g} mm thick; {rules.min_thickness_mm:g} to "
        f"{rules.max_thickness_mm:g} mm are read (selection.min_thickness_mm, max_thickness_mm)",
    )


def _too_few(facts: SeriesFacts, _rules: Selection) -> Refusal | None:
    if facts.slices >= MIN_SLICES:
        return None
    return Refusal(
        Reason.TOO_FEW_SLICES,
        f"{facts.slices} CT slices; at least {MIN_SLICES} are needed: send the whole series",
    )


_CHECKS: tuple[Check, ...] = (
    *(_not_ct, _localizer, _computed, _by_word, _contrast),
    *(_child, _bone, _thickness, _too_few),
)
