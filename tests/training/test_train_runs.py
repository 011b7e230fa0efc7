"""Runs stop when told to, and go on as if they never had."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ich_node.codes import CLASSES
from ich_node.infer.network import SliceNet
from training import downstream, upstream
from training.downstream import train_classifier, train_network, transfer
from training.loop import Run
from training.published.checkpoints import CheckpointError
from training.recipe import Data, Downstream, Recipe, RecipeError, Stage, Upstream
from training.upstream import train_slices

CPU = torch.device("cpu")
CONFIG = Path(__file__).parents[2] / "config" / "training"
SHORT = Recipe(
    backbone="tiny",
    data=Data(batch=4, workers=0),
    upstream=Upstream(steps=6),
    downstream=Downstream(steps=6, slices=4, heads=2, classifier_steps=6),
)


def test_a_run_may_begin_with_the_weights_of_an_earlier_one(heads, tmp_path):
    """Whole, or not at all: a network of another backbone is refused by its file's name."""
    train_slices(SHORT, heads, None, tmp_path / "first", CPU)
    before = tmp_path / "first" / "slices.safetensors"
    small_steps = Upstream(steps=1, learning_rate=1e-12, average=0)
    later = SHORT.model_copy(update={"start": str(before), "upstream": small_steps})
    net = train_slices(later, heads, None, tmp_path / "second", CPU)
    for name, tensor in load_file(before).items():
        if name.endswith(("weight", "bias")):
            torch.testing.assert_close(net.state_dict()[name], tensor, rtol=1e-4, atol=1e-6)
    other = later.model_copy(update={"backbone": "lite"})
    with pytest.raises(CheckpointError, match=r"first/slices\.safetensors"):
        train_slices(other, heads, None, tmp_path / "third", CPU)


def test_frozen_parts_of_the_encoder_stay_and_the_rest_learns(heads, tmp_path):
    """Their statistics too, which no gradient would hold."""
    train_slices(SHORT, heads, None, tmp_path / "first", CPU)
    before = tmp_path / "first" / "slices.safetensors"
    stage = Upstream(steps=2, average=0, frozen=("conv1", "bn1", "layer1"))
    later = SHORT.model_copy(update={"start": str(before), "upstream": stage})
    now = train_slices(later, heads, None, tmp_path / "second", CPU).state_dict()
    moved = {
        ".".join(name.split(".")[:2])
        for name, tensor in load_file(before).items()
        if name.startswith("encoder.") and not torch.equal(now[name], tensor)
    }
    assert moved == {"encoder.layer2", "encoder.layer3", "encoder.layer4"}


def test_a_frozen_part_that_the_encoder_has_not_is_refused(heads, tmp_path):
    stage = Upstream(steps=1, frozen=("layer1", "layer9"))
    wrong = SHORT.model_copy(update={"upstream": stage})
    with pytest.raises(RecipeError, match=r"upstream\.frozen: .* no layer9; it has conv1, bn1"):
        train_slices(wrong, heads, None, tmp_path / "run", CPU)


def _stop_after(monkeypatch, step):
    """Let SIGTERM arrive in the middle of a step of each stage."""
    learn = Run.learn

    def told(self, parts):
        learn(self, parts)
        if self.state.step == step:
            signal.getsignal(signal.SIGTERM)(signal.SIGTERM, None)

    monkeypatch.setattr(Run, "learn", told)


def _same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def test_slices_resumed_are_slices_never_stopped(heads, tmp_path, monkeypatch):
    """3 steps, SIGTERM, 3 more: to the last bit what 6 at once give; nothing is left half done."""
    whole = train_slices(SHORT, heads, None, tmp_path / "whole", CPU).state_dict()
    with monkeypatch.context() as patch:
        _stop_after(patch, 3)
        assert train_slices(SHORT, heads, None, tmp_path / "parts", CPU) is None
    assert not (tmp_path / "parts" / "slices.safetensors").exists()
    assert torch.load(tmp_path / "parts" / "slices.pt", weights_only=True)["step"] == 3
    assert _same(train_slices(SHORT, heads, None, tmp_path / "parts", CPU).state_dict(), whole)
    assert _same(load_file(tmp_path / "parts" / "slices.safetensors"), whole)


def test_ctrl_c_stops_a_run_so_that_it_can_go_on(heads, tmp_path):
    """A terminal sends it to all its processes: no error, and the step at hand is whole."""
    (tmp_path / "recipe.toml").write_text('backbone = "tiny"\n[data]\nworkers = 2\n')
    out = tmp_path / "run"
    talkative = (
        "from training import loop, upstream\nloop._SAY_S = 0.0\n"
        "if __name__ == '__main__': upstream.main()"
    )
    told = ["--recipe", tmp_path / "recipe.toml", "--heads", heads, "--out", out]
    with subprocess.Popen(
        [sys.executable, "-u", "-c", talkative, *told],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            assert process.stdout is not None
            while "step" not in (line := process.stdout.readline()):
                assert line, "it ended by itself"
            os.killpg(process.pid, signal.SIGINT)
            said, _ = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 0, said
    assert "goes on" in said
    assert "Traceback" not in said
    assert torch.load(out / "slices.pt", weights_only=True)["step"] > 0


def test_volumes_resumed_are_volumes_never_stopped(heads, tmp_path, monkeypatch):
    """The same of the second stage, stopped in the volumes and again in the classifier."""
    stage = SHORT.downstream.model_copy(update={"unfreeze": (0.5,)})
    recipe = SHORT.model_copy(update={"downstream": stage})
    for folder in ("whole", "parts"):
        (tmp_path / folder).mkdir()
        torch.manual_seed(0)
        upstream.keep_weights(
            SliceNet("tiny", len(CLASSES)), tmp_path / folder / "slices.safetensors"
        )
    whole = train_network(recipe, heads, tmp_path / "whole", CPU).state_dict()
    with monkeypatch.context() as patch:
        _stop_after(patch, 3)
        assert train_network(recipe, heads, tmp_path / "parts", CPU) is None
        assert not (tmp_path / "parts" / "classifier.pt").exists()
        assert train_network(recipe, heads, tmp_path / "parts", CPU) is None
    assert torch.load(tmp_path / "parts" / "classifier.pt", weights_only=True)["step"] == 3
    assert not (tmp_path / "parts" / "network.safetensors").exists()
    assert _same(train_network(recipe, heads, tmp_path / "parts", CPU).state_dict(), whole)


def test_a_finished_stage_learns_no_more(heads, tmp_path):
    recipe = SHORT.model_copy(update={"upstream": Upstream(steps=1)})
    first = train_slices(recipe, heads, None, tmp_path, CPU).state_dict()
    assert _same(train_slices(recipe, heads, None, tmp_path, CPU).state_dict(), first)
    assert torch.load(tmp_path / "slices.pt", weights_only=True)["step"] == 1


def test_classifier_learns_alone(heads, tmp_path):
    """The last stage changes the BiLSTM and its head, and nothing that the masks rest on."""
    torch.manual_seed(0)
    net = transfer(SliceNet("tiny", len(CLASSES)), "tiny")
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    train_classifier(SHORT, net, heads, tmp_path)
    changed = {
        name.split(".")[0]
        for name, tensor in net.state_dict().items()
        if not torch.equal(tensor, before[name])
    }
    assert changed == {"classifier"}


def test_volume_stage_needs_the_slice_network(heads, tmp_path, monkeypatch):
    words = ["--recipe", str(CONFIG / "ours.toml"), "--heads", str(heads), "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["downstream", *words])
    with pytest.raises(SystemExit, match=r"slices.safetensors is not there.*training.upstream"):
        downstream.main()


@pytest.mark.parametrize("stage", [upstream, downstream])
def test_a_folder_without_heads_is_an_error_not_an_endless_wait(stage, tmp_path, monkeypatch):
    (tmp_path / "run").mkdir()
    upstream.keep_weights(SliceNet("lite", len(CLASSES)), tmp_path / "run" / "slices.safetensors")
    words = ["--recipe", str(CONFIG / "ours.toml"), "--heads", str(tmp_path), "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", ["train", *words, "--out", str(tmp_path / "run")])
    with pytest.raises(SystemExit, match="holds no heads"):
        stage.main()


def test_a_loss_that_is_not_finite_stops_before_it_spoils_the_weights(tmp_path):
    net = torch.nn.Linear(1, 1)
    before = net.weight.detach().clone()
    run = Run(net, Stage(steps=5), tmp_path, "some")
    with pytest.raises(FloatingPointError, match=r"some step 0.*masks nan.*learning_rate"):
        run.learn({"masks": net(torch.full((1, 1), torch.nan)).sum()})
    assert torch.equal(net.weight, before)


def test_minutes_end_a_stage_and_what_is_left_out_does_not_count(tmp_path, monkeypatch):
    """The clock of a budget stands still while a network is validated."""
    now = [0.0]
    monkeypatch.setattr("training.loop.time.monotonic", lambda: now[0])
    net = torch.nn.Linear(1, 1)
    run = Run(net, Stage(minutes=1), tmp_path, "some")
    run.learn({"a": net(torch.ones(1, 1)).sum()})
    now[0] = 500.0
    run.leave_out()
    now[0] = 559.0
    run.learn({"a": net(torch.ones(1, 1)).sum()})
    assert run.goes_on()
    now[0] = 561.0
    run.learn({"a": net(torch.ones(1, 1)).sum()})
    assert not run.goes_on()
    assert run.finished
