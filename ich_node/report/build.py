"""Build the objects of one revision, check them, and keep them as files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydicom import Dataset

from ich_node.records import CtVolume, Prediction, Refusal, Results, Superseded
from ich_node.report.check import check_not_analysed, check_results
from ich_node.report.frames import name_frames
from ich_node.report.headers import normalise_header, same_subject, source_headers
from ich_node.report.identity import work_of
from ich_node.report.measure import volumes_ml
from ich_node.report.objects import write
from ich_node.report.seg import build_seg, segmented
from ich_node.report.sr import build_not_analysed_sr, build_sr
from ich_node.report.summary import draw_summary

__all__ = ["build_not_analysed", "build_results", "draw_summary"]


def build_results(
    volume: CtVolume,
    prediction: Prediction,
    out_dir: Path,
    supersedes: Superseded | None = None,
) -> Results:
    """Build, write and check the SEG and the SR of an analysed series.

    Parameters
    ----------
    volume, prediction
        What was analysed, and what was found on the slices of its source.
    out_dir
        An existing folder; receives ``sr.dcm`` and, where a mask has a voxel, ``seg.dcm``.
    supersedes
        The report of an earlier revision, which had fewer images.

    Returns
    -------
    Results
        With the volume of each of `codes.CLASSES`, mL.

    Raises
    ------
    CheckFailed
        What was written contradicts the mask or the source: it must not leave.
    """
    headers = source_headers(volume)
    work = work_of((header.SOPInstanceUID for header in headers), prediction.model, supersedes)
    volumes = volumes_ml(prediction.labels, volume.source.voxels_ml)
    evidence: list[Dataset] = list(headers)
    seg_path = None
    if segmented(prediction.labels):
        seg = build_seg(volume, prediction, headers, work)
        name_frames(seg, volume.source.frames)
        seg_path = write(seg, out_dir / "seg.dcm")
        evidence.append(seg)
    sr = build_sr(volume, prediction, volumes, evidence, work)
    name_frames(sr, volume.source.frames)
    results = Results(seg_path, write(sr, out_dir / "sr.dcm"), volumes)
    check_results(volume, prediction, results)
    return results


def build_not_analysed(
    headers: Sequence[Dataset],
    refusal: Refusal,
    out_dir: Path,
    supersedes: Superseded | None = None,
) -> Results:
    """Build, write and check the SR which says why a series was not analysed.

    Parameters
    ----------
    headers
        Of the refused series, as poor as they came; patient and study are those of the first, and
        only its own study's instances are named.
    refusal
        The reason and the sentence to give.
    out_dir
        An existing folder; receives ``sr.dcm``.
    supersedes
        The report of an earlier revision, which had fewer images.

    Raises
    ------
    CheckFailed
        What was written contradicts the source or the refusal.
    ValueError
        No header names its instance, series and study.
    """
    subject = same_subject([normalise_header(header) for header in headers])
    work = work_of((header.SOPInstanceUID for header in subject), refusal, supersedes)
    sr = build_not_analysed_sr(refusal, subject, work)
    results = Results(None, write(sr, out_dir / "sr.dcm"))
    check_not_analysed(headers, refusal.text, results)
    return results
