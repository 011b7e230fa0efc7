"""The SR, and outlines wherever they stand, held against the prediction and its masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from pydicom import Dataset

from ich_node.codes import SUBTYPES
from ich_node.errors import CheckFailed
from ich_node.records import Prediction
from ich_node.report import decode
from ich_node.report.decode import Said
from ich_node.report.measure import percent
from ich_node.report.outlines import Mask, Polyline, fill, regions
from ich_node.report.words import left_out_text

# By the SOP Instance UID of the source image.
Masks = Mapping[str, Mask]


def check_report(
    sr: Dataset,
    prediction: Prediction,
    volumes_ml: Mapping[str, float],
    tracking: Mapping[str, str],
    masks: Mapping[str, Masks],
) -> None:
    """The SR says of every class what the prediction says, and outlines what the SEG holds.

    Parameters
    ----------
    sr
        As read.
    prediction, volumes_ml
        What it must say.
    tracking
        Tracking UID of each subtype that has a segment.
    masks
        Masks of each such subtype, in the rows and columns of the source.

    Raises
    ------
    CheckFailed
        Something differs.
    """
    report = decode.report(sr)
    groups = {group.subtype: group for group in report.groups}
    found = {name: group.tracking_uid for name, group in groups.items()}
    if found != dict(tracking):
        raise CheckFailed(f"SR: tracking UIDs are {found}, those of the SEG {dict(tracking)}")
    for group in groups.values():
        left_out = check_outlines("SR", group.subtype, group.outlines, masks[group.subtype])
        if left_out and left_out_text(group.subtype, *left_out) not in report.texts:
            raise CheckFailed(f"SR: does not say that regions of {group.subtype} have no outline")
    said = {name: group.said for name, group in groups.items()} | report.evaluations
    for name, score in prediction.scores.items():
        volume = volumes_ml[name] if score.present else None
        expected = Said(score.present, percent(score.probability), volume)
        if said.get(name) != expected:
            raise CheckFailed(f"SR: says of {name} {said.get(name)}, the prediction {expected}")


def check_key_images(sr: Dataset, prediction: Prediction, images: Sequence[str]) -> None:
    """The report points to the largest slice of each mask; without one to the most suspicious.

    Parameters
    ----------
    images
        SOP Instance UID of each slice.

    Raises
    ------
    CheckFailed
        It does not.
    """
    cited = decode.key_images(sr)
    numbers = [value for value in range(1, len(SUBTYPES) + 1) if (prediction.labels == value).any()]
    weights = [np.count_nonzero(prediction.labels == value, axis=(1, 2)) for value in numbers]
    names = [SUBTYPES[value - 1] for value in numbers]
    if not weights:
        weights, names = [np.array(prediction.slice_probabilities)], ["the highest probability"]
    for name, weight in zip(names, weights, strict=True):
        best = {images[int(index)] for index in np.flatnonzero(weight == weight.max())}
        if not cited & best:
            raise CheckFailed(f"SR: its key images leave out that of {name}, {min(best)}")


def check_outlines(
    what: str, subtype: str, outlines: Mapping[str, Sequence[Polyline]], masks: Masks
) -> tuple[int, int] | None:
    """Outlines of a subtype enclose whole regions of its masks, and none larger has none.

    Parameters
    ----------
    what
        The object that has them, for the text of an error.
    outlines, masks
        By the SOP Instance UID of the image.

    Returns
    -------
    tuple or None
        How many regions have an outline and how many have none, where there are such.

    Raises
    ------
    CheckFailed
        An outline encloses something else.
    """
    if not outlines or not set(outlines) <= set(masks):
        raise CheckFailed(f"{what}: the outlines of {subtype} are not on the images of its mask")
    drawn: list[int] = []
    bare: list[int] = []
    for uid, mask in masks.items():
        try:
            enclosed = fill(outlines.get(uid, ()), mask.shape)
        except ValueError as error:
            raise CheckFailed(f"{what}: outline of {subtype}: {error}") from error
        numbered, sizes = regions(mask)
        inside = np.zeros(len(sizes) + 1, dtype=bool)
        inside[numbered[enclosed]] = True
        if inside[0] or not np.array_equal(enclosed, inside[numbered]):
            raise CheckFailed(f"{what}: outlines of {subtype} do not enclose its mask on {uid}")
        drawn += sizes[inside[1:]].tolist()
        bare += sizes[~inside[1:]].tolist()
    if bare and max(bare) > min(drawn):
        raise CheckFailed(f"{what}: a larger region of {subtype} than others has no outline")
    return (len(drawn), len(bare)) if bare else None
