"""One image a place: where two acquisitions lie over one another, one of them is read.

Acquisition Number (0020,0012) alone splits nothing: scanners that stop for every slice count it up
from slice to slice. Only where images share a place does it say which belong together.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ich_node.assemble.checks import same_image
from ich_node.assemble.source import SourceImage, number, numbers, text
from ich_node.assemble.stack import SAME_POSITION_MM
from ich_node.errors import Reason, SeriesRefused
from ich_node.geometry import plane_axes

Place = list[SourceImage]


def one_image_a_place(
    images: Sequence[SourceImage], orientation: Sequence[float]
) -> tuple[list[SourceImage], dict[str, Any]]:
    """Keep one image of each place, and say which were left out.

    An image sent again under another UID is left out. Of two acquisitions the one that covers more
    places is kept, the lower number where they are equal; the other fills in only where the first
    has no image.

    Parameters
    ----------
    images
        Of one orientation, in any order.
    orientation
        The six direction cosines of the series.

    Returns
    -------
    images, facts
        ``facts`` for the record: ``repeats_dropped`` and ``acquisitions_left_out``.

    Raises
    ------
    SeriesRefused
        DUPLICATE_POSITIONS where more than two images share a place, or two of one acquisition.
    """
    sent = _places(images, orientation)
    places = [_without_repeats(place) for place in sent]
    repeats = sum(map(len, sent)) - sum(map(len, places))
    left_out: Counter[str] = Counter()
    if any(len(place) > 1 for place in places):
        _check_two_acquisitions(places)
        order = _by_cover(places)
        for place in places:
            place.sort(key=lambda image: order.index(_acquisition(image)))
            left_out.update(_acquisition(image) for image in place[1:])
    facts = {
        "repeats_dropped": repeats,
        "acquisitions_left_out": [
            {"acquisition_number": name, "slices": count}
            for name, count in sorted(left_out.items())
        ],
    }
    return [place[0] for place in places], facts


def left_out_text(left_out: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a sentence for each acquisition of which images were left out.

    Parameters
    ----------
    left_out
        ``acquisitions_left_out`` of the facts that `one_image_a_place` gives.
    """
    return [
        f"images of {_called(each['acquisition_number'])} that were not read: {each['slices']}; at "
        "their places another acquisition of the series was read"
        for each in left_out
    ]


def _called(name: str) -> str:
    return f"acquisition {name}" if _is_number(name) else "an acquisition without number"


def _is_number(name: str) -> bool:
    return name.lstrip("-").isdigit()


def _places(images: Sequence[SourceImage], orientation: Sequence[float]) -> list[Place]:
    """Group images by their place along the normal."""
    normal = plane_axes(orientation)[2]
    ordered = sorted(
        (float(np.dot(numbers(image.dataset, "ImagePositionPatient", 3) or (), normal)), image.uid)
        for image in images
    )
    by_uid = {image.uid: image for image in images}
    places: list[Place] = []
    begins = -np.inf
    for height, uid in ordered:
        if height - begins >= SAME_POSITION_MM:
            begins = height
            places.append([])
        places[-1].append(by_uid[uid])
    return places


def _without_repeats(place: Place) -> Place:
    kept: Place = []
    for image in place:
        if not any(_repeats(image, other) for other in kept):
            kept.append(image)
    return kept


def _repeats(image: SourceImage, other: SourceImage) -> bool:
    rescale = ("RescaleSlope", "RescaleIntercept")
    return all(
        number(image.dataset, keyword) == number(other.dataset, keyword) for keyword in rescale
    ) and same_image(image.dataset, other.dataset)


def _acquisition(image: SourceImage) -> str:
    return text(image.dataset, "AcquisitionNumber") or "none"


def _check_two_acquisitions(places: Sequence[Place]) -> None:
    for place in places:
        names = {_acquisition(image) for image in place}
        if len(place) > 2 or len(names) < len(place):
            shared = sum(len(each) > 1 for each in places)
            raise SeriesRefused(
                Reason.DUPLICATE_POSITIONS,
                f"{shared} of {len(places)} places hold more than one image: at one lie files "
                f"{place[0].name} and {place[1].name}, {len(place)} images with "
                f"{len(names)} different Acquisition Numbers (0020,0012); two acquisitions can be "
                "told apart, no more: send each as a series of its own",
            )


def _by_cover(places: Sequence[Place]) -> list[str]:
    """Return the acquisitions, the one that covers most places first, then by number."""
    cover: defaultdict[str, int] = defaultdict(int)
    for place in places:
        for image in place:
            cover[_acquisition(image)] += 1

    def rank(name: str) -> tuple[int, float, str]:
        return -cover[name], float(name) if _is_number(name) else np.inf, name

    return sorted(cover, key=rank)
