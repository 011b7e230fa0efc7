"""Content items of the SR, put together from highdicom's own (PS3.16 TID 1500 and below)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import highdicom as hd
import numpy as np
import numpy.typing as npt
from pydicom import Dataset

from ich_node import codes
from ich_node.codes import CLASSES, OF_CLASS, SUBTYPES, Concept
from ich_node.records import ClassScore, Prediction
from ich_node.report import words
from ich_node.report.identity import PRODUCT, RESEARCH_USE, Work
from ich_node.report.measure import percent
from ich_node.report.objects import coded
from ich_node.report.outlines import Outlined
from ich_node.report.seg import tracking_id

_CONTAINS = hd.sr.RelationshipTypeValues.CONTAINS
_CONCEPT_MOD = hd.sr.RelationshipTypeValues.HAS_CONCEPT_MOD
_PROPERTIES = hd.sr.RelationshipTypeValues.HAS_PROPERTIES

Items = Iterable[Dataset]


def root(
    title: Concept, work: Work, conclusion: str, *children: Dataset
) -> hd.sr.ContainerContentItem:
    """Return the root of a Measurement Report (TID 1500) with its language, observer and procedure.

    What people need stands first: what the report is not for, and the whole result in words. Built
    from single items because highdicom's template class demands a measurement group.
    """
    observer = hd.sr.ObserverContext(
        observer_type=hd.sr.CodedConcept("121007", "DCM", "Device"),
        observer_identifying_attributes=hd.sr.DeviceObserverIdentifyingAttributes(
            uid=work.device_uid,
            name=PRODUCT,
            manufacturer_name=PRODUCT,
            model_name=work.model_name,
            serial_number=work.serial,
        ),
    )
    language = hd.sr.LanguageOfContentItemAndDescendants(
        hd.sr.CodedConcept("en", "RFC5646", "English")
    )
    procedure = hd.sr.CodeContentItem(
        coded(codes.PROCEDURE_REPORTED), coded(codes.CT_PROCEDURE), _CONCEPT_MOD
    )
    item = hd.sr.ContainerContentItem(coded(title), template_id="1500")
    said = [
        text(codes.COMMENT, RESEARCH_USE),
        *_superseded(work),
        text(codes.CONCLUSION, conclusion),
    ]
    item.ContentSequence = hd.sr.ContentSequence(
        [*language, *observer, procedure, *said, *children]
    )
    _separate(item)
    return item


def _separate(item: Dataset) -> None:
    """State that the items of each container stand apart: text views then give each its name."""
    if item.ValueType == "CONTAINER":
        item.ContinuityOfContent = "SEPARATE"
        for child in item.ContentSequence:
            _separate(child)


def container(name: Concept, children: Items) -> hd.sr.ContainerContentItem:
    """Return a container below the root."""
    item = hd.sr.ContainerContentItem(coded(name), relationship_type=_CONTAINS)
    item.ContentSequence = hd.sr.ContentSequence(children)
    return item


def text(name: Concept, value: str) -> hd.sr.TextContentItem:
    """Return a text item of a container."""
    return hd.sr.TextContentItem(coded(name), value, _CONTAINS)


def key_images(headers: Iterable[Dataset]) -> hd.sr.ContainerContentItem:
    """Return an Image Library (TID 1600) of the slices worth looking at first, and only those."""
    images = [
        hd.sr.ImageContentItem(
            coded(codes.SOURCE_OF_MEASUREMENT),
            header.SOPClassUID,
            header.SOPInstanceUID,
            relationship_type=_CONTAINS,
        )
        for header in headers
    ]
    return container(codes.IMAGE_LIBRARY, [container(codes.IMAGE_LIBRARY_GROUP, images)])


def evaluations(
    prediction: Prediction,
    volumes_ml: Mapping[str, float],
    outlined: Mapping[str, Outlined],
    done: Sequence[str],
    work: Work,
) -> hd.sr.ContainerContentItem:
    """Return the Qualitative Evaluations: every class without a mask, and how it was decided.

    ``outlined`` has the outlines of each class with a mask; ``done`` says what was done to read the
    slices as a regular grid, if anything.
    """
    items = [
        *(
            _evaluation(name, prediction.scores[name], volumes_ml[name])
            for name in CLASSES
            if name not in outlined
        ),
        text(codes.COMMENT, words.scores_text(prediction)),
        *(
            text(codes.COMMENT, words.left_out_text(name, found.given, found.left_out))
            for name, found in outlined.items()
            if found.left_out
        ),
        *(text(codes.COMMENT, f"Geometry: {sentence}.") for sentence in done),
        *_contained(_algorithm(work, words.model_parameters(prediction.model))),
    ]
    return container(codes.QUALITATIVE_EVALUATIONS, items)


def refusal(reason: str) -> hd.sr.ContainerContentItem:
    """Return the Qualitative Evaluations of a series that was not analysed."""
    return container(
        codes.QUALITATIVE_EVALUATIONS,
        [
            hd.sr.CodeContentItem(
                coded(OF_CLASS["any"].finding), coded(codes.INDETERMINATE), _CONTAINS
            ),
            hd.sr.CodeContentItem(
                coded(codes.NOT_ANALYSED), coded(codes.of_reason(reason)), _CONTAINS
            ),
        ],
    )


def _contained(items: Items) -> list[Dataset]:
    """Make items of a template that modify what they stand in evaluations of their own.

    Qualitative Evaluations hold only such (TID 1500, rows 13 and 14).
    """
    contained = list(items)
    for item in contained:
        item.RelationshipType = _CONTAINS.value
    return contained


def _superseded(work: Work) -> list[hd.sr.TextContentItem]:
    if work.supersedes is None:
        return []
    return [text(codes.COMMENT, words.superseded_text(work.supersedes))]


def _evaluation(name: str, score: ClassScore, ml: float) -> hd.sr.CodeContentItem:
    """One class: present or absent, with its certainty and, where present, its volume."""
    verdict = codes.PRESENT if score.present else codes.ABSENT
    item = hd.sr.CodeContentItem(coded(OF_CLASS[name].finding), coded(verdict), _CONTAINS)
    children: list[Dataset] = [_number(codes.CERTAINTY, percent(score.probability), codes.PERCENT)]
    if score.present:
        children.append(_number(codes.VOLUME, ml, codes.MILLILITRE))
    if score.present and not ml:
        said = "0 mL, no segment: the class is present, its mask is empty"
        children.append(hd.sr.TextContentItem(coded(codes.COMMENT), said, _PROPERTIES))
    item.ContentSequence = hd.sr.ContentSequence(children)
    return item


def _number(name: Concept, value: float, unit: Concept) -> hd.sr.NumContentItem:
    return hd.sr.NumContentItem(coded(name), value, coded(unit), relationship_type=_PROPERTIES)


def _algorithm(
    work: Work, parameters: Sequence[str] | None = None
) -> hd.sr.AlgorithmIdentification:
    """TID 4019; name and version equal the equipment's (IHE AIR)."""
    return hd.sr.AlgorithmIdentification(
        name=work.model_name,
        version=work.version,
        parameters=parameters,
        family=coded(codes.ARTIFICIAL_INTELLIGENCE),
        manufacturer=PRODUCT,
    )


def group(
    name: str,
    outlined: Outlined,
    headers: Sequence[Dataset],
    prediction: Prediction,
    ml: float,
    work: Work,
) -> hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations:
    """Return the Measurement Group (TID 1411) of a class with a mask.

    Its regions are outlines on the source images, so that viewers without SEG show it too; the SEG
    is named by the tracking identifiers alone, because some viewers fail at a group that points at
    a segment.

    ``headers`` are those of the slices that ``outlined`` counts.
    """
    entry = OF_CLASS[name]
    measurements = [
        hd.sr.Measurement(
            coded(codes.VOLUME), ml, coded(codes.MILLILITRE), method=coded(codes.VOLUME_METHOD)
        ),
        hd.sr.Measurement(
            coded(codes.CERTAINTY),
            percent(prediction.scores[name].probability),
            coded(codes.PERCENT),
        ),
    ]
    return hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(
            uid=work.uids[f"tracking-{name}"], identifier=tracking_id(name)
        ),
        referenced_regions=_regions(outlined, headers),
        finding_type=coded(entry.finding),
        finding_sites=[hd.sr.FindingSite(coded(entry.site))],
        algorithm_id=_algorithm(work),
        measurements=measurements,
        qualitative_evaluations=[
            hd.sr.QualitativeEvaluation(coded(codes.PRESENCE), coded(codes.PRESENT))
        ],
    )


def slices_of(name: str, labels: npt.NDArray[np.uint8]) -> list[int]:
    """Return the slices that a class touches, the largest area first."""
    areas = np.count_nonzero(labels == 1 + SUBTYPES.index(name), axis=(1, 2))
    order: list[int] = np.argsort(-areas, kind="stable").tolist()
    return [index for index in order if areas[index]]


def _regions(found: Outlined, headers: Sequence[Dataset]) -> Sequence[hd.sr.ImageRegion]:
    return [
        hd.sr.ImageRegion(
            hd.sr.GraphicTypeValues.POLYLINE,
            outline,
            hd.sr.SourceImageForRegion(headers[index].SOPClassUID, headers[index].SOPInstanceUID),
        )
        for index, outline in found.polylines
    ]
