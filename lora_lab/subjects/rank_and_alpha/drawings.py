"""Figures of the rank and alpha page: losses over floors, early curves side by side, and the (r, alpha) map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.ticker import FixedLocator, NullLocator

from lora_lab.figures.style import COLOURS, FILLS, LOSSES, axes_of, shades


def floor_curves(
    targets: Mapping[str, tuple[Sequence[int], Sequence[float], Sequence[Sequence[float]]]], *, low: float = 1e-3
) -> list[Axes]:
    """Reached loss against rank, a dot per seed, over the floor (dashed). {target: (ranks, floors, [losses per seed])}.

    Losses and floors below `low` are drawn at `low`.
    """
    fig, axes = plt.subplots(1, len(targets), figsize=(2.75 * len(targets), 3.6), sharey=True, squeeze=False)
    fig.subplots_adjust(left=0.09, right=0.98, bottom=0.17, top=0.78, wspace=0.08)
    for ax, (title, (ranks, floors, seeds)) in zip(axes[0], targets.items()):
        for i, losses in enumerate(seeds):
            label = "" if i else f"trained, a dot per seed (drawn from {low:g} up)"
            ax.plot(ranks, np.maximum(losses, low), "o", ms=7, color=COLOURS["LoRA"], label=label)
        ax.plot(ranks, np.maximum(floors, low), "--", color=COLOURS["floor"], label="floor (computed before training)")
        ax.set(title=title, xlabel="rank r", xscale="log", yscale="log", ylim=(low / 1.5, 2))
        ax.set_xticks(ranks, [f"{r}" for r in ranks])
        ax.xaxis.set_minor_locator(NullLocator())
        ax.yaxis.set_minor_locator(NullLocator())
        ax.yaxis.set_major_formatter(lambda x, _: f"{x:g}")
    axes[0, 0].set_ylabel("loss (mean squared error)")
    fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="upper center", ncols=2)
    return list(axes[0])


def early_curves(
    groups: Mapping[str, Mapping[str, Sequence[float]]],
    *,
    at: int | None = None,
    figsize: tuple[float, float] = (11, 3.8),
) -> list[Axes]:
    """Loss curves side by side on one scale, one panel per group, from light and thick to dark and thin in each.

    groups: {title: {label: losses}}. at: a step to mark, where the page compares the curves.
    """
    fig, axes = plt.subplots(1, len(groups), figsize=figsize, sharey=True, squeeze=False)
    fig.subplots_adjust(left=0.08, right=0.88, bottom=0.16, top=0.9, wspace=0.08)
    for ax, (title, curves) in zip(axes[0], groups.items()):
        widths = np.linspace(5, 1.5, len(curves))  # so that a curve is seen under one that coincides with it
        for shade, width, (label, losses) in zip(shades(len(curves)), widths, curves.items()):
            ax.plot(np.arange(len(losses)), losses, color=shade, lw=width, label=label)
        if at is not None:
            ax.axvline(at, lw=1, ls=":", color=COLOURS["base"])
        ax.set(title=title, xlabel="step", yscale="log")
        ax.yaxis.set_minor_locator(NullLocator())
        ax.yaxis.set_major_formatter(lambda x, _: f"{x:g}")
    axes[0, 0].set_ylabel("loss (mean squared error)")
    axes[0, -1].legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return list(axes[0])


def loss_map(
    ranks: Sequence[int],
    alphas: Sequence[float],
    losses: np.ndarray,
    ax: Axes | None = None,
    *,
    title: str = "",
    low: float = 1e-3,
    high: float = 1.0,
) -> Axes:
    """Final losses over (r, alpha) on a logarithmic colour scale from `low` to `high`; × where the run diverged.

    losses: (len(alphas), len(ranks)), not finite where diverged.
    """
    ax = axes_of(ax, (6, 4.4))
    colours = plt.colormaps[LOSSES].with_extremes(bad=FILLS["band"])
    image = ax.imshow(np.zeros(np.shape(losses)), cmap=colours, norm=LogNorm(low, high), origin="lower", aspect="auto")
    ax.plot([], [], "x", ms=9, mew=2, color=COLOURS["bad"])
    update_loss_map(ax, losses)
    ax.set(title=title, xlabel="rank r", ylabel="α")
    ax.set_xticks(range(len(ranks)), [f"{r}" for r in ranks])
    ax.set_yticks(range(len(alphas)), [f"{a:g}" for a in alphas])
    ax.tick_params(length=0)
    bar = ax.figure.colorbar(image, ax=ax, fraction=0.06, pad=0.03)
    ticks = [10.0**k for k in range(-12, 13) if low <= 10.0**k <= high]
    bar.ax.yaxis.set_major_locator(FixedLocator(ticks))
    bar.ax.yaxis.set_minor_locator(NullLocator())
    bar.ax.yaxis.set_major_formatter(lambda x, _: f"{x:g}")  # no formula, as in loss_curves
    return ax


def update_loss_map(ax: Axes, losses: np.ndarray) -> None:
    """Show other losses over the same ranks and alphas in a map that is drawn already."""
    losses = np.asarray(losses, dtype=float)
    bad = ~np.isfinite(losses)
    ax.images[0].set_data(np.ma.masked_array(np.clip(np.where(bad, 1, losses), *ax.images[0].get_clim()), bad))
    y, x = bad.nonzero()
    ax.lines[0].set_data(x, y)
