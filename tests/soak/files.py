"""Damaged files through everything that reads them: intake, facts, assembly, some through reports.

Each ends as what it is: stored or refused with a status; assembled, or refused with a reason; of
some of them the results are built and checked. Anything else is counted as unclear.
"""

from __future__ import annotations

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
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import pydicom
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from ich_node.errors import SeriesRefused
from ich_node.pipeline import stages
from ich_node.pipeline.outcome import Context
from ich_node.receive.intake import Incoming, Intake, take
from ich_node.records import CtVolume, Refusal
from ich_node.settings import Selection
from ich_node.store.engine import migrate, open_engine
from tests.soak.damage import damaged
from tests.soak.told import Told
from tests.support.peers import SENDER, data_of, node_settings
from tests.support.series import head_series, write
from tests.support.volumes import make_labels, make_prediction

_SYNTAXES = (
    ExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
    RLELossless,
    JPEGLSLossless,
    JPEG2000Lossless,
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
_REPORTED = 0.05  # of the series, those whose results are built
_FRESH = 2000  # series, after which the intake's folder is emptied


@dataclass
class Report:
    """What came of the files; `unclear` has the place in the code of each unclear end."""

    seed: int
    files: int = 0
    syntaxes: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    reports: Counter[str] = field(default_factory=Counter)
    unclear: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0
    rss_mb: float = 0.0
    seconds: float = 0.0
    files_per_s: float = 0.0


def soak_files(count: int, seed: int, folder: Path) -> Report:
    """Damage so many files, a few of each series, and read them."""
    rng, report, began = random.Random(seed), Report(seed), time.monotonic()
    bases = _bases(folder / "good")
    told = Told()
    while report.files < count:
        with tempfile.TemporaryDirectory(dir=folder) as fresh, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom's, of odd values: one for each fault
            intake = _intake(Path(fresh))
            for _ in range(_FRESH):
                if report.files >= count:
                    break
                _one(rng, report, intake, rng.choice(bases), Path(fresh) / "series")
                told.say(f"{report.files} files, {sum(report.unclear.values())} unclear")
            intake.engine.dispose()
    report.seconds = round(time.monotonic() - began, 1)
    report.files_per_s = round(report.files / report.seconds, 1)
    report.rss_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return report


def _bases(folder: Path) -> list[list[bytes]]:
    """Return the files of one small series in every transfer syntax that can be written here."""
    sound = head_series(1, 10)
    bases = [
        [path.read_bytes() for path in write(sound, folder / str(index), syntax)]
        for index, syntax in enumerate(_SYNTAXES)
    ]
    if _DCMCJPEG.exists():
        plain = write(sound, folder / "plain")
        bases += [[_packed(path, option) for path in plain] for option in _JPEG]
    return bases


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
    syntax = pydicom.dcmread(BytesIO(base[0]), specific_tags=[]).file_meta.TransferSyntaxUID
    for index in rng.sample(range(len(files)), rng.choice((1, 2, 6))):
        files[index] = _spoilt(rng, files[index])
        report.files += 1
        report.syntaxes[syntax.name] += 1
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
            for keyword in rng.sample(dataset.dir(), rng.randint(1, 2)):
                if keyword != "PixelData" and rng.random() < 0.8:
                    dataset[keyword]._value = rng.choice(_VALUES)  # what it would not let us set
                else:
                    del dataset[keyword]
            dataset.save_as(buffer, enforce_file_format=False)
            return buffer.getvalue()
        except Exception:
            pass
    header = rng.random() < 0.6
    return damaged(rng, data, _PART, _PART + 1800 if header else None)


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
        meta = pydicom.dcmread(file.name, stop_before_pixels=True)
        begins = len(good) - len(data_of(Path(file.name)))
    request = Incoming(
        sop_class_uid=str(meta.SOPClassUID),
        sop_instance_uid=str(meta.SOPInstanceUID),
        transfer_syntax_uid=str(meta.file_meta.TransferSyntaxUID),
        data=memoryview(data[begins:]),
        source=SENDER,
        calling_ae="SENDER",
    )
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
