"""What a run leaves beside its last weights: the best ones, pictures, versions."""

import json
import math
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ich_node.codes import CLASSES
from ich_node.infer.network import SliceNet
from training import downstream, upstream
from training.batches import Batch
from training.downstream import train_network
from training.loop import Run, rate
from training.recipe import Data, Downstream, Recipe, Stage, Upstream, keep_recipe, read_recipe
from training.upstream import keep_weights, train_slices

CPU = torch.device("cpu")
PUBLISHED = Path(__file__).parents[2] / "config" / "training" / "published.toml"


def test_the_best_by_validation_stay_when_later_ones_are_worse(
    heads, held_out, tmp_path, monkeypatch
):
    """Validated after each of three steps, the second being best: its weights are the best kept."""
    seen, figures = [], iter([0.5, 0.9, 0.6])

    def judged(net, *_):
        seen.append({name: value.clone() for name, value in net.state_dict().items()})
        return {"dice": next(figures), "auc_any": 0.5}

    monkeypatch.setattr(upstream, "validate_slices", judged)
    recipe = Recipe(
        backbone="tiny",
        data=Data(batch=4, workers=0),
        upstream=Upstream(steps=3, validate_minutes=1e-9),
    )
    train_slices(recipe, heads, held_out, tmp_path, CPU)
    best, last = (load_file(tmp_path / name) for name in (upstream.BEST, upstream.WEIGHTS))
    assert all(torch.equal(best[name], value) for name, value in seen[1].items())
    assert all(torch.equal(last[name], value) for name, value in seen[2].items())
    assert not all(torch.equal(best[name], last[name]) for name in best)


@pytest.mark.parametrize(
    ("figures", "best"), [((0.5, 0.9, 0.7, 0.6), 1), ((0.5, 0.6, 0.7, 0.8), 3)]
)
def test_the_best_whole_network_of_both_parts_stays(
    figures, best, heads, held_out, tmp_path, monkeypatch
):
    """Two steps of volumes, two of the classifier alone: whichever is best, of them all."""
    seen, told = [], iter(figures)

    def judged(net, *_):
        assert not any(part.training for part in net.modules())
        seen.append({name: value.clone() for name, value in net.state_dict().items()})
        return {"dice": next(told), "auc_any": 0.5}

    monkeypatch.setattr(downstream, "validate_volumes", judged)
    stage = Downstream(
        steps=2, classifier_steps=2, slices=4, heads=1, average=0.9, validate_minutes=1e-9
    )
    recipe = Recipe(backbone="tiny", data=Data(workers=0), downstream=stage)
    torch.manual_seed(0)
    keep_weights(SliceNet("tiny", len(CLASSES)), tmp_path / upstream.WEIGHTS)
    train_network(recipe, heads, tmp_path, CPU, held_out)
    kept, last = (load_file(tmp_path / name) for name in (downstream.BEST, downstream.WEIGHTS))
    assert len(seen) == 4
    assert all(torch.equal(kept[name], value) for name, value in seen[best].items())
    assert all(torch.equal(last[name], value) for name, value in seen[3].items())
    assert not all(torch.equal(seen[2][name], value) for name, value in seen[3].items())
    for name in ("volumes", "classifier"):
        board = EventAccumulator(str(tmp_path / "tensorboard" / name)).Reload()
        assert [one.step for one in board.Scalars("validation/dice")] == [1, 2]


def test_volumes_learned_are_the_same_validated_or_not(heads, held_out, tmp_path):
    """Validation takes nothing from what chance gives the steps."""
    recipe = Recipe(
        backbone="tiny",
        data=Data(workers=0),
        downstream=Downstream(
            steps=3, classifier_steps=2, slices=4, heads=1, validate_minutes=1e-9
        ),
    )
    found = []
    for validation in (None, held_out):
        out = tmp_path / str(validation is None)
        out.mkdir()
        torch.manual_seed(0)
        keep_weights(SliceNet("tiny", len(CLASSES)), out / upstream.WEIGHTS)
        found.append(train_network(recipe, heads, out, CPU, validation).state_dict())
        assert (out / downstream.BEST).exists() == (validation is not None)
    assert all(torch.equal(found[0][name], value) for name, value in found[1].items())


def test_a_run_taken_up_knows_its_best(tmp_path):
    """A worse validation after a restart does not pass for the best; the first one ever does."""
    net = torch.nn.Linear(1, 1)
    run = Run(net, Stage(steps=5), tmp_path, "some")
    assert run.state.best == -math.inf
    assert run.is_best(0.7)
    run.save()
    again = Run(net, Stage(steps=5), tmp_path, "some")
    assert not again.is_best(0.7)
    assert again.is_best(0.71)


def test_a_run_states_the_versions_it_was_made_with(tmp_path):
    keep_recipe(Recipe(), tmp_path)
    stated = json.loads((tmp_path / "versions.json").read_text())
    assert stated["torch"] == version("torch")
    assert {"python", "ich-node", "numpy", "monai", "opencv-python-headless"} <= stated.keys()


def test_a_run_taken_up_with_other_versions_says_so_and_goes_on(tmp_path, capsys):
    """One line, with both; with the same versions none."""
    keep_recipe(Recipe(), tmp_path)
    keep_recipe(Recipe(), tmp_path)
    assert capsys.readouterr().out == ""
    path = tmp_path / "versions.json"
    now = json.loads(path.read_text())
    path.write_text(json.dumps(now | {"torch": "1.0"}))
    keep_recipe(Recipe(), tmp_path)
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    assert f"other versions before: torch was '1.0', is {now['torch']!r}" in said
    assert json.loads(path.read_text()) == now


def test_a_part_that_few_steps_have_is_on_the_board(tmp_path):
    """The reconstruction of every 8th step is shown though the board is written in other steps."""
    net = torch.nn.Linear(1, 1)
    run = Run(net, Stage(steps=60), tmp_path, "some")
    for step in range(40):
        parts = {"masks": net(torch.ones(1, 1)).sum()}
        run.learn(parts | ({"reconstruction": parts["masks"] * 0 + step} if step % 8 == 0 else {}))
    run.board.close()
    board = EventAccumulator(str(tmp_path / "tensorboard" / "some")).Reload()
    shown = [(one.step, one.value) for one in board.Scalars("loss/reconstruction")]
    assert shown == [(20, 16), (40, 32)]
    assert len(board.Scalars("loss/masks")) == 2


def test_warm_up_is_a_share_of_the_run():
    """Half-way through it the rate is half, whatever the schedule; after it, all of it."""
    for kind in ("published", "ours"):
        stage = Stage(schedule=kind, warm_up=0.02, floor=0.0)
        assert rate(stage, 0.01) == pytest.approx(0.5, abs=0.01)
        assert rate(stage, 0.02) == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("epochs", [1000, 500])
def test_published_rates_are_the_papers_epoch_by_epoch(epochs):
    """e/10 for ten epochs; then 1 - max(0, e - E/10) / (E - E/10), at least the floor."""
    recipe = read_recipe(PUBLISHED)
    stage = recipe.upstream if epochs == 1000 else recipe.downstream
    for epoch in range(epochs):
        fall = 1 - max(0, epoch - epochs / 10) / (epochs - epochs / 10)
        paper = max(epoch / 10 if epoch < 10 else fall, stage.floor)
        assert rate(stage, epoch / epochs) == pytest.approx(paper, abs=0.011)


def test_a_batch_is_pinned_whole(monkeypatch):
    """Torch's loader pins what has the method, and each tensor of a batch is pinned by it."""
    pinned = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda one: pinned.append(one) or one)
    batch = Batch(torch.zeros(1), torch.zeros(2), torch.zeros(3))
    batch.pin_memory()
    assert [len(one) for one in pinned] == [1, 2, 3]
