"""The same work of the same edition gives the same bytes, whenever it is done."""

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from ich_node.errors import Reason
from ich_node.records import Edition, Refusal, Superseded, Wanted
from ich_node.report.build import build_not_analysed, build_others, build_results
from tests.support.volumes import make_case

KINDS = ("sc", "seg-labelmap", "pr")
FIRST = Superseded(1, "1.2.840.10008.5.1.4.1.1.88.34", "2.25.1", "2.25.2")
EDITION = Edition(datetime(2026, 1, 2, 3, 4, 5, 60), FIRST)
LATER = Edition(EDITION.made + timedelta(minutes=1), FIRST)


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.dcm"))
    }


def analysed(folder: Path, edition: Edition) -> dict[str, bytes]:
    """SEG and SR, then the other kinds as they are added later."""
    folder.mkdir()
    _, volume, prediction = make_case(shape=(8, 24, 24))
    build_results(volume, prediction, folder, edition)
    build_others(volume, prediction, folder, edition, Wanted(KINDS))
    return bytes_of(folder)


def refused(folder: Path, edition: Edition) -> dict[str, bytes]:
    folder.mkdir()
    series, *_ = make_case(shape=(8, 24, 24))
    refusal = Refusal(Reason.GANTRY_TILT, "gantry tilt of +18.5 degrees")
    build_not_analysed(series, refusal, folder, edition, Wanted(("sc",)))
    return bytes_of(folder)


@pytest.mark.parametrize(("build", "objects"), [(analysed, 14), (refused, 2)])
def test_an_edition_is_built_again_byte_for_byte(tmp_path: Path, build, objects: int) -> None:
    first = build(tmp_path / "first", EDITION)
    assert len(first) == objects
    assert build(tmp_path / "again", EDITION) == first
    later = build(tmp_path / "later", LATER)
    assert later.keys() == first.keys()
    assert not [name for name in first if first[name] == later[name]], "each says when it was made"
