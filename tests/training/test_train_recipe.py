"""A recipe says everything, refuses what it does not know, and every name in it does something."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ich_node.infer.network import SliceNet
from ich_node.infer.preprocess import OURS, PUBLISHED
from training.downstream import learning_parts, transfer, unfreeze
from training.loop import Run, optimiser_of, rate
from training.recipe import (
    Downstream,
    Recipe,
    RecipeError,
    Stage,
    keep_recipe,
    read_recipe,
)

CONFIG = Path(__file__).parents[2] / "config" / "training"


def _read(tmp_path, text):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return read_recipe(path)


def test_an_empty_file_is_a_recipe_and_every_shipped_one_reads(tmp_path):
    assert _read(tmp_path, "") == Recipe()
    for path in CONFIG.glob("*.toml"):
        assert read_recipe(path).backbone


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sede = 1", r"mine.toml: sede = 1: there is no such key; allowed here: backbone, start"),
        ("[data]\nflips = 1", r"data.flips = 1: .*allowed here: batch, workers, sampling, flip"),
        ("[upstream]\nlr = 1", r"upstream.lr = 1: .*allowed here: .*learning_rate"),
        ("[data]\nflip = 'up'", r"data.flip = 'up': .*'published' or 'ours'"),
        ("[downstream]\nslices = 2", r"downstream.slices = 2: .*greater than or equal to 4"),
        ("size = 200", r"size = 200: .*multiple of 16"),
        ("[upstream]\nsteps = '9x'", r"upstream.steps = '9x': .*integer"),
        ("[losses]\nclasses = 0\nmasks = 0", r"losses = .*nothing is learned in most steps"),
        ("backbone = ", r"mine.toml: Invalid value"),
    ],
)
def test_what_is_not_allowed_is_refused_with_key_value_and_what_is(tmp_path, text, said):
    with pytest.raises(RecipeError, match=said):
        _read(tmp_path, text)


def test_a_missing_recipe_is_named(tmp_path):
    with pytest.raises(RecipeError, match=r"no\.toml"):
        read_recipe(tmp_path / "no.toml")


def test_a_folder_keeps_its_recipe_with_every_default(tmp_path):
    keep_recipe(Recipe(seed=7), tmp_path / "run")
    kept = json.loads((tmp_path / "run" / "recipe.json").read_text())
    assert Recipe.model_validate(kept) == Recipe(seed=7)
    assert kept["losses"]["dice"] == "ours"
    keep_recipe(Recipe(seed=7), tmp_path / "run")


def test_the_folder_of_another_recipe_is_refused_with_what_differs(tmp_path):
    """Each key, with what it was and what it is; what was kept stays."""
    keep_recipe(Recipe(), tmp_path)
    before = (tmp_path / "recipe.json").read_text()
    other = Recipe(seed=7, upstream={"steps": 9})
    with pytest.raises(RecipeError, match=r"seed was 42, is 7; upstream.steps was 1000000, is 9"):
        keep_recipe(other, tmp_path)
    assert (tmp_path / "recipe.json").read_text() == before


def test_published_recipe_sets_back_every_choice_that_has_the_name():
    """Wherever "published" is allowed, `published.toml` says it, and "ours" leaves it."""

    def kinds(part):
        for name, value in part:
            if isinstance(value, str) and value in ("ours", "published"):
                yield name, value
            elif hasattr(value, "model_fields_set"):
                yield from kinds(value)

    published, ours = (
        dict(kinds(read_recipe(CONFIG / f"{n}.toml"))) for n in ("published", "ours")
    )
    assert published.keys() == ours.keys()
    assert set(published.values()) == {"published"}
    assert set(ours.values()) == {"ours"}


def test_preprocessing_by_its_name():
    assert Recipe(preprocessing="published").reads == PUBLISHED
    assert Recipe(preprocessing="ours").reads == OURS


def test_size_of_what_is_read_by_its_key():
    assert Recipe(size=256).reads == replace(OURS, size=256)


@pytest.mark.parametrize(
    ("share", "published", "ours"),
    [(0, 0.1, 0.01), (0.005, 0.51, 0.51), (0.1, 1.0, 0.98), (0.55, 0.5, 0.48), (1, 0.1, 0.1)],
)
def test_schedules_warm_up_and_fall_to_the_floor(share, published, ours):
    """Published: full to a tenth of the run, then a line; ours: a cosine. Both end at floor."""
    found = [rate(Stage(schedule=kind, floor=0.1), share) for kind in ("published", "ours")]
    assert found == pytest.approx([published, ours], abs=0.01)


def test_floor_is_what_is_left_of_the_rate():
    for kind in ("published", "ours"):
        assert rate(Stage(schedule=kind, floor=0.25), 1.0) == pytest.approx(0.25)


def test_the_rate_of_a_step_is_the_schedules(tmp_path):
    net = torch.nn.Linear(1, 1)
    run = Run(net, Stage(steps=4, learning_rate=0.5, floor=0.0), tmp_path, "some")
    for step in range(4):
        run.learn({"a": net(torch.ones(1, 1)).sum()})
        used = run.optimiser.param_groups[0]["lr"]
        assert used == pytest.approx(0.5 * rate(run.stage, step / 4))


def test_optimiser_by_its_name():
    net = torch.nn.Linear(1, 1)
    for name, kind in (("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)):
        optimiser = optimiser_of(net, Stage(optimiser=name, learning_rate=0.1, weight_decay=0.2))
        assert type(optimiser) is kind
        assert (optimiser.defaults["lr"], optimiser.defaults["weight_decay"]) == (0.1, 0.2)


def test_clip_bounds_a_step(tmp_path):
    """The gradient that the optimiser sees is no longer than this."""
    net = torch.nn.Linear(1, 1, bias=False)
    run = Run(net, Stage(clip=0.5), tmp_path, "some")
    run.learn({"a": 100 * net(torch.ones(1, 1)).sum()})
    assert float(net.weight.grad.norm()) == pytest.approx(0.5, rel=1e-3)


@pytest.mark.parametrize("weight", [0.0, 0.9])
def test_average_is_the_running_mean_and_without_it_the_last(tmp_path, weight):
    net = torch.nn.Linear(1, 1, bias=False)
    run = Run(net, Stage(average=weight, learning_rate=0.1), tmp_path, "some")
    mean = net.weight.item()
    for step in range(1, 40):
        run.learn({"a": net(torch.ones(1, 1)).sum()})
        past = min(weight, step / (step + 20))
        mean = past * mean + (1 - past) * net.weight.item()
    assert float(run.average.net.weight) == pytest.approx(mean, rel=1e-4)
    assert (mean == net.weight.item()) == (weight == 0)


def test_unfreezing_follows_the_shares():
    """The deepest layer first, each from its share on; after the fourth the whole encoder."""
    net = transfer(SliceNet("tiny", 6), "tiny")
    stage = Downstream(unfreeze=(0.1, 0.2, 0.3, 0.4, 0.5))
    names = {id(module): name for name, module in net.encoder.named_modules()}
    found = [
        [names[id(part)] for part in learning_parts(net, stage, share)]
        for share in (0.0, 0.1, 0.25, 0.45, 0.5)
    ]
    assert found == [
        [],
        ["layer4"],
        ["layer4", "layer3"],
        ["layer4", "layer3", "layer2", "layer1"],
        [""],
    ]


def test_what_is_unfrozen_learns_and_the_rest_does_not():
    """With the encoder the decoder begins; published, it learns from the start."""
    net = transfer(SliceNet("tiny", 6), "tiny")
    stage = Downstream(unfreeze=(0.5,))
    decoder = list(net.seg_decoder.parameters())
    assert not unfreeze(net, stage, 0.4)
    assert not any(one.requires_grad for one in [*net.encoder.parameters(), *decoder])
    assert unfreeze(net, stage, 0.5)
    learning = {name for name, one in net.encoder.named_parameters() if one.requires_grad}
    assert learning
    assert all(name.startswith("layer4") for name in learning)
    assert all(one.requires_grad for one in decoder)
    assert unfreeze(net, Downstream(start="published"), 0.0)
    assert not any(one.requires_grad for one in net.encoder.parameters())
    assert all(one.requires_grad for one in decoder)


@pytest.mark.parametrize("norm", ["ours", "published"])
def test_statistics_of_a_frozen_encoder_move_only_as_published(norm):
    net = transfer(SliceNet("tiny", 6), "tiny").train()
    unfreeze(net, Downstream(norm=norm), 0.0)
    before = net.encoder.bn1.running_mean.clone()
    with torch.no_grad():
        net.slices(torch.rand(2, 1, 64, 64))
    assert torch.equal(net.encoder.bn1.running_mean, before) == (norm == "ours")
