"""`analyze`: the same stages on a folder of files, without a network or a database."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ich_node import bounds, logs
from ich_node.assemble.stack import MAX_MISSING
from ich_node.complete import choose
from ich_node.complete.facts import SeriesFacts
from ich_node.errors import Reason, SeriesRefused
from ich_node.pipeline import outcome, stages
from ich_node.pipeline.outcome import Context
from ich_node.pipeline.stages import Predict
from ich_node.records import CtVolume, Refusal, Wanted
from ich_node.settings import Selection

_log = logs.get(__name__)

_WRITTEN = ("seg.dcm", "sr.dcm", "summary.png", outcome.RESULT_JSON)
_DEFAULTS = Selection()
_USUAL = Wanted()

Progress = Callable[[str], None]
Refused = tuple[SeriesFacts, Refusal]


def analyze_folder(
    folder: Path,
    out: Path,
    predict: Predict,
    progress: Progress,
    rules: Selection = _DEFAULTS,
    max_missing: int = MAX_MISSING,
    wanted: Wanted = _USUAL,
) -> dict[str, Any]:
    """Choose the series of a folder, analyse it, write the objects and `result.json`.

    Where the best series turns out not to be one to read, the next best takes its place.

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
    rules
        Which series are read.
    max_missing
        How many missing slices may be bridged.
    wanted
        The form of the SR, and what to build besides.

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
    if not series and (excessive := _excessive(folder)):
        return _write(outcome.refused(context, excessive), out)
    if not series:
        text = f"no DICOM file in {folder.name} ({passed_over} files looked at)"
        return _write(outcome.failed(context, outcome.ERROR, text), out)
    found = [stages.facts_of_files(paths, rules) for paths in series.values()]
    ranked, refused = choose.choose_series([facts for facts in found if facts], rules)
    for index, facts in enumerate(ranked):
        progress("assemble")
        began = time.monotonic()
        others = [(other, choose.passed_over(other, facts)) for other in ranked[index + 1 :]]
        of_this = _about(context, facts, [*refused, *others], choose.notes(facts, rules))
        try:
            volume = stages.volume_of(series[facts.series_instance_uid], max_missing)
        except SeriesRefused as why:
            refused.append((facts, Refusal(why.reason, why.text)))
            continue
        except Exception as error:
            return _failed(of_this, error, out)
        of_this = _timed(of_this, assemble=time.monotonic() - began)
        return _analyse(of_this, volume, out, predict, progress, wanted)
    return _refuse(context, refused, series, out, wanted)


def _about(
    context: Context, facts: SeriesFacts, others: Sequence[Refused], notes: Sequence[str] = ()
) -> Context:
    listed = [stages.listed(other.series_instance_uid, why) for other, why in others]
    uid = facts.series_instance_uid
    return replace(context, series_instance_uid=uid, other_series=listed, notes=notes)


def _timed(context: Context, **seconds: float) -> Context:
    return replace(context, timings_s={**context.timings_s, **seconds})


def _analyse(
    context: Context,
    volume: CtVolume,
    out: Path,
    predict: Predict,
    progress: Progress,
    wanted: Wanted,
) -> dict[str, Any]:
    try:
        progress("infer")
        prediction, inferred = stages.timed(lambda: stages.predict(predict, volume))
        progress("report")
        of_this = _timed(context, infer=inferred)
        return stages.build_analysed(of_this, volume, prediction, out, wanted)
    except Exception as error:
        return _failed(context, error, out)


def _failed(context: Context, error: Exception, out: Path) -> dict[str, Any]:
    cause = logs.cause(error)
    _log.error("analysis failed", **cause)
    for name in _WRITTEN:  # an object that failed its check must not be found here
        (out / name).unlink(missing_ok=True)
    return _write(outcome.failed(context, outcome.ERROR, cause["error"]), out)


def _refuse(
    context: Context,
    refused: Sequence[Refused],
    series: Mapping[str, Sequence[Path]],
    out: Path,
    wanted: Wanted,
) -> dict[str, Any]:
    """Nothing was read: one refusal speaks for the folder, in an SR if it held a head CT."""
    told = choose.speaker(refused)
    facts, refusal = told or max(refused, key=lambda one: one[0].instances)
    context = _about(context, facts, [one for one in refused if one[0] is not facts])
    if told is None:
        return _write(outcome.refused(context, refusal), out)
    try:
        subject = series[facts.series_instance_uid]
        return stages.build_refused(context, subject, refusal, out, wanted)
    except stages.NotTold as error:
        (out / "sr.dcm").unlink(missing_ok=True)
        return _write(outcome.refused(replace(context, notes=[str(error)]), refusal), out)


def series_of(folder: Path) -> tuple[dict[str, list[Path]], int]:
    """Group the DICOM files of a folder by Series Instance UID; count the others."""
    series: dict[str, list[Path]] = {}
    passed_over = 0
    for path in sorted(folder.rglob("*")):
        if not path.is_file():
            continue
        found = stages.header(path, ("SeriesInstanceUID",))
        uid = str(found.get("SeriesInstanceUID", "")) if found is not None else ""
        if uid:
            series.setdefault(uid, []).append(path)
        else:
            passed_over += 1
    return series, passed_over


def _excessive(folder: Path) -> Refusal | None:
    """Return why the first file with more than can be read is not."""
    for path in sorted(filter(Path.is_file, folder.rglob("*"))):
        try:
            bounds.check_file(path)
        except bounds.Excessive as error:
            return Refusal(Reason.UNREADABLE, f"file {path.name} cannot be read: {error}")
    return None


def _write(told: dict[str, Any], out: Path) -> dict[str, Any]:
    outcome.write(told, out)
    return told
