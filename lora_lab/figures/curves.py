"""Loss curves, spectra, and losses over ranks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator
from torch import Tensor

from .style import COLOURS, axes_of, lines_for, shades, thinned_curve


def loss_curves(
    curves: Mapping[str, Sequence[float] | tuple[Sequence[float], Sequence[float]]],
    ax: Axes | None = None,
    *,
    title: str = "",
    xlabel: str = "step",
    floor: float | None = None,
    levels: Mapping[str, float] | None = None,
    published: tuple[Sequence[float], Sequence[float]] | None = None,
    colours: Mapping[str, str] | None = None,
    log: bool = True,
) -> Axes:
    """Loss against step. curves: {label: losses} or {label: (x, losses)}; floor: a dashed line; levels: named lines;
    published: (x, losses) as open circles. colours: {label: colour}, for what its label does not say."""
    ax = axes_of(ax, (7.5, 4))
    for (label, curve), look in zip(curves.items(), lines_for(curves, colours)):
        x, y = curve if isinstance(curve, tuple) else (range(1, len(curve) + 1), curve)
        ax.plot(*thinned_curve(x, y), label=label, **look)
    if published:
        ax.plot(*published, "o", mfc="none", mew=2, ms=8, color=COLOURS["published"], label="published (S1)")
    for name, level in (levels or {}).items():
        ax.axhline(level, lw=1.2, color=COLOURS["base"])
        ax.annotate(
            name, (1, level), xycoords=("axes fraction", "data"), ha="right", va="bottom", color=COLOURS["base"]
        )
    if floor is not None:
        ax.axhline(floor, ls="--", lw=1.5, color=COLOURS["floor"], label="floor (computed before training)")
    if log:
        ax.set_yscale("log")
        ax.yaxis.set_minor_locator(NullLocator())  # hundreds of ticks that nobody reads, on every redraw
        ax.yaxis.set_major_formatter(lambda x, _: f"{x:g}")  # 0.01, not a formula that has to be typeset
    ax.set(title=title, xlabel=xlabel, ylabel="loss (mean squared error)")
    if len(curves) + bool(published) + (floor is not None) > 1:
        ax.legend()
    return ax


def spectra(
    matrices: Mapping[str, Tensor | Sequence[float]], ax: Axes | None = None, *, title: str = "", log: bool = False
) -> Axes:
    """Singular values, largest first. {label: values}."""
    ax = axes_of(ax, (7.5, 4))
    for marker, (label, values), look in zip("osD^v", matrices.items(), lines_for(matrices), strict=False):
        values = np.asarray(values)
        look["marker"] = marker if len(values) <= 40 else None
        ax.plot(np.arange(1, len(values) + 1), values, label=label, **look)
    if log:
        ax.set_yscale("log")
        ax.yaxis.set_minor_locator(NullLocator())
        ax.yaxis.set_major_formatter(lambda x, _: f"{x:g}")
    ax.set(title=title, xlabel="index i", ylabel="singular value σᵢ")
    if len(matrices) > 1:
        ax.legend()
    return ax


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
