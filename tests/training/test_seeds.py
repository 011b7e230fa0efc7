"""No head serves two purposes: what is measured by cannot be learned from, by no command."""

import itertools
import json
import re
import shutil
import sys
from pathlib import Path

import pytest

from ich_node.infer.bundle import METADATA, find_bundle
from tests.training.phantom import write_phantoms
from training import ablations, data, downstream, export, preview, seeds, upstream
from training.batches import Slices
from training.recipe import Recipe
from training.seeds import EVALUATION, TRAINING, VALIDATION, SeedError


def _told(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["command", *map(str, words)])


def test_seeds_serve_one_purpose():
    for one, next_ in itertools.pairwise((TRAINING, VALIDATION, EVALUATION)):
        assert one.seeds[-1] < next_.seeds[0]


def test_heads_are_stated_by_ranges_of_their_seeds():
    """Whatever else lies in the folder is counted, and not named: names may be patients'."""
    names = ["000007.npz", "000003.npz", "000004.npz", "cq500-12.npz", "12.npz"]
    found = seeds.stated(Path("heads") / name for name in names)
    assert found == {"seeds": [[3, 4], [7, 7]], "others": 2}


def test_seeds_of_the_shipped_weights_are_still_drawn():
    """By the commands in the card, which name all heads of its last leg."""
    folder = find_bundle("smartnet-ich")
    card = (folder / "docs" / "README.md").read_text()
    commands = re.findall(r"training\.data --first (\d+) --count (\d+) ", card)
    drawn = [seeds.to_draw(int(first), int(count)) for first, count in commands]
    learned = json.loads((folder / METADATA).read_text())["origin"]["heads"]
    assert learned["others"] == 0
    for first, last in learned["seeds"]:
        assert {first, last} <= {seed for own in drawn for seed in own}


@pytest.mark.parametrize(
    ("first", "count"),
    [(900_000, 1), (999_999, 1), (89_999, 2), (99_999, 2), (100_000, 5), (0, 900_001), (-1, 2)],
)
def test_no_command_draws_what_is_measured_by(first, count, tmp_path, monkeypatch):
    """Nor a folder of two purposes; and nothing is drawn before it is refused."""
    monkeypatch.setattr(data, "draw_example", lambda *_: pytest.fail("a head was drawn"))
    _told(monkeypatch, "--first", first, "--count", count, "--out", tmp_path / "heads")
    expected = rf"--first {first} --count {count}: .*0 to 89999 .*90000 to 99999 .*900000 to 999999"
    with pytest.raises(SystemExit, match=expected):
        data.main()
    assert not (tmp_path / "heads").exists()


def test_a_look_is_at_no_head_that_is_measured_by(monkeypatch, tmp_path):
    """Unless it is asked for by its seed."""
    drawn = []

    def draw(seed, *_, **__):
        drawn.append(seed)
        raise StopIteration

    monkeypatch.setattr(preview, "draw_example", draw)
    _told(monkeypatch, "--out", tmp_path / "a.png")
    with pytest.raises(StopIteration):
        preview.main()
    assert drawn[0] in TRAINING.seeds


@pytest.mark.parametrize("purpose", [VALIDATION, EVALUATION])
def test_nothing_learns_from_heads_of_another_purpose(purpose, heads, tmp_path):
    """However they came into the folder, and if only while a run goes on."""
    folder = shutil.copytree(heads, tmp_path / "heads")
    slices = Slices(Recipe(backbone="tiny"), folder)
    assert data.head_files(folder, TRAINING)
    write_phantoms(folder, purpose)
    with pytest.raises(SeedError, match=rf"{purpose.seeds[0]}\.npz is one of .*0 to 89999"):
        slices[0]


@pytest.mark.parametrize("command", [upstream, downstream, ablations])
@pytest.mark.parametrize("fault", ["learned from", "measured by", "in both"])
def test_a_training_refuses_a_validation_by_other_heads(
    command, fault, heads, held_out, tmp_path, monkeypatch
):
    """Before it begins. A real head has no seed: it may not be in both folders."""
    learned, validated = (tmp_path / name for name in ("heads", "validation"))
    shutil.copytree(heads, learned)
    shutil.copytree(held_out, validated)
    if fault == "in both":
        for folder in (learned, validated):
            (next(folder.iterdir())).rename(folder / "physionet-049.npz")
        expected = "validation/physionet-049.npz lies in .*heads too"
    else:
        other = TRAINING if fault == "learned from" else EVALUATION
        (validated / seeds.file_name(VALIDATION.seeds[0])).rename(
            validated / seeds.file_name(other.seeds[7])
        )
        expected = rf"validation/{other.seeds[7]:06d}.npz is one of .*90000 to 99999"
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        'backbone = "tiny"\ndata = {batch = 2, workers = 0}\nupstream = {steps = 1}\n'
        "downstream = {steps = 1, slices = 4, heads = 1, classifier_steps = 0}\n"
    )
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "slices.safetensors").touch()
    _told(
        monkeypatch,
        *("--recipe", recipe, "--heads", learned, "--validation", validated),
        *("--out", tmp_path / "run"),
    )
    with pytest.raises(SystemExit, match=expected):
        command.main()
    assert not list(tmp_path.glob("run/**/*.pt"))


def test_a_bundle_is_not_calibrated_by_heads_that_were_learned_from(heads, tmp_path, monkeypatch):
    _told(
        monkeypatch,
        *("--validation", heads, "--out", tmp_path / "b", "--name", "a", "--version", "1"),
        *("--authors", "A. Author", "--copyright", "Some Clinic"),
    )
    with pytest.raises(SystemExit, match=r"000000.npz is one of .*to learn from.*90000 to 99999"):
        export.main()
    assert not (tmp_path / "b").exists()
