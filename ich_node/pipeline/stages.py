"""The stages put together, without a database: what `analyze` and the daemon both do.

choose -> assemble -> infer -> report.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pydicom
from pydicom.dataelem import RawDataElement

from ich_node import bounds, logs
from ich_node.assemble.assemble import assemble
from ich_node.assemble.contrast import check_contrast
from ich_node.assemble.grid import onto_source
from ich_node.assemble.stack import MAX_MISSING
from ich_node.complete.facts import KEYWORDS, SeriesFacts, facts_of
from ich_node.errors import of_the_machine, of_the_system
from ich_node.pipeline import outcome
from ich_node.pipeline.outcome import Context
from ich_node.records import CtVolume, Prediction, Refusal, Wanted
from ich_node.report.build import (
    build_not_analysed,
    build_not_analysed_others,
    build_others,
    build_results,
    draw_summary,
)
from ich_node.report.headers import NAMES
from ich_node.settings import Selection

T = TypeVar("T")
Predict = Callable[[CtVolume], Prediction]

_log = logs.get(__name__)

_USUAL = Wanted()
_LARGE = 1 << 20  # bytes
_REFERRED = (
    *NAMES,
    "PatientID",
    *("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"),
)


class NotTold(Exception):
    """What says that a series was not analysed could not be built; the text says why."""


def timed(stage: Callable[[], T]) -> tuple[T, float]:
    """Run a stage; return what it gave and the seconds it took."""
    began = time.monotonic()
    given = stage()
    return given, time.monotonic() - began


def header(path: Path, keywords: Sequence[str] = ()) -> pydicom.Dataset | None:
    """Return the header of a file, or None where it cannot be read as DICOM.

    Pixels and other values of more than 1 MB are left out. ``keywords`` name the elements that are
    wanted; none named, all are.

    Raises
    ------
    OSError
        The machine wants mending: it says nothing of the file.
    """
    try:
        bounds.check_file(path)
        found = pydicom.dcmread(
            path,
            defer_size=_LARGE,
            stop_before_pixels=True,
            specific_tags=list(keywords) or None,
        )
    except Exception as error:  # whatever a parser raises of damaged bytes
        if of_the_machine(error):
            raise
        return None
    found.buffer = None  # all that a deflated one was inflated to
    for element in list(found.values()):
        if isinstance(element, RawDataElement) and element.length > _LARGE:
            del found[element.tag]
    return found


def headers_of(paths: Sequence[Path]) -> list[pydicom.Dataset]:
    """Return the headers of those files that are DICOM, for what says that they were not analysed.

    Patient and study are those of the first that names itself; of the others is read only what
    refers to them, since a series may be refused because it fills the memory.
    """
    found: list[pydicom.Dataset] = []
    named = False
    for path in paths:
        one = header(path, _REFERRED if named else ())
        if one is not None:
            found.append(one)
            named = named or all(one.get(keyword) for keyword in NAMES)
    return found


def facts_of_files(paths: Sequence[Path], rules: Selection) -> SeriesFacts | None:
    """Return what the headers of one series say; None where no file has one."""
    headers = [found for path in paths if (found := header(path, KEYWORDS)) is not None]
    return facts_of(headers, rules) if headers else None


def listed(series_instance_uid: str, refusal: Refusal) -> dict[str, str]:
    """One entry of `other_series`."""
    return {
        "series_instance_uid": series_instance_uid,
        "reason": str(refusal.reason),
        "reason_text": refusal.text,
    }


def volume_of(paths: Sequence[Path], max_missing: int = MAX_MISSING) -> CtVolume:
    """Assemble: a checked volume of a head without contrast medium, or the reason why not.

    ``max_missing`` slices may be bridged by what lies beside them.

    Raises
    ------
    SeriesRefused
        The geometry or the pixels show that it is not one to read.
    """
    volume = assemble(paths, max_missing)
    measured = check_contrast(volume.hu, volume.spacing_mm)
    return replace(volume, geometry={**volume.geometry, **measured})


def predict(network: Predict, volume: CtVolume) -> Prediction:
    """Let the network read a volume; return what it found on the slices that were sent.

    Raises
    ------
    CheckFailed
        The slices do not lie on the volume's grid where they should.
    """
    return onto_source(network(volume), volume)


def build_analysed(
    context: Context,
    volume: CtVolume,
    prediction: Prediction,
    folder: Path,
    wanted: Wanted = _USUAL,
) -> dict[str, Any]:
    """Build and check every object of an analysed series into a folder; return the outcome.

    ``prediction`` is on the slices that were sent, as `predict` gives it.

    Raises
    ------
    CheckFailed
        A built object contradicts its mask or its source; nothing in the folder may leave.
    """
    began = time.monotonic()
    results = build_results(volume, prediction, folder, context.edition, wanted)
    draw_summary(volume, prediction, folder / "summary.png")
    timings = {**context.timings_s, "report": time.monotonic() - began}
    told = outcome.analysed(
        replace(context, timings_s=timings), volume, prediction, results.volumes_ml
    )
    outcome.write(told, folder)
    return told


def build_refused(
    context: Context,
    paths: Sequence[Path],
    refusal: Refusal,
    folder: Path,
    wanted: Wanted = _USUAL,
) -> dict[str, Any]:
    """Build what says why nothing was analysed, SR and what else is wanted; return the outcome.

    Raises
    ------
    NotTold
        Something could not be built, or fails its check; nothing in the folder may leave.
    """
    with _telling(refusal):
        headers = headers_of(paths)
        build_not_analysed(headers, refusal, folder, context.edition, wanted)
    told = outcome.refused(context, refusal)
    outcome.write(told, folder)
    return told


def add_analysed(
    context: Context,
    volume: CtVolume,
    prediction: Prediction,
    folder: Path,
    wanted: Wanted,
) -> None:
    """Build objects of the kinds wanted for an analysed series whose SEG and SR were built before.

    Raises
    ------
    CheckFailed
        A built object contradicts its mask or its source; nothing in the folder may leave.
    """
    build_others(volume, prediction, folder, context.edition, wanted)


def add_refused(
    context: Context,
    paths: Sequence[Path],
    refusal: Refusal,
    folder: Path,
    wanted: Wanted,
) -> None:
    """Build objects of the kinds wanted for a refused series whose SR was built before.

    Raises
    ------
    NotTold
        Something could not be built, or fails its check; nothing in the folder may leave.
    """
    with _telling(refusal):
        headers = headers_of(paths)
        build_not_analysed_others(headers, refusal, folder, context.edition, wanted)


@contextmanager
def _telling(refusal: Refusal) -> Iterator[None]:
    """Tell what is wrong with a report, or with its images, from a disk that is full."""
    try:
        yield
    except Exception as error:
        if of_the_system(error):  # it may pass
            raise
        cause = logs.cause(error)
        _log.error("no report could be built", reason=str(refusal.reason), **cause)
        text = f"what says that it was not analysed could not be built ({cause['error']})"
        raise NotTold(text) from error
