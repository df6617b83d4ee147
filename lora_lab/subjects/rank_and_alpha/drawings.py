"""Figures of the rank and alpha page: losses over floors, and the (r, alpha) map."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

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


def loss_map(
    ranks: Sequence[int], alphas: Sequence[float], losses: np.ndarray, ax: Axes | None = None, *,
    title: str = "", high: float = 1.0,
) -> Axes:  # fmt: skip
    """Final losses over (r, alpha) on a logarithmic colour scale from `high` / 1000 up; × where the run diverged.

    losses: (len(alphas), len(ranks)), not finite where diverged.
    """
    ax = axes_of(ax, (6, 4.4))
    colours = plt.colormaps[LOSSES].with_extremes(bad=FILLS["band"])
    norm = LogNorm(high / 1000, high)
    image = ax.imshow(np.zeros(np.shape(losses)), cmap=colours, norm=norm, origin="lower", aspect="auto")
    ax.plot([], [], "x", ms=9, mew=2, color=COLOURS["bad"])
    update_loss_map(ax, losses)
    ax.set(title=title, xlabel="rank r", ylabel="α")
    ax.set_xticks(range(len(ranks)), [f"{r}" for r in ranks])
    ax.set_yticks(range(len(alphas)), [f"{a:g}" for a in alphas])
    ax.tick_params(length=0)
    bar = ax.figure.colorbar(image, ax=ax, fraction=0.06, pad=0.03)
    log_axis(bar.ax.yaxis)
    return ax


def update_loss_map(ax: Axes, losses: np.ndarray) -> None:
    """Show other losses over the same ranks and alphas in a map that is drawn already."""
    losses = np.asarray(losses, dtype=float)
    bad = ~np.isfinite(losses)
    ax.images[0].set_data(np.ma.masked_array(np.clip(np.where(bad, 1, losses), *ax.images[0].get_clim()), bad))
    y, x = bad.nonzero()
    ax.lines[0].set_data(x, y)


def map_and_run(fig: Figure, ranks: Sequence[int], alphas: Sequence[float], run: Run, *, high: float) -> None:
    """The slider panel, to be filled: a map with a ring, a run's curve over its floor, its ΔW."""
    place = {"left": 0.06, "right": 0.985, "bottom": 0.17, "top": 0.89, "wspace": 0.5, "width_ratios": (1.25, 0.95, 1)}
    left, middle, right = fig.subplots(1, 3, gridspec_kw=place)
    loss_map(ranks, alphas, np.full((len(alphas), len(ranks)), high), left, high=high)
    figures.ring(left, 17)
    figures.loss_curves({"LoRA": run.losses}, middle, floor=high)
    middle.get_legend().remove()  # the title says what is dashed
    middle.set(title="its loss, floor dashed", ylabel="", xlim=(0, len(run.losses)), ylim=(0.5e-3 * high, 20 * high))
    figures.heatmap(run.delta, right, colorbar=False).set(xticks=[], yticks=[])  # as quick as can be
