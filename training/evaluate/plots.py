"""The pictures of a report. Colours are told apart by the colour-blind (Okabe and Ito)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
import numpy.typing as npt

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.manifold import TSNE
from sklearn.metrics import roc_curve

from ich_node.codes import CLASSES
from training.evaluate import metrics
from training.evaluate.looks import Look
from training.evaluate.metrics import Truth, Values

_COLOURS = ("#000000", "#E69F00", "#56B4E9", "#009E73", "#D55E00", "#CC79A7")
_DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)))
_MARKS = ("o", "s", "^", "D", "v", "P")
_GREY = "#999999"
_DPI = 110

Cases = Mapping[str, tuple[Truth, Values]]


def draw_roc(panels: Mapping[str, Mapping[str, tuple[Truth, Values, Truth]]], path: Path) -> None:
    """Draw ROC curves: a panel each, a curve for each class that has both kinds of cases.

    Parameters
    ----------
    panels
        By title and class, truth and probability of cases and which are called: a mark.
    """
    figure, axes = _panels(len(panels))
    for axis, (title, cases) in zip(axes, panels.items(), strict=True):
        axis.plot([0, 1], [0, 1], color=_GREY, linewidth=0.8)
        for index, (name, (truth, scores, called)) in enumerate(cases.items()):
            if not truth.any() or truth.all():
                continue
            wrong, right, _ = roc_curve(truth, scores)
            label = f"{name} {metrics.auc(truth, scores).value:.3f}"
            colour, dash = _COLOURS[index], _DASHES[index]
            axis.plot(wrong, right, color=colour, linestyle=dash)
            axis.plot(
                called[~truth].mean(),
                called[truth].mean(),
                color=colour,
                linestyle=dash,
                marker=_MARKS[index],
                markersize=8,
                markeredgecolor="black",
                label=label,
                zorder=3,
            )
        axis.set(
            title=title,
            xlabel="1 - specificity",
            ylabel="sensitivity",
            aspect="equal",
            xlim=(-0.01, 1.01),
            ylim=(-0.01, 1.01),
        )
        axis.legend(title="AUC", loc="lower right", fontsize=9)
    _save(figure, path)


def draw_reliability(panels: Cases, path: Path) -> None:
    """Draw how often a probability came true: a panel each, with exact intervals."""
    figure, axes = _panels(len(panels))
    for axis, (title, (truth, scores)) in zip(axes, panels.items(), strict=True):
        bins = metrics.reliability(truth, scores)
        at = [one.probability for one in bins]
        seen = np.array([one.observed.value for one in bins])
        reach = np.array([[one.observed.low, one.observed.high] for one in bins]).T
        axis.plot([0, 1], [0, 1], color=_GREY, linewidth=0.8)
        axis.errorbar(
            at, seen, np.abs(reach - seen), fmt="o", color=_COLOURS[2], ecolor=_GREY, capsize=3
        )
        for one in bins:
            axis.annotate(
                str(one.cases),
                (one.probability, one.observed.value),
                xytext=(6, -10),
                textcoords="offset points",
                fontsize=8,
            )
        axis.set(
            title=title,
            xlabel="mean predicted probability",
            ylabel="share with a bleed",
            aspect="equal",
            xlim=(-0.03, 1.03),
            ylim=(-0.03, 1.03),
        )
    _save(figure, path)


def draw_bland_altman(found: Values, true: Values, path: Path) -> None:
    """Draw found - true volume over their mean, mL, with bias and limits of agreement."""
    figure, (axis,) = _panels(1, width=7.5)
    axis.scatter(
        (found + true) / 2, found - true, s=18, color=_COLOURS[2], edgecolor="black", linewidth=0.4
    )
    if len(found) > 1:
        one = metrics.agreement(found, true)
        lines = (
            ("bias", one.bias.value, "-"),
            ("+1.96 SD", one.upper, "--"),
            ("-1.96 SD", one.lower, "--"),
        )
        for name, height, dash in lines:
            axis.axhline(height, color=_COLOURS[4], linestyle=dash, linewidth=1)
            axis.annotate(
                f"{name} {height:+.2f} mL",
                (1.0, height),
                xycoords=("axes fraction", "data"),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=9,
            )
    axis.axhline(0, color=_GREY, linewidth=0.8)
    axis.set_xscale("symlog", linthresh=1)
    ends = [0.0, 1.0, 10.0, 100.0, 1000.0, 10000.0]
    axis.set_xticks(ends, [f"{end:g}" for end in ends])
    axis.set_xlim(-0.1, 2 * max(1.0, float(np.max((found + true) / 2, initial=0))))
    axis.set(
        xlabel="mean of found and true volume, mL (linear up to 1)",
        ylabel="found - true volume, mL",
        title="Volume of any",
    )
    _save(figure, path)


def draw_tsne(features: npt.NDArray[np.float32], classes: Sequence[str], path: Path) -> None:
    """Draw the slices' features in two dimensions, coloured by what the slice holds."""
    figure, (axis,) = _panels(1, width=7.5)
    spread = features / np.maximum(features.std(0), 1e-6)
    nearby = min(30.0, max(2.0, (len(features) - 1) / 4))
    places = TSNE(perplexity=nearby, init="pca", random_state=0).fit_transform(spread)
    for index, name in enumerate(("none", *CLASSES[1:])):
        chosen = np.array([one == name for one in classes])
        if chosen.any():
            axis.scatter(
                places[chosen, 0],
                places[chosen, 1],
                s=14 if index else 7,
                marker=_MARKS[index],
                color=_COLOURS[index] if index else _GREY,
                label=f"{name} ({chosen.sum()})",
                alpha=0.8,
                linewidth=0,
                zorder=1 + bool(index),
            )
    axis.legend(
        title="largest bleed of the slice", fontsize=9, loc="center left", bbox_to_anchor=(1, 0.5)
    )
    axis.set(title="t-SNE of the slices' features", xticks=[], yticks=[])
    axis.set(xlabel="first t-SNE dimension", ylabel="second t-SNE dimension")
    _save(figure, path)


def draw_looks(looks: Sequence[Look], outline: str, path: Path) -> None:
    """Draw a column a slice: the slice with outlines, Grad-CAM, activation.

    Parameters
    ----------
    outline
        What the drawn outline is, besides the mask.
    """
    figure, grid = plt.subplots(
        3, len(looks), figsize=(2.3 * len(looks) + 1.2, 7.6), squeeze=False, layout="constrained"
    )
    weakest = min(float(look.activation.min()) for look in looks)
    strongest = max(float(look.activation.max()) for look in looks)
    for look, column in zip(looks, grid.T, strict=True):
        column[0].set_title(look.title, fontsize=10)
        for axis in column:
            axis.imshow(look.image, cmap="gray", vmin=0, vmax=1)
            axis.set(xticks=[], yticks=[])
        _outline(column[0], look.outline, _COLOURS[2], "-")
        _outline(column[0], look.mask, _COLOURS[1], "-")
        heat = column[1].imshow(look.grad_cam, cmap="inferno", alpha=0.55, vmin=0, vmax=1)
        active = column[2].imshow(
            look.activation, cmap="viridis", alpha=0.65, vmin=weakest, vmax=strongest
        )
    figure.colorbar(heat, ax=grid[1], label="share of the slice's largest", pad=0.01)
    figure.colorbar(active, ax=grid[2], label="sigmoid of the mean", pad=0.01)
    for axis, name in zip(grid[:, 0], ("slice", "Grad-CAM of any", "activation"), strict=True):
        axis.set_ylabel(name)
    figure.supxlabel(f"blue: {outline}; orange: the model's mask", fontsize=10)
    _save(figure, path)


def _outline(axis: Axes, mask: npt.NDArray[np.float32], colour: str, dash: str) -> None:
    if mask.any() and not mask.all():
        axis.contour(mask, levels=[0.5], colors=colour, linestyles=dash, linewidths=1.2)


def _panels(count: int, width: float = 5.2) -> tuple[Figure, list[Axes]]:
    figure, grid = plt.subplots(
        1, count, figsize=(width * count, 5.2), squeeze=False, layout="constrained"
    )
    return figure, list(grid[0])


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=_DPI, bbox_inches="tight")
    plt.close(figure)
