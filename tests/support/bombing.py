"""Bombs of every transfer syntax to a node's intake and to assembly; how each ends, as JSON.

`python -m tests.support.bombing FOLDER` runs with so little memory that none may go off.
"""

import json
import resource
import sys
from collections.abc import Sequence
from pathlib import Path

import pydicom
from pydicom import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, ExplicitVRLittleEndian, RLELossless

from ich_node.assemble.assemble import assemble
from ich_node.errors import SeriesRefused
from ich_node.receive.contexts import DECODABLE
from ich_node.receive.intake import Intake, take
from ich_node.store.engine import migrate, open_engine
from tests.support import bombs, series
from tests.support.peers import node_settings, request_of

# A code stream that claims more than its header; both claim as much; and Rows that no image has.
CASES = ("stream", "agreed", "zero", "most", "negative")
_ROOM = 600 << 20  # bytes more than the process has when it begins
_LARGE = 30000


def main(folder: Path) -> None:
    """Print how each ends; the last is a sound series."""
    settings = node_settings(folder)
    engine = open_engine(settings.database_url)
    migrate(engine)
    intake = Intake(engine, settings)
    limit_memory()
    ends = {}
    for number, syntax in enumerate(sorted(DECODABLE)):
        for index, case in enumerate(CASES):
            seed = 1000 + 10 * number + index
            paths = _bombs(folder / str(seed), syntax, case, seed)
            ends[f"{syntax} {case}"] = _end(intake, paths)
    ends["sound"] = _end(intake, series.write(series.head_series(), folder / "sound"), sound=True)
    print(json.dumps(ends))


def limit_memory() -> None:
    """Let this process have little more than it has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + _ROOM
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _bombs(folder: Path, syntax: str, case: str, seed: int) -> list[Path]:
    """Write eight slices that claim more than they have."""
    rows = {"agreed": _LARGE, "zero": 0, "most": 65535}.get(case, 72)
    if case == "stream" and not _claims(syntax):
        rows = _LARGE
    stream = b""
    if UID(syntax).is_encapsulated:
        claimed = _LARGE if case in ("stream", "agreed") else 72
        stream = bombs.stream(syntax, claimed, claimed, folder / "stream")
    plain = syntax if not UID(syntax).is_encapsulated else ExplicitVRLittleEndian
    paths = series.write(series.head_series(seed, 8), folder, plain)
    for path in paths:
        dataset = pydicom.dcmread(path)
        _claim(dataset, rows, negative=case == "negative")
        if stream:
            dataset.file_meta.TransferSyntaxUID = UID(syntax)
            dataset.PixelData = encapsulate([stream])
            dataset["PixelData"].VR = "OB"
        dataset.save_as(path)
    return paths


def _claims(syntax: str) -> bool:
    """Tell whether a code stream of this syntax names a size of its own."""
    return UID(syntax).is_encapsulated and UID(syntax) != RLELossless


def _claim(dataset: Dataset, rows: int, *, negative: bool) -> None:
    if negative:
        dataset.add_new("Rows", "IS", "-5")
    elif rows != dataset.Rows:
        dataset.Rows = dataset.Columns = rows


def _end(intake: Intake, paths: Sequence[Path], *, sound: bool = False) -> dict[str, object]:
    first = take(intake, request_of(paths[0]))
    dataset = pydicom.dcmread(paths[0])
    other = paths[0].with_suffix(".other")
    if not sound:
        dataset.PixelData = dataset.PixelData[:-2] + b"\1\0"
    dataset.save_as(other)
    again = take(intake, request_of(other))
    reason = text = ""
    try:
        assemble(list(paths))
    except SeriesRefused as refused:
        reason, text = str(refused.reason), refused.text
    except Exception as error:
        reason, text = type(error).__name__, str(error)
    return {"first": first.status, "again": again.status, "reason": reason, "text": text}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
