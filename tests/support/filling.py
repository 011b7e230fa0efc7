"""Series of little that becomes much, to a worker's reading and refusing; how each ends, as JSON.

`python -m tests.support.filling FOLDER` runs with so little memory that none may fill it.
"""

import json
import struct
import sys
import zlib
from pathlib import Path

from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from ich_node.assemble.assemble import assemble
from ich_node.errors import SeriesRefused
from ich_node.pipeline import stages
from ich_node.records import Refusal
from ich_node.report.build import build_not_analysed
from ich_node.settings import Selection
from tests.support import series
from tests.support.bombing import limit_memory
from tests.support.peers import data_of

SLICES, MB = 6, 1 << 20
_PRIVATE, _PIXELS = b"\xe1\x7f\x10\x10", b"\xe0\x7f\x10\x00"


def main(folder: Path) -> None:
    """Print how each ends."""
    ends = {}
    for name, fill in CASES.items():
        paths = series.write(series.head_series(slices=SLICES), folder / name, _SYNTAX[name])
        for path in paths:
            fill(path)
        ends[name] = (paths, folder / f"{name} out")
    limit_memory()
    print(json.dumps({name: _end(*where) for name, where in ends.items()}))


def _end(paths: list[Path], out: Path) -> dict[str, object]:
    out.mkdir()
    try:
        facts = stages.facts_of_files(paths, Selection())
        assemble(paths)
    except SeriesRefused as refused:
        headers = stages.headers_of(paths)
        build_not_analysed(headers, Refusal(refused.reason, refused.text), out)
        return {
            "reason": str(refused.reason),
            "text": refused.text,
            "facts": facts.instances if facts else 0,
            "report": (out / "sr.dcm").exists(),
        }
    except Exception as error:
        return {"reason": type(error).__name__, "text": str(error)}
    return {"reason": "", "text": ""}


def _deflated(path: Path) -> None:
    """Put a value of 200 MB of zeros behind what there is, or in the place of every other's pixels.

    They take 200 KB.
    """
    data = data_of(path)
    head = path.read_bytes()[: -len(data)]
    plain = zlib.decompress(data, -zlib.MAX_WBITS)
    tag = _PRIVATE
    if int(path.stem) % 2:
        plain, tag = plain[: plain.index(_PIXELS)], _PIXELS
    stream = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    plain += tag + b"OB\0\0" + struct.pack("<L", 200 * MB)
    begin = stream.compress(plain) + stream.flush(zlib.Z_FULL_FLUSH)
    zeros = stream.compress(bytes(MB)) + stream.flush(zlib.Z_FULL_FLUSH)
    path.write_bytes(head + begin + zeros * 200 + stream.flush())


def _plain(path: Path) -> None:
    """Put a value of 300 MB behind what there is; the disk holds no zeros."""
    with path.open("ab") as file:
        file.write(_PRIVATE + b"OB\0\0" + struct.pack("<L", 300 * MB))
        file.truncate(file.tell() + 300 * MB)


def _elements(path: Path) -> None:
    with path.open("ab") as file:
        for number in range(200_000):
            tag = struct.pack("<HH", 0x7FE3 + 2 * (number >> 16), number & 0xFFFF)
            file.write(tag + b"LO\0\0")


CASES = {
    "deflated": _deflated,
    "plain": _plain,
    "elements": _elements,
}
_SYNTAX = {
    name: DeflatedExplicitVRLittleEndian if name == "deflated" else ExplicitVRLittleEndian
    for name in CASES
}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
