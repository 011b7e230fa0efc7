"""The paper's ablations: what each pretext task is worth, on one small budget for all.

    python -m training.ablations --heads out/heads --validation out/validation --out out/ablations

Runs config/training/ablation.toml whole, without consistency, and with each pair of the three
tasks, both stages of each; then prints a Markdown table and keeps it as `ablations.md`. Each run
has a folder of its own and is taken up where it stood.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import torch

from training.data import require_apart
from training.downstream import train_network
from training.recipe import Recipe, RecipeError, keep_recipe, read_recipe
from training.upstream import UNUSABLE, device_of, train_slices
from training.validation import validate_slices, validate_volumes, validation_slices

Figures = Mapping[str, float]

# What is left out of each run. Consistency binds classes to masks: it needs both.
ABLATIONS: Mapping[str, tuple[str, ...]] = {
    "CLS + SEG + REC": (),
    "CLS + SEG + REC, no consistency": ("consistency",),
    "CLS + SEG": ("reconstruction",),
    "CLS + REC": ("masks", "consistency"),
    "SEG + REC": ("classes", "consistency"),
}
_COLUMNS = {
    "slice AUC": ("slices", "auc_any"),
    "slice Dice": ("slices", "dice"),
    "head AUC": ("heads", "auc_any"),
    "head Dice": ("heads", "dice"),
}


def without(recipe: Recipe, tasks: tuple[str, ...]) -> Recipe:
    """Return a recipe in which these tasks weigh nothing."""
    losses = recipe.losses.model_copy(update=dict.fromkeys(tasks, 0.0))
    return recipe.model_copy(update={"losses": losses})


def shortened(recipe: Recipe, steps: int) -> Recipe:
    """Return a recipe of so many slice steps, the volume stage's in proportion.

    Raises
    ------
    RecipeError
        There are none.
    """
    if steps < 1:
        raise RecipeError(f"--steps {steps}: expected at least 1")
    part = steps / recipe.upstream.steps
    volumes = {
        key: max(1, round(part * getattr(recipe.downstream, key)))
        for key in ("steps", "classifier_steps")
    }
    return recipe.model_copy(
        update={
            "upstream": recipe.upstream.model_copy(update={"steps": steps}),
            "downstream": recipe.downstream.model_copy(update=volumes),
        }
    )


def run(
    recipe: Recipe, heads: Path, validation: Path, out: Path, device: torch.device
) -> dict[str, Figures] | None:
    """Train both stages of one run; return figures of slices and heads, None where it was stopped.

    Raises
    ------
    RecipeError
        The folder belongs to another recipe.
    FileNotFoundError
        A folder holds no heads.
    SeedError
        A head is not for what its folder is, or in both.
    """
    require_apart(heads, validation)
    keep_recipe(recipe, out)
    slices = train_slices(recipe, heads, None, out, device)
    net = None if slices is None else train_network(recipe, heads, out, device)
    if slices is None or net is None:
        return None
    held_out = validation_slices(recipe, validation)
    return {
        "slices": validate_slices(slices, held_out, device, recipe.losses),
        "heads": validate_volumes(net, recipe, validation, device),
    }


def table(rows: Mapping[str, Mapping[str, Figures]], about: str) -> str:
    """Return Markdown: a row for each run, a dash for what it was not taught."""
    lines = [about, "", "| tasks | " + " | ".join(_COLUMNS) + " |", "|---" * 5 + "|"]
    for name, figures in rows.items():
        values = [figures[level].get(key) for level, key in _COLUMNS.values()]
        cells = ["-" if value is None else f"{value:.3f}" for value in values]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def folder_of(name: str) -> str:
    """Return the folder's name of a run."""
    return name.lower().replace(" + ", "-").replace(", ", "-").replace(" ", "-")


def main() -> None:
    """Run the ablations and write their table."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--recipe", type=Path, default=Path("config/training/ablation.toml"))
    parser.add_argument("--heads", type=Path, default=Path("out/heads"))
    parser.add_argument("--validation", type=Path, default=Path("out/validation"))
    parser.add_argument("--out", type=Path, default=Path("out/ablations"))
    parser.add_argument("--steps", type=int, help="of the slice stage; the others in proportion")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    try:
        print(_all(given))
    except UNUSABLE as error:
        raise SystemExit(f"error: {error}") from error


def _all(given: argparse.Namespace) -> str:
    recipe = read_recipe(given.recipe)
    if given.steps is not None:
        recipe = shortened(recipe, given.steps)
    rows: dict[str, Mapping[str, Figures]] = {}
    for name, tasks in ABLATIONS.items():
        print(f"{name}:", flush=True)
        out = given.out / folder_of(name)
        figures = run(
            without(recipe, tasks), given.heads, given.validation, out, device_of(given.device)
        )
        if figures is None:
            return f"stopped; the same command goes on from what {given.out} holds"
        rows[name] = figures
    about = (
        f"Backbone `{recipe.backbone}`, {recipe.upstream.steps} steps of "
        f"{recipe.data.batch} slices, then {recipe.downstream.steps} heads; "
        f"one seed ({recipe.seed})."
    )
    text = table(rows, about)
    (given.out / "ablations.md").write_text(text)
    return text


if __name__ == "__main__":
    main()
