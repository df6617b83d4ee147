"""Figures of what LoRA costs for real models."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.axes import Axes

from lora_lab.costs import Bill
from lora_lab.figures.style import COLOURS, FILLS, axes_of

PARTS = {  # of a Bill: colour, hatch, words
    "weights": (FILLS["weights"], "", "weights"),
    "gradients": (FILLS["gradient"], "///", "gradients"),
    "optimizer": (FILLS["Adam"], "...", "optimizer's state"),
    "activations": (FILLS["activations"], "xx", "activations"),
}
GB = 1e9


def bill_bars(bills: Mapping[str, Bill], ax: Axes | None = None) -> Axes:
    """Stacked bars of the GB that are held while training, and a line for the memory of a card."""
    ax = axes_of(ax, (8, 2.6))
    labels = list(bills)
    for colour, hatch, words in PARTS.values():
        ax.barh(labels, [0] * len(labels), color=colour, hatch=hatch, edgecolor=FILLS["paper"], label=words)
    ax.axvline(0, color=COLOURS["chosen"], lw=1.5, label="the card")
    ax.invert_yaxis()
    ax.set(xlabel="GB")
    ax.legend(ncols=3, loc="upper left", bbox_to_anchor=(-0.02, -0.28))
    update_bills(ax, bills)
    return ax


def update_bills(ax: Axes, bills: Mapping[str, Bill], card: float = 0) -> None:
    """Show other bills with the same labels, and a card of so many GB, in bars that are drawn already."""
    for row, bill in enumerate(bills.values()):
        left = 0
        for part, bars in zip(PARTS, ax.containers):
            width = getattr(bill, part) / GB
            bars[row].set(x=left, width=width)
            left += width
    ax.lines[0].set_xdata([card, card])
    longest = max(bill.total / GB for bill in bills.values())
    ax.set_xlim(0, 1.05 * max(longest, card if card < 2 * longest else 0))
