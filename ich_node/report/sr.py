"""The structured report, TID 1500 at its root.

Comprehensive 3D SR (PS3.3 A.35.13), or Enhanced SR (A.35.2), whose value types suffice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import highdicom as hd
from highdicom.coding_schemes import CodingSchemeIdentificationItem
from pydicom import Dataset

from ich_node import codes
from ich_node.codes import Concept
from ich_node.records import CtVolume, Prediction, Refusal
from ich_node.report import content, words
from ich_node.report.headers import readable_as_ct
from ich_node.report.identity import PRODUCT, Work
from ich_node.report.objects import common_arguments
from ich_node.report.outlines import of_classes
from ich_node.report.seg import segmented


def build_sr(
    volume: CtVolume,
    prediction: Prediction,
    volumes_ml: Mapping[str, float],
    evidence: Sequence[Dataset],
    work: Work,
) -> Dataset:
    """Build the report of an analysed series.

    A class with a mask becomes a Measurement Group, every other one an item of the Qualitative
    Evaluations. Without any group the document is no measurement report and has another title.

    Parameters
    ----------
    volume, prediction
        What was analysed and found.
    volumes_ml
        One entry for each of `codes.CLASSES`, mL.
    evidence
        Normalised source headers, then the SEG where there is one.
    work
        Gives UIDs and equipment.
    """
    masked = segmented(prediction.labels)
    images = content.key_images(
        volume.source.headers[index] for index in _key_slices(prediction, masked)
    )
    done = volume.geometry.get("done", ())
    outlined = of_classes(volume.source, prediction.labels)
    evaluations = content.evaluations(prediction, volumes_ml, outlined, done, work)
    conclusion = words.conclusion(prediction, volumes_ml, volume.source)
    if not masked:
        tree = content.root(codes.EVALUATION_REPORT, work, conclusion, images, evaluations)
        return _document(tree, evidence, work)
    groups = [
        item
        for name, found in outlined.items()
        for item in content.group(
            name, found, volume.source.headers, prediction, volumes_ml[name], work
        )
    ]
    measurements = content.container(codes.IMAGING_MEASUREMENTS, groups)
    title = codes.IMAGING_MEASUREMENT_REPORT
    tree = content.root(title, work, conclusion, images, measurements, evaluations)
    return _document(tree, evidence, work)


def build_not_analysed_sr(refusal: Refusal, evidence: Sequence[Dataset], work: Work) -> Dataset:
    """Build the report that a series was not analysed, and why.

    Parameters
    ----------
    refusal
        The reason and the sentence to give.
    evidence
        Normalised headers of one study, of whatever SOP Class.
    work
        Gives UIDs and equipment.
    """
    why, reason = words.refusal_text(refusal), content.refusal(refusal.reason)
    tree = content.root(codes.EVALUATION_REPORT, work, why, reason)
    classes = {header.SOPInstanceUID: header.SOPClassUID for header in evidence}
    sr = _document(tree, [readable_as_ct(header) for header in evidence], work)
    for series in sr.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence:
        for item in series.ReferencedSOPSequence:
            item.ReferencedSOPClassUID = classes[item.ReferencedSOPInstanceUID]
    return sr


def _key_slices(prediction: Prediction, masked: Sequence[str]) -> list[int]:
    """The largest slice of each mask; without a mask the most suspicious slice."""
    if masked:
        largest = [content.slices_of(name, prediction.labels)[0] for name in masked]
        return list(dict.fromkeys(largest))
    probabilities = prediction.slice_probabilities
    return [probabilities.index(max(probabilities))]


def _document(tree: hd.sr.ContainerContentItem, evidence: Sequence[Dataset], work: Work) -> Dataset:
    form = hd.sr.EnhancedSR if work.enhanced_sr else hd.sr.Comprehensive3DSR
    built: Dataset = form(
        evidence=evidence,
        content=tree,
        is_complete=True,
        is_final=False,  # PRELIMINARY: no person has read it
        is_verified=False,
        previous_versions=_predecessors(evidence[0], work),
        coding_schemes=_own_scheme() if _is_own(tree, codes.EVALUATION_REPORT) else None,
        **common_arguments(work, "sr"),
    )
    return built


def _predecessors(source: Dataset, work: Work) -> list[Dataset] | None:
    """Name the report whose place this one takes (PS3.3 C.17.2.3, Predecessor Documents)."""
    if work.supersedes is None:
        return None
    before = Dataset()
    before.SOPClassUID = work.supersedes.sop_class_uid
    before.SOPInstanceUID = work.supersedes.sop_instance_uid
    before.SeriesInstanceUID = work.supersedes.series_instance_uid
    before.StudyInstanceUID = source.StudyInstanceUID
    return [before]


def _is_own(tree: hd.sr.ContainerContentItem, title: Concept) -> bool:
    return bool(tree.ConceptNameCodeSequence[0].CodeValue == title.value)


def _own_scheme() -> list[CodingSchemeIdentificationItem]:
    """Name the owner of the private codes (PS3.3 C.12.1.1, Coding Scheme Identification)."""
    return [
        CodingSchemeIdentificationItem(
            designator=codes.OWN_SCHEME,
            name=f"Codes of {PRODUCT}",
            responsible_organization=PRODUCT,
        )
    ]
