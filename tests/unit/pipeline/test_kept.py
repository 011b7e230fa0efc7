"""A built object is kept: the same work finds it, a crash leaves nothing half-built."""

from pathlib import Path

import pytest

from ich_node.errors import Reason
from ich_node.pipeline.kept import build_missing, build_once, objects_of, result_key
from ich_node.records import ModelIdentity, Refusal, Wanted

MODEL = ModelIdentity("m", "1", "a" * 64, "cpu", "bf16")


def write(content: str):
    return lambda part: (part / "sr.dcm").write_text(content)


def test_the_second_build_finds_the_first(tmp_path: Path) -> None:
    folder = tmp_path / "key"
    assert build_once(folder, write("one"))
    assert not build_once(folder, write("two"))
    assert (folder / "sr.dcm").read_text() == "one"


def test_a_build_that_fails_leaves_no_folder(tmp_path: Path) -> None:
    """What a crash or a failed check left behind is not taken for a result."""
    folder = tmp_path / "key"

    def crash(part: Path) -> None:
        (part / "seg.dcm").write_text("half")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        build_once(folder, crash)
    assert not folder.exists()
    assert build_once(folder, write("whole"))
    assert [path.name for path in folder.iterdir()] == ["sr.dcm"]


def test_a_folder_without_its_report_is_no_result(tmp_path: Path) -> None:
    """It is built anew, whole: what stands there alone must not leave."""
    folder = tmp_path / "key"
    (folder / "sc").mkdir(parents=True)
    (folder / "sc" / "a.dcm").write_text("alone")
    assert build_once(folder, write("whole"))
    assert [path.name for path in folder.iterdir()] == ["sr.dcm"]


def test_the_key_names_the_work_and_nothing_else() -> None:
    """Order of arrival does not count; sources, weights, device and precision do."""
    key = result_key(["1", "2"], MODEL)
    assert result_key(["2", "1"], MODEL) == key
    others = [
        result_key(["1", "3"], MODEL),
        result_key(["1", "2"], ModelIdentity("m", "1", "b" * 64, "cpu", "bf16")),
        result_key(["1", "2"], ModelIdentity("m", "1", "a" * 64, "cuda", "bf16")),
        result_key(["1", "2"], ModelIdentity("m", "1", "a" * 64, "cpu", "fp32")),
        result_key(["1", "2"], Refusal(Reason.GANTRY_TILT, "tilted")),
        result_key(["1", "2"], MODEL, Wanted(enhanced_sr=True)),
    ]
    assert len({key, *others}) == 7
    assert result_key(["1", "2"], MODEL, Wanted(("sc",))) == key


def add(part: Path, kinds: list[str]) -> None:
    for kind in kinds:
        (part / kind).mkdir()
        for name in ("b.dcm", "a.dcm"):
            (part / kind / name).write_text(kind)


def test_a_kind_that_is_asked_for_later_is_added_and_nothing_else_changes(tmp_path: Path) -> None:
    folder = tmp_path / "key"
    build_once(folder, write("one"))
    build_missing(folder, ["sc", "sr"], add)
    assert (folder / "sr.dcm").read_text() == "one"
    assert [path.name for path in objects_of(folder, "sc")] == ["a.dcm", "b.dcm"]
    build_missing(folder, ["sc"], lambda *_: pytest.fail("it is there"))
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_what_a_crash_left_of_a_kind_is_not_taken_for_it(tmp_path: Path) -> None:
    folder = tmp_path / "key"
    build_once(folder, write("one"))

    def crash(part: Path, kinds: list[str]) -> None:
        add(part, kinds)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        build_missing(folder, ["sc"], crash)
    assert objects_of(folder, "sc") == []
    build_missing(folder, ["sc"], add)
    assert len(objects_of(folder, "sc")) == 2
