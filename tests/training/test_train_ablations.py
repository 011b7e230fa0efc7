"""Ablations take tasks away, truly, and put what that costs in a table."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from ich_node.codes import CLASSES
from ich_node.infer.network import SliceNet
from tests.training.phantom import phantom, write_phantoms
from training import ablations, upstream
from training.ablations import ABLATIONS, folder_of, shortened, table, without
from training.batches import take
from training.recipe import Data, Downstream, Recipe, RecipeError, Upstream, read_recipe
from training.seeds import VALIDATION
from training.upstream import step_losses

CPU = torch.device("cpu")
CONFIG = Path(__file__).parents[2] / "config" / "training" / "ablation.toml"
# What is computed for a task, and nothing else.
BRANCHES = {"masks": "seg_decoder", "reconstruction": "rec_decoder"}


def _parts_that_learn(recipe):
    """Losses, modules that ran, and modules that got a gradient, of one step."""
    torch.manual_seed(0)
    net, ran = SliceNet("tiny", len(CLASSES)), set()
    for name, module in net.named_children():
        module.register_forward_hook(lambda *_, name=name: ran.add(name))
    batch = take(np.random.default_rng(0), recipe, phantom({2: ("epidural",)}))
    parts = step_losses(net, recipe, batch, 0, CPU)
    torch.stack(list(parts.values())).sum().backward()
    taught = {name.split(".")[0] for name, one in net.named_parameters() if one.grad is not None}
    return set(parts), ran, taught


@pytest.mark.parametrize("name", ABLATIONS)
def test_a_task_without_weight_is_neither_computed_nor_learned(name):
    recipe = without(read_recipe(CONFIG), ABLATIONS[name])
    parts, ran, taught = _parts_that_learn(recipe)
    assert parts == {"classes", "masks", "reconstruction", "consistency"} - set(ABLATIONS[name])
    for task, branch in BRANCHES.items():
        assert (branch in ran) == (branch in taught) == (task in parts)
    assert ("classification_head" in taught) == ("classes" in parts)
    assert "encoder" in taught


def test_each_pair_of_tasks_the_whole_and_the_whole_without_consistency_are_run():
    tasks = ("classes", "masks", "reconstruction")
    left = [tuple(task for task in tasks if task not in gone) for gone in ABLATIONS.values()]
    assert set(left) == {tasks, tasks[:2], tasks[1:], (tasks[0], tasks[2])}
    assert ("consistency",) in ABLATIONS.values()
    assert len({folder_of(name) for name in ABLATIONS}) == len(ABLATIONS)


def test_steps_shorten_every_stage_alike():
    recipe = Recipe(
        upstream=Upstream(steps=100), downstream=Downstream(steps=50, classifier_steps=20)
    )
    short = shortened(recipe, 10)
    stage = short.downstream
    assert (short.upstream.steps, stage.steps, stage.classifier_steps) == (10, 5, 2)
    assert shortened(recipe, 1).downstream.steps == 1
    with pytest.raises(RecipeError, match="--steps 0: expected at least 1"):
        shortened(recipe, 0)


def test_table_has_a_dash_for_what_a_run_was_not_taught():
    both = {"auc_any": 0.91, "dice": 0.5}
    text = table({"A": {"slices": {"dice": 0.25}, "heads": both}}, "About.")
    assert text.splitlines()[0] == "About."
    assert text.splitlines()[-1] == "| A | - | 0.250 | 0.910 | 0.500 |"


def test_command_runs_all_and_writes_the_table(tmp_path, monkeypatch, capsys):
    """Both stages of each, figures of what was taught."""
    heads = write_phantoms(tmp_path / "heads")
    held_out = write_phantoms(tmp_path / "validation", VALIDATION)
    recipe = Recipe(
        backbone="tiny",
        data=Data(batch=4, workers=0),
        upstream=Upstream(steps=4),
        downstream=Downstream(slices=4, heads=2, steps=4, classifier_steps=2),
    )
    monkeypatch.setattr(ablations, "read_recipe", lambda _: recipe)
    words = ["--heads", str(heads), "--validation", str(held_out), "--device", "cpu"]
    monkeypatch.setattr(
        sys, "argv", ["ablations", *words, "--steps", "2", "--out", str(tmp_path / "out")]
    )
    ablations.main()
    written = (tmp_path / "out" / "ablations.md").read_text()
    assert written in capsys.readouterr().out
    rows = [line.split("|")[1:-1] for line in written.splitlines() if line.startswith("| ")][1:]
    assert [row[0].strip() for row in rows] == list(ABLATIONS)
    dashes = [[index for index, cell in enumerate(row) if cell.strip() == "-"] for row in rows]
    assert dashes == [[], [], [], [2], [1]]
    for row in rows:
        assert all(0 <= float(cell) <= 1 for cell in row[1:] if cell.strip() != "-")
    weights = sorted((tmp_path / "out").glob("*/*.safetensors"))
    assert len(weights) == 2 * len(ABLATIONS)


def test_a_stopped_run_is_not_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(ablations, "train_slices", lambda *_: None)
    heads = write_phantoms(tmp_path / "heads")
    held_out = write_phantoms(tmp_path / "validation", VALIDATION)
    assert ablations.run(Recipe(), heads, held_out, tmp_path / "out", CPU) is None


def test_a_missing_encoder_is_told_on_one_line(tmp_path, monkeypatch):
    """The recipe begins with one that a package ships."""
    folders = [write_phantoms(tmp_path / "heads"), write_phantoms(tmp_path / "held", VALIDATION)]
    told = ["--heads", folders[0], "--validation", folders[1], "--out", tmp_path / "out"]
    monkeypatch.setattr(sys, "argv", ["ablations", "--recipe", str(CONFIG), *map(str, told)])
    monkeypatch.setattr(upstream, "find_spec", lambda _: None)
    with pytest.raises(SystemExit, match=r"efficientnet-lite0.*not installed"):
        ablations.main()
