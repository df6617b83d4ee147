"""Figures of page 09: digits a quarter turned, the bill of a real model, and what came after LoRA."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from torch import Tensor

from lora_lab.figures.style import COLOURS, CYCLE, DASHES, FILLS, INK, array, axes_of, plt


def image_pairs(first: Tensor, second: Tensor, labels: Sequence[int], names: tuple[str, str]) -> list[Axes]:
    """Two rows of small pictures. first, second (n, 64): 8 x 8 pixels each."""
    fig, axes = plt.subplots(2, len(first), figsize=(0.95 * len(first) + 0.6, 2.4), squeeze=False)
    fig.subplots_adjust(left=0.12, right=0.99, bottom=0.02, top=0.88, wspace=0.1, hspace=0.1)
    for row, pictures in zip(axes, (first, second)):
        for ax, picture in zip(row, array(pictures)):
            ax.imshow(picture.reshape(8, 8), cmap=INK, vmin=0, vmax=1)
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_visible(True)
    for ax, label in zip(axes[0], labels):
        ax.set_title(f"{int(label)}", loc="center")
    for row, name in zip(axes, names):
        row[0].set_ylabel(name, rotation=0, ha="right", va="center")
    return list(axes.flat)






def _log_loss(ax: Axes, ticks: Sequence[float]) -> None:
    ax.set_yscale("log")
    ax.yaxis.set_minor_locator(NullLocator())
    ax.set_yticks(ticks, [f"{t:g}" for t in ticks])


def variant_axes(fig: Figure) -> tuple[Axes, Axes]:
    grid = {"left": 0.08, "right": 0.98, "bottom": 0.15, "top": 0.9, "wspace": 0.42}
    return fig.subplots(1, 2, gridspec_kw=grid)


def variant_curves(record: Mapping, name: str, ax: Axes | None = None, *, live: Sequence[float] | None = None) -> Axes:
    """Test loss against step: every recorded seed of one method in brown, of LoRA in blue, the live run dotted."""
    ax = axes_of(ax, (7, 4))
    for method, colour in (("LoRA", COLOURS["LoRA"]), (name, COLOURS["variant"])):
        curves = np.array(record["methods"][method]["curves"])  # (seeds, points)
        ax.plot(record["steps"], np.median(curves, 0), color=colour, label=f"{method}: median and all seeds")
        ax.fill_between(record["steps"], curves.min(0), curves.max(0), color=colour, alpha=0.2, lw=0)
    ax.plot(record["steps"], _or_nothing(record, live), ":", color=COLOURS["chosen"], label="trained on this page")
    _log_loss(ax, (0.1, 0.3, 1, 3, 10))
    ax.set(title="test loss while training", xlabel="step", ylabel="cross-entropy (nats)", ylim=(0.07, 30))
    ax.legend(handles=ax.lines, loc="upper right")  # "best" would search for a place at every redraw
    return ax


def _or_nothing(record: Mapping, live: Sequence[float] | None) -> Sequence[float]:
    return [np.nan] * len(record["steps"]) if live is None else live


def update_variant(axes: Sequence[Axes], record: Mapping, name: str, live: Sequence[float] | None = None) -> None:
    """Show another method in variant_curves and variant_dots that are drawn already."""
    left, right = axes
    curves = np.array(record["methods"][name]["curves"])
    left.lines[1].set_ydata(np.median(curves, 0))
    left.lines[2].set_ydata(_or_nothing(record, live))
    left.collections[1].remove()
    left.fill_between(record["steps"], curves.min(0), curves.max(0), color=COLOURS["variant"], alpha=0.2, lw=0)
    left.get_legend().get_texts()[1].set_text(f"{name}: median and all seeds")
    for i, method in enumerate(record["methods"]):
        for line in right.lines[2 * i : 2 * i + 2]:
            line.set_color(_dot_colour(method, name))


def _dot_colour(method: str, chosen: str | None) -> str:
    return COLOURS["variant"] if method == chosen else COLOURS.get(method, COLOURS["rest"])


def variant_dots(record: Mapping, name: str | None = None, ax: Axes | None = None) -> Axes:
    """The last test loss of every method, a dot per seed; the chosen one in brown, LoRA blue, full orange."""
    ax = axes_of(ax, (7, 4))
    methods = list(record["methods"])
    for row, method in enumerate(methods):
        losses = record["methods"][method]["loss"]
        colour = _dot_colour(method, name)
        ax.plot(losses, [row] * len(losses), "o", ms=7, alpha=0.6, color=colour, mew=0)
        ax.plot(np.median(losses), row, "|", ms=18, mew=2.5, color=colour)
    lora = float(np.median(record["methods"]["LoRA"]["loss"]))
    ax.axvline(lora, lw=1, ls=":", color=COLOURS["LoRA"])
    ax.set_xscale("log")
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xticks((0.1, 0.2, 0.4, 0.8), ("0.1", "0.2", "0.4", "0.8"))
    ax.set_yticks(range(len(methods)), methods)
    ax.invert_yaxis()
    ax.set(title="test loss at the end, a dot per seed", xlabel="cross-entropy (nats)")
    return ax


def rate_curves(record: Mapping, names: Sequence[str] | None = None, ax: Axes | None = None) -> Axes:
    """Mean test loss of the tuning runs against the learning rate; a filled dot at the rate that was chosen."""
    ax = axes_of(ax, (8.5, 4.2))
    rest = ((colour, dashes) for dashes in DASHES[:3] for colour in CYCLE)
    for marker, name in zip("os^vD<>Phd", names or record["methods"]):
        tuning = record["methods"][name]["tuning"]
        rates, losses = [float(k) for k in tuning], [np.mean(v) for v in tuning.values()]
        colour, dashes = (COLOURS[name], "-") if name in COLOURS else next(rest)
        ax.plot(rates, losses, marker=marker, mfc=FILLS["paper"], lw=1.5, ls=dashes, label=name, color=colour)
        best = int(np.argmin(losses))
        ax.plot(rates[best], losses[best], marker, ms=9, color=colour)
    _log_loss(ax, (0.1, 0.3, 1, 3, 10))
    ax.set_xscale("log")
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xticks((0.001, 0.01, 0.1), ("0.001", "0.01", "0.1"))
    ax.set(xlabel="learning rate (of A, where B has another)", ylabel="test loss (nats)", ylim=(0.08, 30))
    ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    ax.figure.subplots_adjust(right=0.78, bottom=0.14, left=0.1)
    return ax


def rank_transfer(record: Mapping, ax: Axes | None = None) -> Axes:
    """Last test loss against rank with the learning rate found at r = 4, a dot per seed: alpha/r and alpha/sqrt r."""
    ax = axes_of(ax, (7, 3.8))
    shown = {"LoRA": ("LoRA: α/r", COLOURS["LoRA"], -0.06), "rsLoRA": ("rsLoRA: α/√r", COLOURS["variant"], 0.06)}
    for name, (label, colour, aside) in shown.items():
        ranks = [int(r) for r in record["ranks"][name]]
        losses = np.array(list(record["ranks"][name].values()))  # (ranks, seeds)
        x = np.log2(ranks) + aside
        ax.plot(x, np.median(losses, 1), color=colour, label=label)
        ax.plot(np.repeat(x, losses.shape[1]), losses.flatten(), "o", color=colour, alpha=0.5, mew=0)
    ax.set_xticks(np.log2(ranks), [f"{r}" for r in ranks])
    _log_loss(ax, (0.1, 0.2, 0.4, 0.8, 1.6))
    ax.set(xlabel="rank r, at the learning rate tuned for r = 4", ylabel="test loss (nats)")
    ax.legend()
    return ax
