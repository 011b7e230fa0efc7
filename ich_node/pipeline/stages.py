"""The stages put together, without a database: what `analyze` and the daemon both do.

choose -> assemble -> infer -> report.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pydicom
from pydicom.errors import InvalidDicomError

from ich_node import logs
from ich_node.assemble.assemble import assemble
from ich_node.complete.choose import facts_of, refuse
from ich_node.errors import IchNodeError, Reason, SeriesRefused
from ich_node.pipeline import outcome
from ich_node.pipeline.outcome import Context
from ich_node.records import CtVolume, Prediction, Refusal
from ich_node.report.build import build_not_analysed, build_results, draw_summary

T = TypeVar("T")

_log = logs.get(__name__)

# A series that nobody would expect to be read needs no object in the PACS to say so.
SILENT = frozenset({Reason.NOT_CT, Reason.LOCALIZER, Reason.NOT_ORIGINAL})
_UNREADABLE = (InvalidDicomError, OSError, EOFError, ValueError)


def timed(stage: Callable[[], T]) -> tuple[T, float]:
    """Run a stage; return what it gave and the seconds it took."""
    began = time.monotonic()
    given = stage()
    return given, time.monotonic() - began


def header(path: Path) -> pydicom.Dataset | None:
    """Return the header of a file, without pixels, or None where it is not DICOM."""
    try:
        return pydicom.dcmread(path, stop_before_pixels=True)
    except _UNREADABLE:
        return None


def volume_of(paths: Sequence[Path]) -> CtVolume:
    """Choose and assemble: a checked volume, or the reason why not.

    Raises
    ------
    SeriesRefused
        The headers show that it is not one to read, or the geometry or pixels do.
    """
    headers = [found for path in paths if (found := header(path)) is not None]
    refusal = refuse(facts_of(headers)) if headers else None
    if refusal is not None:
        raise SeriesRefused(refusal.reason, refusal.text)
    return assemble(paths)


def build_analysed(
    context: Context, volume: CtVolume, prediction: Prediction, folder: Path
) -> dict[str, Any]:
    """Build and check every object of an analysed series into a folder; return the outcome.

    Raises
    ------
    CheckFailed
        A built object contradicts its mask or its source; nothing in the folder may leave.
    """
    began = time.monotonic()
    results = build_results(volume, prediction, folder, context.supersedes)
    draw_summary(volume, prediction, folder / "summary.png")
    timings = {**context.timings_s, "report": time.monotonic() - began}
    told = outcome.analysed(
        replace(context, timings_s=timings), volume, prediction, results.volumes_ml
    )
    outcome.write(told, folder)
    return told


def build_refused(
    context: Context, paths: Sequence[Path], refusal: Refusal, folder: Path
) -> dict[str, Any]:
    """Build the not-analysed SR where the reason deserves one; return the outcome."""
    headers = [found for path in paths if (found := header(path)) is not None]
    if headers and refusal.reason not in SILENT:
        try:
            build_not_analysed(headers, refusal, folder, context.supersedes)
        except (IchNodeError, ValueError, AttributeError, TypeError) as error:
            # The refusal stands all the same; only the PACS cannot be told.
            _log.error("no report could be built", reason=str(refusal.reason), **logs.cause(error))
            (folder / "sr.dcm").unlink(missing_ok=True)
    told = outcome.refused(context, refusal)
    outcome.write(told, folder)
    return told
