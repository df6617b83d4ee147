"""Figures of what LoRA costs for real models."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes

from lora_lab.figures.style import COLOURS, FILLS

from .models import Bill

PARTS = {  # of a Bill: colour, hatch, words
    "weights": (FILLS["weights"], "", "weights"),
    "gradients": (FILLS["gradient"], "///", "gradients"),
    "optimizer": (FILLS["Adam"], "...", "optimizer's state"),
    "activations": (FILLS["activations"], "xx", "activations"),
}
GB = 1e9


def bill_bars(labels: Sequence[str], ax: Axes) -> None:
    """Stacked bars of the GB that are held while training, and a line for the memory of a card; all still 0."""
    for colour, hatch, words in PARTS.values():
        ax.barh(labels, [0] * len(labels), color=colour, hatch=hatch, edgecolor=FILLS["paper"], label=words)
    ax.axvline(0, color=COLOURS["chosen"], lw=1.5, label="the card")
    ax.invert_yaxis()
    ax.set(xlabel="GB")
    ax.legend(ncols=3, loc="upper left", bbox_to_anchor=(-0.02, -0.28))


def update_bills(ax: Axes, bills: Sequence[Bill], card: float) -> None:
    """Show a bill for each label, and a card of so many GB, in bars that are drawn already."""
    for row, bill in enumerate(bills):
        left = 0
        for part, bars in zip(PARTS, ax.containers):
            width = getattr(bill, part) / GB
            bars[row].set(x=left, width=width)
            left += width
    ax.lines[0].set_xdata([card, card])
    longest = max(bill.total / GB for bill in bills)
    ax.set_xlim(0, 1.05 * max(longest, card if card < 2 * longest else 0))
