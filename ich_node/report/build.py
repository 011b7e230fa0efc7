"""Build the objects of one revision, check them, and keep them as files."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from pydicom import Dataset

from ich_node.records import CtVolume, Edition, Prediction, Refusal, Results, Wanted
from ich_node.report.capture import build_captures, build_refusal_capture
from ich_node.report.check import (
    check_not_analysed,
    check_others,
    check_refusal_others,
    check_results,
)
from ich_node.report.check_identity import check_identity, check_other_identities
from ich_node.report.frames import name_frames
from ich_node.report.headers import normalise_header, same_subject, source_headers
from ich_node.report.identity import Work, work_of
from ich_node.report.measure import volumes_ml
from ich_node.report.objects import write
from ich_node.report.presentation import build_presentation
from ich_node.report.seg import build_label_map, build_seg, segmented
from ich_node.report.sr import build_not_analysed_sr, build_sr
from ich_node.report.summary import draw_summary

__all__ = [
    "build_not_analysed",
    "build_not_analysed_others",
    "build_others",
    "build_results",
    "draw_summary",
]

_USUAL = Wanted()
# Kinds, beside the SEG, that are there only where a mask has a voxel.
_OF_MASKS: Mapping[str, Callable[..., Dataset | None]] = {
    "seg-labelmap": build_label_map,
    "pr": build_presentation,
}


def build_results(
    volume: CtVolume,
    prediction: Prediction,
    out_dir: Path,
    edition: Edition | None = None,
    wanted: Wanted = _USUAL,
) -> Results:
    """Build, write and check the SEG, the SR and what else is asked for of an analysed series.

    Parameters
    ----------
    volume, prediction
        What was analysed, and what was found on the slices of its source.
    out_dir
        An existing folder; receives ``sr.dcm`` and, where a mask has a voxel, ``seg.dcm``.
    edition
        When it was first made, and the report of an earlier revision whose place it takes.
    wanted
        The form of the SR, and what to build besides: ``sc`` into a folder of that name;
        ``seg-labelmap`` and ``pr`` where a mask has a voxel.

    Returns
    -------
    Results
        With the volume of each of `codes.CLASSES`, mL.

    Raises
    ------
    CheckFailed
        What was written contradicts the mask or the source: it must not leave.
    """
    headers, work, volumes = _basis(volume, prediction, edition, wanted)
    evidence: list[Dataset] = list(headers)
    seg_path = None
    if segmented(prediction.labels):
        seg = build_seg(volume, prediction, headers, work)
        name_frames(seg, volume.source.frames)
        seg_path = write(seg, out_dir / "seg.dcm", work.made)
        evidence.append(seg)
    sr = build_sr(volume, prediction, volumes, evidence, work)
    name_frames(sr, volume.source.frames)
    results = Results(
        seg_path,
        write(sr, out_dir / "sr.dcm", work.made),
        volumes,
        _others(wanted.kinds, volume, prediction, volumes, headers, work, out_dir),
    )
    check_results(volume, prediction, results)
    check_identity(results, work)
    return results


def build_others(
    volume: CtVolume,
    prediction: Prediction,
    out_dir: Path,
    edition: Edition | None,
    wanted: Wanted,
) -> None:
    """Build, write and check objects of other kinds beside the SEG and SR built before.

    Parameters are those of `build_results`.

    Raises
    ------
    CheckFailed
        What was written contradicts the mask or the source: it must not leave.
    """
    headers, work, volumes = _basis(volume, prediction, edition, wanted)
    others = _others(wanted.kinds, volume, prediction, volumes, headers, work, out_dir)
    check_others(volume, prediction, volumes, others)
    check_other_identities(others, work)


def _basis(
    volume: CtVolume, prediction: Prediction, edition: Edition | None, wanted: Wanted
) -> tuple[list[Dataset], Work, dict[str, float]]:
    """Return what every object is made of: normalised headers, names and UIDs, volumes in mL."""
    headers = source_headers(volume)
    sources = (header.SOPInstanceUID for header in headers)
    work = work_of(sources, prediction.model, edition, wanted)
    return headers, work, volumes_ml(prediction.labels, volume.source.voxels_ml)


def _others(
    kinds: Collection[str],
    volume: CtVolume,
    prediction: Prediction,
    volumes: Mapping[str, float],
    headers: Sequence[Dataset],
    work: Work,
    out_dir: Path,
) -> dict[str, tuple[Path, ...]]:
    """Build what is asked for beside SEG and SR, as far as there is something to show."""
    others: dict[str, tuple[Path, ...]] = {}
    if "sc" in kinds:
        captures = build_captures(volume, prediction, volumes, headers, work, out_dir / "sc")
        others["sc"] = tuple(captures)
    if not segmented(prediction.labels):
        return others
    for kind, build in _OF_MASKS.items():
        built = build(volume, prediction, headers, work) if kind in kinds else None
        if built is not None:
            name_frames(built, volume.source.frames)
            others[kind] = (write(built, out_dir / f"{kind}.dcm", work.made),)
    return others


def build_not_analysed(
    headers: Sequence[Dataset],
    refusal: Refusal,
    out_dir: Path,
    edition: Edition | None = None,
    wanted: Wanted = _USUAL,
) -> Results:
    """Build, write and check what says why a series was not analysed: the SR, and a capture.

    Parameters
    ----------
    headers
        Of the refused series, as poor as they came; patient and study are those of the first, and
        only its own study's instances are named.
    refusal
        The reason and the sentence to give.
    out_dir
        An existing folder; receives ``sr.dcm``.
    edition
        When it was first made, and the report of an earlier revision whose place it takes.
    wanted
        The form of the SR, and what to build besides: ``sc`` into a folder of that name.

    Raises
    ------
    CheckFailed
        What was written contradicts the source or the refusal.
    ValueError
        No header names its instance, series and study.
    """
    subject = same_subject([normalise_header(header) for header in headers])
    work = work_of((header.SOPInstanceUID for header in subject), refusal, edition, wanted)
    sr = build_not_analysed_sr(refusal, subject, work)
    sr_path = write(sr, out_dir / "sr.dcm", work.made)
    others = _refusal_others(wanted.kinds, refusal, subject, work, out_dir)
    results = Results(None, sr_path, others=others)
    check_not_analysed(headers, refusal.text, results)
    check_identity(results, work)
    return results


def build_not_analysed_others(
    headers: Sequence[Dataset],
    refusal: Refusal,
    out_dir: Path,
    edition: Edition | None,
    wanted: Wanted,
) -> None:
    """Build, write and check objects of other kinds beside the SR built before.

    Parameters are those of `build_not_analysed`.

    Raises
    ------
    CheckFailed
        What was written contradicts the source or the refusal.
    ValueError
        No header names its instance, series and study.
    """
    subject = same_subject([normalise_header(header) for header in headers])
    work = work_of((header.SOPInstanceUID for header in subject), refusal, edition, wanted)
    others = _refusal_others(wanted.kinds, refusal, subject, work, out_dir)
    check_refusal_others(headers, refusal.text, others)
    check_other_identities(others, work)


def _refusal_others(
    kinds: Collection[str],
    refusal: Refusal,
    subject: Sequence[Dataset],
    work: Work,
    out_dir: Path,
) -> dict[str, tuple[Path, ...]]:
    if "sc" not in kinds:
        return {}
    return {"sc": tuple(build_refusal_capture(refusal, subject, work, out_dir / "sc"))}
