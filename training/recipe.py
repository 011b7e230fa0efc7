"""What a training run is: one TOML file.

Where we knowingly differ from SMART-Net as in the paper's code (2022), a key chooses "published" or
"ours", but for what training/README.md lists as ours in every recipe.
"""

from __future__ import annotations

import json
import platform
import tomllib
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal, Self, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from ich_node.infer.preprocess import OURS, PUBLISHED, Preprocessing

Kind = Literal["published", "ours"]
Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]

# What a run's weights depend on besides recipe and heads.
_STATED = ("ich-node", "torch", "numpy", "monai", "opencv-python-headless")


class RecipeError(Exception):
    """A recipe that cannot be used: which key, what stands there, what is allowed."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Data(_Part):
    """How slices are chosen and changed.

    ``batch``: slices in a step. ``workers``: processes that prepare them
    in the slice stage. ``turn_deg``: turned by
    at most so much either way. ``scale``: grown by at most e to half of it and shrunk by e to the
    whole, for heads differ in size, and a field of view is rather too large. ``shift``: moved by at
    most this share of the plane. ``bend``: bent smoothly, its points moved by up to about this
    share of the plane, so that the shape of a head is not learned by heart. ``brightness``:
    brightness, contrast and gamma of half of the steps change by about this share.
    ``sampling``: published takes one slice of each head, of a random bleeding voxel; ours a random
    one and two that bleed. ``flip``: published turns by 180 degrees, ours exchanges left and right.
    ``smallest_px``: smaller pieces of a mask are removed. ``clear_px``: a class with fewer pixels
    in a slice, but some, is neither taught as there nor as absent. ``scanner``: heads without a
    scanner's noise get one, drawn anew each time. ``windowed``: so often slices come cut at
    80 HU, as pictures do, since not every reader's slices hold more.
    """

    batch: Annotated[int, Field(ge=1)] = 16
    workers: Annotated[int, Field(ge=0)] = 1
    sampling: Kind = "ours"
    flip: Kind = "ours"
    turn_deg: Annotated[float, Field(ge=0, le=180)] = 20.0
    scale: Share = 0.22
    shift: Share = 0.06
    bend: Share = 0.0
    brightness: Share = 0.1
    smallest_px: Annotated[int, Field(ge=0)] = 3
    clear_px: Annotated[int, Field(ge=0)] = 10
    scanner: bool = True
    windowed: Share = 0.35


class Losses(_Part):
    """What is learned and how much it weighs.

    ``dice``: published sums over the batch, and over all outputs; ours takes each class for itself,
    of those that the batch holds. ``bce``: weight of the masks' BCE beside their Dice. ``follows``:
    published pulls class and mean of the mask's 16x16 tiles together; with ours the class follows
    the strongest pixels of its mask, which is not moved. ``subtypes``: cross entropy that tells the
    subtypes apart where there is a bleed. ``missed``: BCE of each class's own voxels, averaged
    over the classes that the batch holds; without it one that is said nowhere has hardly a gradient
    and stays so. ``reconstruct_every``: the reconstruction takes a third of a step's time; it is
    learned every n-th step at n times its weight.
    """

    classes: Annotated[float, Field(ge=0)] = 1.0
    masks: Annotated[float, Field(ge=0)] = 1.0
    reconstruction: Annotated[float, Field(ge=0)] = 1.0
    consistency: Annotated[float, Field(ge=0)] = 0.5
    dice: Kind = "ours"
    follows: Kind = "ours"
    bce: Annotated[float, Field(ge=0)] = 3.0
    subtypes: Annotated[float, Field(ge=0)] = 1.0
    missed: Annotated[float, Field(ge=0)] = 0.0
    reconstruct_every: Annotated[int, Field(ge=1)] = 3

    @property
    def segments(self) -> bool:
        """Whether anything is learned of masks; else their decoder does not run."""
        return self.masks > 0 or self.consistency > 0

    @model_validator(mode="after")
    def _some_task_in_every_step(self) -> Self:
        every_step = self.reconstruction and self.reconstruct_every == 1
        if not (self.classes or self.masks or every_step):
            raise ValueError(
                "nothing is learned in most steps: give classes, masks, or reconstruction with "
                "reconstruct_every = 1 a weight"
            )
        return self


class Stage(_Part):
    """How a stage is learned; it ends with its steps or its minutes, whichever comes first.

    ``schedule``: both warm up for ``warm_up``, a share of the run; published stays until a tenth
    of it, then falls in a line to ``floor`` times the rate, ours follows a cosine to it.
    ``average``: weight of the past in the running mean of the weights, which is what is validated
    and kept; 0 for none. ``clip``: longest gradient of a step. ``learning_rate``: at its highest.
    ``validate_minutes``: from one validation to the next.
    """

    steps: Annotated[int, Field(ge=1)] = 1_000_000
    minutes: Positive = 1e6
    optimiser: Literal["adam", "adamw"] = "adamw"
    learning_rate: Positive = 2e-3
    weight_decay: Annotated[float, Field(ge=0)] = 5e-4
    schedule: Kind = "ours"
    warm_up: Positive = 0.01
    floor: Share = 0.01
    average: Share = 0.998
    clip: Positive = 5.0
    validate_minutes: Positive = 5.0


class Upstream(Stage):
    """The slice network.

    ``frozen``: parts of the encoder, by name, that stay as they are, their normalisation's
    statistics too; what a network has learned of edges need not be learned again in a further leg,
    and the first layers take most of a step's time.
    """

    frozen: tuple[str, ...] = ()


class Downstream(Stage):
    """Classifier and segmenter of volumes on what the slice network learned.

    ``start``: 3D convolutions at random (published) or as what they do to a slice alone (ours).
    ``unfreeze``: shares of the run from which layer4, layer3, layer2, layer1 and the rest of the
    encoder learn too; empty, it stays as it is. ``norm``: statistics of the frozen encoder's
    normalisation move (published) or are held (ours). ``slices``: how many in a row the
    convolutions see in one step; ``heads``: how many the BiLSTM sees. ``classifier_minutes`` and
    ``classifier_steps``: of the BiLSTM alone after that, on features that are kept; it ends with
    whichever comes first.
    """

    start: Kind = "ours"
    unfreeze: tuple[Share, ...] = ()
    norm: Kind = "ours"
    slices: Annotated[int, Field(ge=4)] = 12
    heads: Annotated[int, Field(ge=1)] = 24
    classifier_minutes: Annotated[float, Field(ge=0)] = 4.0
    classifier_steps: Annotated[int, Field(ge=0)] = 3000


class Recipe(_Part):
    """A whole run.

    ``backbone``: of `ich_node.infer.backbones`. ``seed``: of all that is drawn.
    ``preprocessing``: `PUBLISHED` or `OURS` of `ich_node.infer.preprocess`.
    ``start``: what the slice network begins with: `slices.safetensors` of an earlier run, whole, or
    a published checkpoint, which gives its encoder; ``efficientnet-lite0`` for
    the one that the package of this name ships; empty for none. ``size``: rows and columns that the
    network reads, where these are to be others than its preprocessing has.
    """

    backbone: Literal["resnet50", "lite", "tiny"] = "lite"
    start: str = ""
    seed: int = 42
    preprocessing: Kind = "ours"
    size: Annotated[int, Field(ge=32, multiple_of=16)] | None = None
    data: Data = Data()
    losses: Losses = Losses()
    upstream: Upstream = Upstream()
    downstream: Downstream = Downstream()

    @property
    def reads(self) -> Preprocessing:
        """What the network is taught to read."""
        own = PUBLISHED if self.preprocessing == "published" else OURS
        return own if self.size is None else replace(own, size=self.size)


def read_recipe(path: Path) -> Recipe:
    """Read a recipe.

    Raises
    ------
    RecipeError
        The file cannot be read, or a key is unknown or not allowed.
    """
    try:
        return Recipe.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise RecipeError(f"{path}: {error}") from error
    except ValidationError as error:
        faults = [_said(fault) for fault in error.errors()]
        raise RecipeError(f"{path}: " + "; ".join(faults)) from error


def _said(fault: ErrorDetails) -> str:
    key, message = ".".join(map(str, fault["loc"])), fault["msg"]
    if fault["type"] == "extra_forbidden":
        part: type[BaseModel] = Recipe
        for name in fault["loc"][:-1]:
            part = cast(type[BaseModel], part.model_fields[str(name)].annotation)
        message = f"there is no such key; allowed here: {', '.join(part.model_fields)}"
    return f"{key} = {fault['input']!r}: {message}"


def keep_recipe(recipe: Recipe, run: Path) -> None:
    """Write the resolved recipe, every default in it, beside the weights; and with what it runs.

    Where it ran with other versions before, a line says so: weights may differ in their last bits.

    Raises
    ------
    RecipeError
        The run was begun with another one.
    """
    path = run / "recipe.json"
    resolved = json.loads(recipe.model_dump_json())
    if path.exists() and (before := json.loads(path.read_text())) != resolved:
        raise RecipeError(
            f"{run} was begun with another recipe ({_differences(before, resolved)}): go on with "
            "that one, or give another folder"
        )
    run.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(resolved, indent=2) + "\n")
    _keep_versions(run / "versions.json")


def _keep_versions(path: Path) -> None:
    found = {"python": platform.python_version()} | {name: version(name) for name in _STATED}
    if path.exists() and (before := json.loads(path.read_text())) != found:
        print(f"{path.parent} ran with other versions before: {_differences(before, found)}")
    path.write_text(json.dumps(found, indent=2) + "\n")


def _differences(before: dict[str, Any], now: dict[str, Any]) -> str:
    """Say every key that differs, with both values."""
    old, new = _flat(before), _flat(now)
    keys = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
    return "; ".join(f"{key} was {old.get(key)!r}, is {new.get(key)!r}" for key in keys)


def _flat(tree: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= {f"{key}.{name}": inner for name, inner in _flat(value).items()}
        else:
            flat[key] = value
    return flat
