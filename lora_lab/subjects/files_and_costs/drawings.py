"""Bars of what training holds in memory, for one layer (page 01) and for real models."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes

from lora_lab.figures.style import FILLS

PARTS = {  # of the memory: colour, hatch, words
    "weights": (FILLS["weights"], "", "weights"),
    "gradients": (FILLS["gradient"], "///", "gradients"),
    "adam": (FILLS["Adam"], "...", "Adam's two moments"),
    "optimizer": (FILLS["Adam"], "...", "Adam's state"),
    "activations": (FILLS["activations"], "xx", "activations"),
}


def memory_bars(labels: Sequence[str], parts: Sequence[str], ax: Axes) -> None:
    """A bar for each label, stacked of these parts (keys of PARTS), all still 0; `update_memory_bars` fills them."""
    for part in parts:
        colour, hatch, words = PARTS[part]
        ax.barh(labels, [0] * len(labels), color=colour, hatch=hatch, edgecolor=FILLS["paper"], label=words)
    ax.invert_yaxis()
    ax.legend(ncols=3, loc="upper left", bbox_to_anchor=(-0.02, -0.25))


def update_memory_bars(ax: Axes, bills: Sequence[Sequence[float]], unit: float) -> None:
    """Show the bytes of each label's parts, counted in `unit` bytes, in bars that are drawn already."""
    for row, bill in enumerate(bills):
        left = 0
        for size, bars in zip(bill, ax.containers):
            bars[row].set(x=left, width=size / unit)
            left += size / unit
