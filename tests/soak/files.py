"""Damaged files through everything that reads them: intake, facts, assembly, some through reports.

Each ends as what it is: stored or refused with a status; assembled, or refused with a reason; of
some of them the results are built and checked. Anything else is counted as unclear.
"""

from __future__ import annotations

import logging
import multiprocessing
import random
import resource
import shutil
import subprocess
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import pydicom
from pydicom import Dataset
from pydicom.uid import (
    EnhancedCTImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    LegacyConvertedEnhancedCTImageStorage,
    RLELossless,
)

from ich_node import logs
from ich_node.errors import SeriesRefused
from ich_node.pipeline import stages
from ich_node.pipeline.outcome import Context
from ich_node.receive.intake import Intake, take
from ich_node.records import CtVolume, Refusal
from ich_node.settings import Selection
from ich_node.store.engine import migrate, open_engine
from tests.soak.damage import damaged
from tests.soak.told import Told
from tests.support.frames import multiframe
from tests.support.peers import node_settings, request_of
from tests.support.series import ENCODABLE, head_series, write
from tests.support.volumes import make_labels, make_prediction

_SYNTAXES = (ExplicitVRLittleEndian, *ENCODABLE)
# Of one file of all frames, and of one in two files.
_MULTIFRAME = (
    (EnhancedCTImageStorage, ExplicitVRLittleEndian, 1),
    (EnhancedCTImageStorage, ImplicitVRLittleEndian, 2),
    (LegacyConvertedEnhancedCTImageStorage, ExplicitVRLittleEndian, 1),
    (LegacyConvertedEnhancedCTImageStorage, RLELossless, 1),
)
# What GDCM decodes, by the options of DCMTK's dcmcjpeg: JPEG Lossless, Baseline and Extended.
_DCMCJPEG = Path("/usr/bin/dcmcjpeg")
_JPEG = ("+e1", "+el", "+eb", "+ee")
_VALUES = (
    "",
    "-1",
    "0",
    "1e300",
    "nan",
    "1\\2\\3\\4\\5\\6\\7",
    "../../../etc/passwd",
    "1." * 40,
    "x" * 70_000,
    0,
    1,
    65535,
    [],
)
_PART = 132  # preamble and prefix
_HEADER = 1800  # bytes of a header, at least
_PIXELS = b"\xe0\x7f\x10\x00"  # (7FE0,0010), little endian
_REPORTED = 0.02  # of the series, those whose results are built
_PIECE = 1000  # files of a seed; after them the intake's folder is emptied
# GDCM decodes in a process of its own, which costs more than all else: fewer of its series.
_RARELY = 0.1


@dataclass
class Report:
    """What came of the files; `unclear` has the place in the code of each unclear end."""

    seed: int
    files: int = 0
    syntaxes: Counter[str] = field(default_factory=Counter)
    classes: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    reports: Counter[str] = field(default_factory=Counter)
    unclear: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0
    rss_mb: float = 0.0
    seconds: float = 0.0
    files_per_s: float = 0.0


class _Base(NamedTuple):
    """The sound files of a series, and how often it is taken."""

    files: list[bytes]
    often: float = 1.0


def soak_files(count: int, seed: int, folder: Path, processes: int = 1) -> Report:
    """Damage at least so many files, a few of each series, and read them, in other processes."""
    report, began, told = Report(seed), time.monotonic(), Told()
    bases = _bases(folder / "good")
    spawned = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=spawned, initializer=_quieten) as pool:
        pieces = [
            pool.submit(_soak_piece, bases, min(_PIECE, count - first), f"{seed}.{first}", folder)
            for first in range(0, count, _PIECE)
        ]
        for piece in pieces:
            _add(report, piece.result())
            told.say(f"{report.files} files, {report.unclear.total()} unclear")
    report.seconds = round(time.monotonic() - began, 1)
    report.files_per_s = round(report.files / report.seconds, 1)
    return report


def _quieten() -> None:
    logs.configure("soak", logging.CRITICAL)  # what the node says of each file
    warnings.simplefilter("ignore")  # pydicom's, of odd values: one for each fault


def _add(report: Report, piece: Report) -> None:
    report.files += piece.files
    for name in ("syntaxes", "classes", "statuses", "reasons", "reports", "unclear"):
        getattr(report, name).update(getattr(piece, name))
    report.slowest_s = max(report.slowest_s, piece.slowest_s)
    report.rss_mb = max(report.rss_mb, piece.rss_mb)


def _soak_piece(bases: Sequence[_Base], count: int, seed: str, folder: Path) -> Report:
    rng, report = random.Random(seed), Report(0)
    with tempfile.TemporaryDirectory(dir=folder) as fresh:
        intake = _intake(Path(fresh))
        while report.files < count:
            (base,) = rng.choices(bases, [base.often for base in bases])
            _one(rng, report, intake, base.files, Path(fresh) / "series")
        intake.engine.dispose()
    report.rss_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return report


def _bases(folder: Path) -> list[_Base]:
    """Return one small series in every transfer syntax that can be written here, and in frames."""
    sound = head_series(1, 10)
    bases = [_base(write(sound, folder / str(index), one)) for index, one in enumerate(_SYNTAXES)]
    bases += [_base(_multiframe(sound, folder / "frames", *form)) for form in _MULTIFRAME]
    if _DCMCJPEG.exists():
        plain = write(sound, folder / "plain")
        bases += [_Base([_packed(path, option) for path in plain], _RARELY) for option in _JPEG]
    return bases


def _base(paths: Sequence[Path]) -> _Base:
    return _Base([path.read_bytes() for path in paths])


def _multiframe(
    sound: Sequence[Dataset], folder: Path, sop_class: str, syntax: str, files: int
) -> list[Path]:
    """Return every so many slices of a series as the frames of a file."""
    return [
        multiframe(sound[first::files], folder / f"{first}.dcm", sop_class, syntax)
        for first in range(files)
    ]


def _packed(path: Path, option: str) -> bytes:
    """Return a file of the same UIDs in a transfer syntax of JPEG."""
    packed = path.with_suffix(".jpeg")
    subprocess.run([_DCMCJPEG, option, "+un", path, packed], check=True, timeout=60)
    return packed.read_bytes()


def _intake(folder: Path) -> Intake:
    settings = node_settings(folder)
    engine = open_engine(settings.database_url)
    migrate(engine)
    return Intake(engine, settings)


def _one(
    rng: random.Random, report: Report, intake: Intake, base: Sequence[bytes], folder: Path
) -> None:
    """Damage some files of one series, alike or each in its own way."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    files = list(base)
    meta = pydicom.dcmread(BytesIO(base[0]), specific_tags=[]).file_meta
    for index in rng.sample(range(len(files)), min(rng.choice((1, 2, 6)), len(files))):
        files[index] = _spoilt(rng, files[index])
        report.files += 1
        report.syntaxes[meta.TransferSyntaxUID.name] += 1
        report.classes[meta.MediaStorageSOPClassUID.name] += 1
        _timed(report, lambda index=index: _received(report, intake, base[index], files[index]))
    for index, data in enumerate(files):
        (folder / f"{index:03d}.dcm").write_bytes(data)
    reported = folder if rng.random() < _REPORTED else None
    _timed(report, lambda: _read(report, sorted(folder.glob("*.dcm")), reported))


def _spoilt(rng: random.Random, data: bytes) -> bytes:
    """Give elements values that nobody expects; or damage bytes, most often of the header."""
    if rng.random() < 0.5:
        dataset, buffer = pydicom.dcmread(BytesIO(data)), BytesIO()
        try:
            within = _within(rng, dataset)
            for keyword in rng.sample(within.dir(), min(rng.randint(1, 2), len(within.dir()))):
                if keyword != "PixelData" and rng.random() < 0.8:
                    within[keyword]._value = rng.choice(_VALUES)  # what it would not let us set
                else:
                    del within[keyword]
            dataset.save_as(buffer, enforce_file_format=False)
            return buffer.getvalue()
        except Exception:
            pass
    header = rng.random() < 0.6
    ends = max(_PART + _HEADER, data.find(_PIXELS)) if header else None
    return damaged(rng, data, _PART, ends)


def _within(rng: random.Random, dataset: Dataset) -> Dataset:
    """Return a data set, or an item of a sequence in it, however deep."""
    held = [element.value for element in dataset if element.VR == "SQ" and element.value]
    if not held or rng.random() < 0.3:
        return dataset
    return _within(rng, rng.choice(rng.choice(held)))


def _timed(report: Report, do: object) -> None:
    began = time.monotonic()
    try:
        do()  # type: ignore[operator]
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)
        ours = [frame for frame in last if "ich_node" in frame.filename] or last
        where = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}"
        report.unclear[f"{where} {type(error).__name__}: {str(error)[:80]}"] += 1
    report.slowest_s = max(report.slowest_s, time.monotonic() - began)


def _received(report: Report, intake: Intake, good: bytes, data: bytes) -> None:
    """Offer the damaged data set as a peer would that says it is the good one."""
    with tempfile.NamedTemporaryFile(suffix=".dcm") as file:
        Path(file.name).write_bytes(good)
        request = request_of(Path(file.name))
    begins = len(good) - len(request.data)
    request = replace(request, data=memoryview(data[begins:]))
    report.statuses[f"{take(intake, request).status:04X}H"] += 1


def _read(report: Report, paths: Sequence[Path], reported: Path | None) -> None:
    context = Context("2.25.1", "the soak")
    try:
        stages.facts_of_files(paths, Selection())
        volume = stages.volume_of(paths)
        report.reasons["assembled"] += 1
        if reported is not None:
            _report_bleeds(context, volume, reported)
            report.reports["analysed"] += 1
    except SeriesRefused as refused:
        report.reasons[str(refused.reason)] += 1
        if reported is not None:
            _report_refusal(report, context, paths, Refusal(refused.reason, str(refused)), reported)


def _report_bleeds(context: Context, volume: CtVolume, folder: Path) -> None:
    """Build what would leave if the network had found bleeds in these images."""
    labels = make_labels(volume.source.hu.shape)
    stages.build_analysed(context, volume, make_prediction(labels), folder)


def _report_refusal(
    report: Report, context: Context, paths: Sequence[Path], refusal: Refusal, folder: Path
) -> None:
    try:
        stages.build_refused(context, paths, refusal, folder)
        report.reports["refused"] += 1
    except stages.NotTold:  # that is an end of its own, which `show` says
        report.reports["refused, not told"] += 1
