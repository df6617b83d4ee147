"""The figure of the objective page: what training holds in memory, as bars."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes

from lora_lab.figures.style import FILLS, axes_of


def memory_bars(
    bars: Mapping[str, object], ax: Axes | None = None, *, title: str = "", unit: float = 1e6, name: str = "MB"
) -> Axes:
    """Stacked bars of weights, gradients and Adam's moments. {label: costs.Memory}."""
    ax = axes_of(ax, (7, 3))
    labels = list(bars)
    left = np.zeros(len(labels))
    parts = (("weights", "weights", ""), ("gradients", "gradient", "///"), ("adam", "Adam", "..."))
    for part, colour, hatch in parts:
        width = np.array([getattr(bars[label], part) for label in labels]) / unit
        shown = {"weights": "weights", "gradients": "gradients", "adam": "Adam's two moments"}[part]
        ax.barh(labels, width, left=left, color=FILLS[colour], label=shown, hatch=hatch, edgecolor=FILLS["paper"])
        left += width
    ax.invert_yaxis()
    ax.set(title=title, xlabel=name)
    ax.legend(ncols=3, loc="upper left", bbox_to_anchor=(-0.02, -0.22))
    return ax
