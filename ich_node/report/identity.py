"""Who made an object, and the UIDs that follow from what it was made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import NamedTuple

from ich_node import __version__
from ich_node.codes import SUBTYPES
from ich_node.records import Edition, ModelIdentity, Refusal, Superseded, Wanted
from ich_node.uids import derive

PRODUCT = "ich-node"
_USUAL = Wanted()


class ResultSeries(NamedTuple):
    """Series Number and the beginning of Series Description of one kind of result."""

    number: int
    description: str


# Fixed, so that hanging protocols can name them; far from the numbers that scanners count up.
RESULT_SERIES: Mapping[str, ResultSeries] = MappingProxyType(
    {
        "seg": ResultSeries(9701, "ICH AI segmentation"),
        "sr": ResultSeries(9702, "ICH AI report"),
        "seg-labelmap": ResultSeries(9703, "ICH AI label map"),
        "sc-summary": ResultSeries(9704, "ICH AI summary"),
        "sc-overlay": ResultSeries(9705, "ICH AI overlay"),
        "pr": ResultSeries(9706, "ICH AI outlines"),
    }
)

RESEARCH_USE = "Research use only. Not a medical device. Not for diagnosis."


@dataclass(frozen=True)
class Work:
    """What was done to what: one work has one set of UIDs.

    Parameters
    ----------
    model_name, version, serial
        Manufacturer's Model Name, Software Versions and Device Serial Number; the first two are
        Algorithm Name and Version wherever an algorithm is named (IHE AIR 6.5.3.1).
    device_uid
        Changes with product, version and weights.
    uids
        UID by name: for each of `RESULT_SERIES` that of the object, or what those of its objects
        are derived from, and of its series, ``<name>-series``; ``dimensions`` and
        ``dimensions-labelmap``; and ``tracking-<subtype>``.
    supersedes
        The report whose place this one takes, if any.
    enhanced_sr
        The SR is an Enhanced SR instead of a Comprehensive 3D SR.
    made
        When it was first done, as the objects tell; no part of its identity.
    """

    model_name: str
    version: str
    serial: str
    device_uid: str
    uids: Mapping[str, str]
    supersedes: Superseded | None = None
    enhanced_sr: bool = False
    made: datetime = field(default_factory=datetime.now, compare=False)


def work_of(
    sources: Iterable[str],
    by: ModelIdentity | Refusal,
    edition: Edition | None = None,
    wanted: Wanted = _USUAL,
) -> Work:
    """Return the identity of what `by` says of these source SOP Instance UIDs, in any order.

    Without an edition it is made now, and takes no other's place.
    """
    edition = edition or Edition(datetime.now())
    supersedes = edition.supersedes
    if isinstance(by, Refusal):
        # A refusal was decided without a model; the sentence is part of the object.
        model, version, serial = PRODUCT, __version__, "NO_MODEL"
        parts: tuple[str, ...] = ("refused", by.reason, by.text)
    else:
        model, serial = by.name[:64], by.sha256[:16]
        # Software Versions and Algorithm Version are LO: 64 characters.
        version = f"{by.version[:20]} ({PRODUCT} {__version__}, weights {serial})"[:64]
        parts = (by.sha256, by.precision, by.device)
    before = (supersedes.sop_instance_uid,) if supersedes else ()
    form = ("enhanced",) if wanted.enhanced_sr else ()
    content = (__version__, *form, *parts, *sorted(sources), *before)
    series = tuple(f"{name}-series" for name in RESULT_SERIES)
    kinds = (*RESULT_SERIES, *series, "dimensions", "dimensions-labelmap")
    tracking = tuple(f"tracking-{subtype}" for subtype in SUBTYPES)
    return Work(
        model_name=model,
        version=version,
        serial=serial,
        device_uid=derive("device", PRODUCT, __version__, *parts[:1]),
        uids={kind: derive(kind, *content) for kind in (*kinds, *tracking)},
        supersedes=supersedes,
        enhanced_sr=wanted.enhanced_sr,
        made=edition.made,
    )


def series_description(name: str, work: Work) -> str:
    """Return the Series Description (LO: 64 characters) of one of `RESULT_SERIES`."""
    what = RESULT_SERIES[name].description
    if work.supersedes is None:
        return f"{what}, research use only, not for diagnosis"
    return f"{what}, supersedes revision {work.supersedes.revision}, research use only"[:64]
