"""The figure of the objective page: what training holds in memory, as bars."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes

from lora_lab.figures.style import FILLS


def memory_bars(bars: Mapping[str, object], ax: Axes, *, title: str) -> Axes:
    """Stacked bars of weights, gradients and Adam's moments, in bytes. {label: memory.Memory}."""
    labels = list(bars)
    left = np.zeros(len(labels))
    looks = {  # part of a Memory: its label, colour and hatch
        "weights": ("weights", "weights", ""),
        "gradients": ("gradients", "gradient", "///"),
        "adam": ("Adam's two moments", "Adam", "..."),
    }
    for part, (label, colour, hatch) in looks.items():
        width = np.array([getattr(bars[row], part) for row in labels])
        ax.barh(labels, width, left=left, color=FILLS[colour], label=label, hatch=hatch, edgecolor=FILLS["paper"])
        left += width
    ax.invert_yaxis()
    ax.set_title(title)
    ax.legend(ncols=3, loc="upper left", bbox_to_anchor=(-0.02, -0.22))
    return ax
