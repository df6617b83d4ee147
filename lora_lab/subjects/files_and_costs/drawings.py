"""Figures of what LoRA costs for real models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from lora_lab.figures.style import FILLS, axes_of

PARTS = {  # of a Bill: colour, hatch, words
    "weights": (FILLS["weights"], "", "weights"),
    "gradients": (FILLS["gradient"], "///", "gradients"),
    "optimizer": (FILLS["Adam"], "...", "optimizer's state"),
    "activations": (FILLS["activations"], "xx", "activations"),
}


def bill_bars(bills: Mapping[str, Sequence[float]], ax: Axes | None = None, *, unit: float = 1e9, name: str = "GB"):
    """Stacked bars of what is held while training. {label: costs.Bill}; returns the Axes."""
    ax = axes_of(ax, (8, 2.6))
    labels, left = list(bills), np.zeros(len(bills))
    for i, (colour, hatch, words) in enumerate(PARTS.values()):
        width = np.array([bill[i] for bill in bills.values()]) / unit
        ax.barh(labels, width, left=left, color=colour, hatch=hatch, edgecolor=FILLS["paper"], label=words)
        left += width
    ax.invert_yaxis()
    ax.set(xlabel=name)
    ax.legend(ncols=2, loc="upper left", bbox_to_anchor=(-0.02, -0.28))
    return ax


def update_bills(ax: Axes, bills: Mapping[str, Sequence[float]], unit: float, name: str) -> None:
    """Show other bills with the same labels in bars that are drawn already."""
    left = np.zeros(len(bills))
    for i, bars in enumerate(ax.containers):
        for j, (bar, bill) in enumerate(zip(bars, bills.values(), strict=True)):
            bar.set(x=left[j], width=bill[i] / unit)
            left[j] += bill[i] / unit
    ax.set(xlabel=name, xlim=(0, 1.05 * left.max()))
