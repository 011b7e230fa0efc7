"""`analyze`: the same stages on a folder of files, without a network or a database."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydicom import Dataset

from ich_node import logs
from ich_node.assemble.stack import MAX_MISSING
from ich_node.complete.choose import SeriesFacts, choose_series, facts_of
from ich_node.errors import SeriesRefused
from ich_node.pipeline import outcome, stages
from ich_node.pipeline.outcome import Context
from ich_node.pipeline.stages import Predict
from ich_node.records import Refusal

_log = logs.get(__name__)

_WRITTEN = ("seg.dcm", "sr.dcm", "summary.png", outcome.RESULT_JSON)

Progress = Callable[[str], None]


def analyze_folder(
    folder: Path,
    out: Path,
    predict: Predict,
    progress: Progress,
    max_missing: int = MAX_MISSING,
) -> dict[str, Any]:
    """Choose the series of a folder, analyse it, write the objects and `result.json`.

    Parameters
    ----------
    folder
        Searched with its subfolders; files that are not DICOM are passed over and counted.
    out
        Made if need be; what an earlier call wrote there is replaced. ``seg.dcm`` is written only
        where there is a mask.
    predict
        From volume to prediction; called only when there is a volume.
    progress
        Told the name of each stage as it begins.
    max_missing
        How many missing slices may be bridged.

    Returns
    -------
    dict
        The content of `result.json`.
    """
    out.mkdir(parents=True, exist_ok=True)
    for name in _WRITTEN:
        (out / name).unlink(missing_ok=True)
    progress("read headers")
    began = time.monotonic()
    series, passed_over = series_of(folder)
    evidence = f"folder: all {sum(map(len, series.values()))} DICOM files, {passed_over} others"
    context = Context("", evidence, {"receive": time.monotonic() - began})
    if not series:
        text = f"no DICOM file in {folder.name} ({passed_over} files looked at)"
        return _write(outcome.failed(context, outcome.ERROR, text), out)
    chosen, others = choose_series([facts_of(_headers(paths)) for paths in series.values()])
    subject, refusal = (chosen, None) if chosen is not None else _nearest(others)
    context = replace(
        context,
        series_instance_uid=subject.series_instance_uid,
        other_series=[_listed(facts, why) for facts, why in others if facts is not subject],
    )
    paths = series[subject.series_instance_uid]
    if refusal is not None:
        return stages.build_refused(context, paths, refusal, out)
    return _analyse(context, paths, out, predict, progress, max_missing)


def _analyse(
    context: Context,
    paths: Sequence[Path],
    out: Path,
    predict: Predict,
    progress: Progress,
    max_missing: int,
) -> dict[str, Any]:
    try:
        progress("assemble")
        volume, assembled = stages.timed(lambda: stages.volume_of(paths, max_missing))
        progress("infer")
        prediction, inferred = stages.timed(lambda: stages.predict(predict, volume))
        progress("report")
        timings = {**context.timings_s, "assemble": assembled, "infer": inferred}
        return stages.build_analysed(replace(context, timings_s=timings), volume, prediction, out)
    except SeriesRefused as refused:
        return stages.build_refused(context, paths, Refusal(refused.reason, refused.text), out)
    except Exception as error:
        cause = logs.cause(error)
        _log.error("analysis failed", **cause)
        for name in _WRITTEN:  # an object that failed its check must not be found here
            (out / name).unlink(missing_ok=True)
        return _write(outcome.failed(context, outcome.ERROR, cause["error"]), out)


def series_of(folder: Path) -> tuple[dict[str, list[Path]], int]:
    """Group the DICOM files of a folder by Series Instance UID; count the others."""
    series: dict[str, list[Path]] = {}
    passed_over = 0
    for path in sorted(folder.rglob("*")):
        if not path.is_file():
            continue
        found = stages.header(path)
        uid = str(found.get("SeriesInstanceUID", "")) if found is not None else ""
        if uid:
            series.setdefault(uid, []).append(path)
        else:
            passed_over += 1
    return series, passed_over


def _headers(paths: Sequence[Path]) -> list[Dataset]:
    return [found for path in paths if (found := stages.header(path)) is not None]


def _nearest(others: Sequence[tuple[SeriesFacts, Refusal]]) -> tuple[SeriesFacts, Refusal]:
    """Where nothing was chosen, the verdict on the largest refused series speaks for the folder."""
    spoken_for = [other for other in others if other[1].reason not in stages.SILENT]
    return max(spoken_for or others, key=lambda other: other[0].instances)


def _listed(facts: SeriesFacts, refusal: Refusal) -> dict[str, str]:
    return {
        "series_instance_uid": facts.series_instance_uid,
        "reason": str(refusal.reason),
        "reason_text": refusal.text,
    }


def _write(told: dict[str, Any], out: Path) -> dict[str, Any]:
    outcome.write(told, out)
    return told
