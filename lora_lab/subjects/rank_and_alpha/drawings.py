"""Figures of the rank and alpha page: losses over floors, and the (r, alpha) map."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm

from lora_lab import figures
from lora_lab.figures.style import COLOURS, FILLS, LOSSES, axes_of, log_axis
from lora_lab.sweeps import Run

LOW = 1e-3  # losses and floors below are drawn here


def floor_text(floor: float) -> str:
    """A floor for people: what is only rounding is 0."""
    return figures.short(floor) if floor > 1e-9 else "0"


def floor_curves(runs: Mapping[str, Sequence[Run]], floors: Mapping[str, Mapping[int, float]]) -> list[Axes]:
    """Final loss against rank, a dot per run, over the floor (dashed). {target: runs}, {target: {rank: floor}}."""
    fig, axes = plt.subplots(1, len(runs), figsize=(2.75 * len(runs), 3.6), sharey=True)
    fig.subplots_adjust(left=0.09, right=0.98, bottom=0.17, top=0.78, wspace=0.08)
    for ax, target in zip(axes, runs):
        ranks, floor = list(floors[target]), list(floors[target].values())
        losses = np.maximum([run.loss for run in runs[target]], LOW)
        label = f"trained, a dot per seed (drawn from {LOW:g} up)"
        ax.plot([run.r for run in runs[target]], losses, "o", ms=7, color=COLOURS["LoRA"], label=label)
        ax.plot(ranks, np.maximum(floor, LOW), "--", color=COLOURS["floor"], label="floor (computed before training)")
        log_axis(ax.xaxis, ranks)
        log_axis(ax.yaxis)
        ax.set(title=target, xlabel="rank r", ylim=(LOW / 1.5, 2))
    axes[0].set_ylabel("loss (mean squared error)")
    fig.legend(*axes[0].get_legend_handles_labels(), loc="upper center", ncols=2)
    return list(axes)


def loss_map(runs: Sequence[Run], ax: Axes | None = None, *, title: str = "", high: float = 1.0) -> Axes:
    """Final losses over (r, alpha) on a logarithmic colour scale from `high` / 1000 up; × where the run diverged.

    runs: one for each r and alpha, in the order of `Sweep.runs`. On Axes with such a map its losses are replaced.
    """
    ax = axes_of(ax, (6, 4.4))
    ranks, alphas = sorted({run.r for run in runs}), sorted({run.alpha for run in runs})
    losses = np.reshape([run.loss for run in runs], (len(ranks), len(alphas))).T
    bad = ~np.isfinite(losses)
    shown = np.ma.masked_array(losses.clip(high / 1000, high), bad)
    if not ax.images:
        colours = plt.colormaps[LOSSES].with_extremes(bad=FILLS["band"])
        image = ax.imshow(shown, cmap=colours, norm=LogNorm(high / 1000, high), origin="lower", aspect="auto")
        ax.plot([], [], "x", ms=9, mew=2, color=COLOURS["bad"])
        ax.set(xlabel="rank r", ylabel="α")
        ax.set_xticks(range(len(ranks)), [f"{r}" for r in ranks])
        ax.set_yticks(range(len(alphas)), [f"{a:g}" for a in alphas])
        ax.tick_params(length=0)
        bar = ax.figure.colorbar(image, ax=ax, fraction=0.06, pad=0.03)
        log_axis(bar.ax.yaxis)
    y, x = bad.nonzero()
    ax.images[0].set_data(shown)
    ax.lines[0].set_data(x, y)
    ax.set_title(title)
    return ax
